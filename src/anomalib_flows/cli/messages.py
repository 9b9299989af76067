"""Jsonargparse's messages in one sentence that names the option and what is valid."""

from __future__ import annotations

import difflib
import re
from textwrap import shorten

from anomalib_flows.cli.errors import MOVED, option
from anomalib_flows.cli.help import type_names
from anomalib_flows.core.registry import Kind, load, parameters

POSITIONAL = ("run", "runs", "kind", "file", "name", "action", "folder")
"""Arguments without dashes."""


USUAL = {
    "epochs": "trainer.max_epochs",
    "lr": "model.learning_rate",
    "device": "trainer.accelerator",
    "image_size": "image.size",
    "rate": "false_alarm_rate",
}
"""Names that options have in other programs."""


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
    """Report an unknown option, or a word that belongs to none."""
    word = match["option"]
    if word.startswith("-"):
        return no_option(word.partition("=")[0], known)
    if name := next((name for name in ("--input", "--images") if name in known), None):
        advice = f"give it as {name} {word}, and a pattern of several files in quotation marks"
    elif "--data" in known and {name for name in known if name.startswith("--data.")} <= {"--data.help"}:
        advice = f"good images of your own are --data folder --data.normal {word}"
    else:
        advice = "put a pattern in quotation marks, and write several values as [one,two]"
    return f"{word} belongs to no option: {advice}."


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
    *first, last = names
    listed = f"{', '.join(first)} and {last}" if first else last
    advice = f": {names[0]} is the directory that 'train' wrote." if names[0] in ("run", "runs") else "."
    return f"{listed} must be given{advice}"


def no_value(match: re.Match[str], known: list[str]) -> str:
    """Report an option without a value."""
    return f"{match['option']} needs a value: write {match['option']} VALUE."


def unnamed(match: re.Match[str], known: list[str]) -> str:
    """Report an argument of a model or dataset without its name."""
    key = match["key"]
    kind = "models" if key == "model" else "datasets"
    return f"--{key} must be given beside --{key}.{match['option']}: 'anomalib-flows list {kind}' lists the {kind}."


PLAIN = {
    r"tuple(\[[^]]*\]| with 3 elements)?": "three numbers, such as [0.5,0.5,0.5]",
    r"(list|Sequence)\[str\]": "a list, such as [one,two]",
    r"(list|Sequence)(\[\w+\])?": "a list of numbers, such as [1,2]",
    r"dict(\[[^]]*\])?": "names and values, such as {name: value}",
    r"int": "a whole number",
    r"float": "a number",
    r"bool": "true or false",
    r"str": "text",
}
"""Types of Python in plain words, the longest ones first."""


def wrong_value(match: re.Match[str], known: list[str]) -> str:
    """Report a value of the wrong type."""
    inner = "" if match["inner"] in (None, match["key"]) else "." + match["inner"].removeprefix(match["key"] + ".")
    words = (match["expected"] or match["members"]).replace(", <class 'NoneType'>", "")
    expected = re.sub(r"typing\.|pathlib\.|collections\.abc\.", "", type_names(words))
    for kind, said in PLAIN.items():
        expected = re.sub(rf"(?<!['\w])({kind})(?!['\w])", said, expected)
    expected = re.sub(r"Literal\[(.*)\]", r"one of \1", expected).replace(", one of ", " or one of ")
    name = f"{'' if match['key'] in POSITIONAL else '--'}{match['key'].removesuffix('_')}{inner}"
    return f"{name} cannot be {shorten(match['value'] or match['other'], 80)}: it takes {expected}."


def no_record(match: re.Match[str], known: list[str]) -> str:
    """Report a value of a record, whose fields are options."""
    key = match["key"]
    fields = [name for name in known if name.startswith(f"--{key}.")]
    return f"--{key} cannot be {match['value']}: give its options one by one, such as {fields[0]}=VALUE."


def no_option(given: str, known: list[str]) -> str:
    """Report an unknown option, with its new name or the closest ones."""
    name = given.removeprefix("--").replace("-", "_")
    if moved := MOVED.get(name):
        return f"--{name} is now {option(moved)}."
    same = [one for one in known if one.endswith(f".{name}") or one[2:] == USUAL.get(name)]
    close = same or difflib.get_close_matches(given, [one for one in known if not one.endswith("+")], n=3)
    end = f": did you mean {' or '.join(close)}?" if close else ": --help lists the options."
    return f"There is no option {given}{end}"


KEY = r'Parser key "(?P<key>model|data)".*'
OPTION = r"Option '(?P<option>[^']+)' is not accepted"
PATTERNS = {
    r'Parser key "(?P<key>\w+)": Unable to load config \'(?P<value>.*?)\' - ': no_record,
    # Options of a model or dataset without its name.
    r'(?P<key>)Parser key "(?P<names>\w+)": Expected an instantiatable class, but .* is abstract': required,
    r"[Uu]nrecognized arguments: (?P<option>\S+)": unrecognised,
    r"argument (?:-c/)?(?P<option>--\S+): expected (one|at least one) argument": no_value,
    KEY + r"NestedArg\(key='(?P<option>\w+)'": unnamed,
    KEY + OPTION + r".*class_path='(?P<path>[^']+)": not_accepted,
    KEY + r"class_path '(?P<path>[^']+)': " + OPTION: not_accepted,
    r'(?:Parser key "(?P<key>\w+)".*)?the following arguments are required: (?P<names>[\w, ]+)': required,
    r'Parser key "(?P<key>[\w.]+)"(?:.*Parser key "(?P<inner>[\w.]+)")?'
    r": (?:Expected an? (?P<expected>.*?)\. Got value: (?P<value>.*?)"
    r"|Does not validate against any of the Union subtypes Subtypes: \[(?P<members>.*?)\] Errors: .* "
    r"Given value: (?P<other>.*?))(?:\. Got value: Namespace.*)?$": wrong_value,
}
