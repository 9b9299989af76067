"""The parser of a command, whose help is plain text: a terminal shows no markup, and users know no Python types."""

from __future__ import annotations

import argparse
import re

import yaml
from jsonargparse import ArgumentParser, DefaultHelpFormatter, set_loader

from anomalib_flows.cli.errors import hyphenated

set_loader("registry_yaml", lambda text, **_: yaml.safe_load(text))  # `cli.run` sets one that reads given options


class PlainFormatter(DefaultHelpFormatter):
    """Write types by their names, and code without backticks."""

    def _expand_help(self, action: argparse.Action) -> str:
        return plain_types(super()._expand_help(action)).replace("``", "")

    def format_help(self) -> str:
        """Return the help, with the options as they are typed elsewhere in the documentation."""
        return hyphenated(super().format_help())


def type_names(text: str) -> str:
    """Replace what Python prints for classes by their names.

    Example:
        >>> type_names("type: <class 'pathlib.Path'>")
        'type: Path'
    """
    return re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", text)


def plain_types(text: str) -> str:
    """Replace Python's types in a text by what they take.

    Example:
        >>> plain_types("(type: Union[int, Literal['all', 'none']]), (type: Optional[tuple[int, int]])")
        '(type: int | all | none), (type: tuple[int, int] | null)'
    """
    text = type_names(text)
    for beginning, end in (("Literal", ""), ("Optional", " | null"), ("Union", "")):
        for inner in re.findall(rf"{beginning}\[((?:[^][]|\[[^][]*\])*)\]", text):
            alternatives = re.sub(r"'?, '?(?![^[]*\])", " | ", inner).strip("'")
            text = text.replace(f"{beginning}[{inner}]", alternatives + end)
    return text


def new_parser(name: str) -> ArgumentParser:
    """Return a parser without options for the command of a name."""
    return ArgumentParser(
        prog=f"anomalib-flows {name}",
        formatter_class=PlainFormatter,
        exit_on_error=False,
        parser_mode="registry_yaml",
        allow_abbrev=False,
        print_config=None,  # ours prints the record
    )
