"""From words to values: the options of a command in the shape of its configuration."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any, Literal, get_args, get_origin

from anomalib_flows.cli.errors import option as flag
from anomalib_flows.cli.errors import require_known
from anomalib_flows.cli.options import KINDS, REQUIRED, Option
from anomalib_flows.core.errors import InputError
from anomalib_flows.run.component import plain
from anomalib_flows.run.values import describe


def make_parser(program: str, description: str, options: Iterable[Option]) -> argparse.ArgumentParser:
    """Return a parser of text: each option is kept as it was typed, and is absent if it was not."""
    options = list(options)
    words = [program, *(one.name.upper() for one in options if one.positional), "[options]"]
    parser = argparse.ArgumentParser(
        usage=f"anomalib-flows {' '.join(words)}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        exit_on_error=False,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    groups: dict[str, Any] = {"": parser}
    for one in options:
        if one.group not in groups:
            groups[one.group] = parser.add_argument_group(one.group)
        add(groups[one.group], one)
    return parser


def add(parser: Any, option: Option) -> None:
    """Add an option to a parser or a group of one."""
    shown: dict[str, Any] = {"help": explain(option).replace("%", "%%")}
    if option.positional:
        parser.add_argument(option.name, nargs="?", **shown)
    elif option.switch:
        parser.add_argument(flag(option.name), dest=option.name, action="store_true", **shown)
    else:
        nargs = {"nargs": "+"} if option.several else {}
        parser.add_argument(flag(option.name), dest=option.name, metavar=placeholder(option), **nargs, **shown)


def placeholder(option: Option) -> str:
    """Return what stands for the value of an option in the help."""
    if get_origin(option.type) is Literal:
        return f"{{{','.join(map(str, get_args(option.type)))}}}"
    return "NAME" if option.component else option.name.rpartition(".")[2].upper()


def explain(option: Option) -> str:
    """Return the help of an option, with its type and its default."""
    if option.switch:
        return option.help
    if option.component:
        kind = KINDS[option.name]
        return f"{option.help} See 'anomalib-flows list {kind}', and --{option.name}.help NAME for the options of one."
    facts = [] if get_origin(option.type) is Literal and not option.positional else [describe(option.type)]
    if option.default is REQUIRED:
        facts.append("required")
    elif option.default is not None:
        default = plain(option.default)
        facts.append(f"default: {str(default).lower() if isinstance(default, bool) else default}")
    return f"{option.help} ({', '.join(facts)})" if facts else option.help


def parse(parser: argparse.ArgumentParser, words: list[str], names: list[str]) -> dict[str, Any]:
    """Return the options that were given, as text by name.

    Args:
        parser: The parser of the command.
        words: The words of the command line, with normalised options.
        names: Names of all options.

    Raises:
        InputError: If an option is unknown or lacks its value.
    """
    try:
        given, others = parser.parse_known_args(words)
    except argparse.ArgumentError as error:
        raise InputError(f"{error.argument_name}: {error.message}.") from error
    for word in others:
        if word.startswith("--"):
            require_known(word[2:].partition("=")[0].replace("-", "_"), names)
        raise InputError(f"There is no option {word}." if word.startswith("-") else f"{word} is not expected.")
    return vars(given)


def normalise(words: Iterable[str]) -> list[str]:
    """Write all options alike: hyphens in names without a dot, underscores in the others.

    Example:
        >>> normalise(["--false_alarm_rate=0.1", "--trainer.max-epochs", "3", "a-b"])
        ['--false-alarm-rate=0.1', '--trainer.max_epochs', '3', 'a-b']
    """
    return [written_alike(word) if word.startswith("--") else word for word in words]


def written_alike(word: str) -> str:
    """Write one option as all others."""
    name, equals, value = word[2:].partition("=")
    return flag(name.replace("-", "_")) + equals + value


def split(words: Iterable[str], keys: Iterable[str]) -> tuple[list[str], dict[str, dict[str, str]]]:
    """Take the arguments of components out of a command line, for they depend on which component it is.

    Args:
        words: Normalised words.
        keys: Options that name a component.

    Returns:
        The other words, and for each key the arguments as text.

    Example:
        >>> split(["--model.steps", "4", "--seed", "1"], ["model"])
        (['--seed', '1'], {'model': {'steps': '4'}})
    """
    rest: list[str] = []
    arguments: dict[str, dict[str, str]] = {key: {} for key in keys}
    remaining = iter(words)
    for word in remaining:
        key, dot, name = word.removeprefix("--").partition(".")
        if not (word.startswith("--") and dot and key in arguments):
            rest.append(word)
            continue
        name, equals, value = name.partition("=")
        following = value if equals else next(remaining, None)
        if following is None:
            raise InputError(f"--{key}.{name} takes a value.")
        arguments[key][name] = following
    return rest, arguments
