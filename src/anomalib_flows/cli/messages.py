"""Jsonargparse's messages in one sentence that names the option and what is valid."""

from __future__ import annotations

import difflib
import re

from anomalib_flows.cli.errors import MOVED, option
from anomalib_flows.core.registry import Kind, load, parameters

POSITIONAL = ("run", "kind", "file", "name", "action", "folder")
"""Arguments without dashes."""


def explain(message: str, known: list[str]) -> str:
    """Explain a parse error.

    Example:
        >>> explain("Unrecognized arguments: --sed 3", ["--seed", "--model"])
        'There is no option --sed: did you mean --seed?'
    """
    message = " ".join(message.split())
    for pattern, explanation in PATTERNS.items():
        if match := re.search(pattern, message):
            return explanation(match, known)
    return message


def unrecognised(match: re.Match[str], known: list[str]) -> str:
    """Report an unknown option."""
    return no_option(match["option"].partition("=")[0], known)


def not_accepted(match: re.Match[str], known: list[str]) -> str:
    """Report an unknown argument of a model or dataset."""
    path, key = match["path"], match["key"]
    kind: Kind = "models" if key == "model" else "datasets"
    options = [f"--{key}.{name}" for name in parameters(load(kind, path))]
    return no_option(f"--{key}.{match['option']}", options)


def required(match: re.Match[str], known: list[str]) -> str:
    """Report missing options."""
    prefix = f"--{match['key']}." if match["key"] else "--"
    names = [name.strip().removesuffix("_") for name in match["names"].split(",")]
    names = [name if name in POSITIONAL else prefix + name for name in names]
    return f"{' and '.join(names)} must be given."


def unnamed(match: re.Match[str], known: list[str]) -> str:
    """Report an argument of a model or dataset without its name."""
    key = match["key"]
    kind = "models" if key == "model" else "datasets"
    return f"--{key} must be given beside --{key}.{match['option']}: 'anomalib-flows list {kind}' lists the {kind}."


def wrong_value(match: re.Match[str], known: list[str]) -> str:
    """Report a value of the wrong type."""
    inner = "" if match["inner"] in (None, match["key"]) else "." + match["inner"].removeprefix(match["key"] + ".")
    expected = re.sub(r"<class '(\w+)'>|typing\.", r"\1", match["expected"])
    expected = re.sub(r"Literal\[(.*)\]", r"one of \1", expected)
    name = f"{'' if match['key'] in POSITIONAL else '--'}{match['key'].removesuffix('_')}{inner}"
    return f"{name} cannot be {match['value'].rstrip('.')}: it takes {expected}."


def no_option(given: str, known: list[str]) -> str:
    """Report an unknown option, with its new name or the closest ones."""
    name = given.removeprefix("--").replace("-", "_")
    if moved := MOVED.get(name):
        return f"--{name} is now {option(moved)}."
    close = difflib.get_close_matches(given, known, n=3)
    return f"There is no option {given}" + (f": did you mean {' or '.join(close)}?" if close else ".")


KEY = r'Parser key "(?P<key>model|data)".*'
OPTION = r"Option '(?P<option>[^']+)' is not accepted"
PATTERNS = {
    # Options of a model or dataset without its name.
    r'(?P<key>)Parser key "(?P<names>\w+)": Expected an instantiatable class, but .* is abstract': required,
    r"[Uu]nrecognized arguments: (?P<option>\S+)": unrecognised,
    KEY + r"NestedArg\(key='(?P<option>\w+)'": unnamed,
    KEY + OPTION + r".*class_path='(?P<path>[^']+)": not_accepted,
    KEY + r"class_path '(?P<path>[^']+)': " + OPTION: not_accepted,
    r'(?:Parser key "(?P<key>\w+)".*)?the following arguments are required: (?P<names>[\w, ]+)': required,
    r'Parser key "(?P<key>[\w.]+)"(?:.*Parser key "(?P<inner>[\w.]+)")?'
    r": Expected an? (?P<expected>.*?)\. Got value: (?P<value>\S+)": wrong_value,
}
