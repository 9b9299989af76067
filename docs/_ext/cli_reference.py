"""Write the options of all commands, as their own help has them, into the page with ``<!-- commands -->``."""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from docstring_parser import parse as parse_docstring
from jsonargparse import ArgumentParser, DefaultHelpFormatter
from sphinx.application import Sphinx

from anomalib_flows.cli.app import find_commands
from anomalib_flows.cli.help import plain_types
from anomalib_flows.cli.parser import KINDS, make_parser
from anomalib_flows.commands.command import Command
from anomalib_flows.core import registry

RECORDS = re.compile(r"Path to a configuration file\.")
"""Help of options that jsonargparse adds for each part of a configuration."""


def commands() -> str:
    """Return Markdown with a section for each command."""
    return "\n\n".join(map(command_section, find_commands().values()))


def command_section(command: Command) -> str:
    """Return what a command does, its usage, and its options in the groups of its help."""
    described = parse_docstring(inspect.getdoc(command.function) or "")
    text = "\n\n".join(filter(None, (described.short_description, described.long_description)))
    parser = make_parser(command, {})
    parts = [f"## {command.name}", text, f"```{{program}} anomalib-flows {command.name}\n```"]
    for group in parser._action_groups:
        entries = option_entries(parser, group._group_actions)
        named = group.title not in ("options", "positional arguments")
        parts += [f"**{group.title}**"] * bool(entries and named) + entries
    return "\n\n".join(parts)


def components(option: str) -> str:
    """Return Markdown with a section for each registered model or dataset, with its options."""
    kind = KINDS[option]
    return "\n\n".join(component_section(option, name) for name in own_names(kind))


def own_names(kind: registry.Kind) -> list[str]:
    """Return the names that this package registers."""
    return [name for name, entry in sorted(registry.entries(kind).items()) if entry.value.startswith("anomalib_flows.")]


def component_section(option: str, name: str) -> str:
    """Return the options of a model or dataset."""
    cls = registry.load(KINDS[option], name)
    parser = ArgumentParser(prog=f"--{option} {name}")
    skip: set[str | int] = {1} if option == "model" else set()  # the size of the images is an option of its own
    parser.add_class_arguments(cls, option, skip=skip)
    summary = (inspect.getdoc(cls) or "").split("\n\n")[0]
    head = [f"### {name}", summary, f"```{{program}} anomalib-flows train --{option} {name}\n```"]
    actions = [action for group in parser._action_groups for action in group._group_actions]
    return "\n\n".join(head + option_entries(parser, actions))


def option_entries(parser: ArgumentParser, actions: Iterable[argparse.Action]) -> list[str]:
    """Return an ``option`` directive for each action, with the text of its help."""
    formatter = parser._get_formatter()
    return [entry(formatter, action) for action in actions if shown(action)]


def shown(action: argparse.Action) -> bool:
    """Return whether an option is listed: not help itself, nor files for a part of a configuration."""
    text = action.help or ""
    return action.dest != "help" and text != argparse.SUPPRESS and not RECORDS.match(text)


def entry(formatter: Any, action: argparse.Action) -> str:
    """Return the directive of one option."""
    names = [name for name in action.option_strings if not name.endswith("+")] or [action.dest]
    value = "" if action.nargs == 0 else formatter._format_args(action, action.dest.rpartition(".")[2].upper())
    signature = ", ".join(f"{name} {value}".strip() for name in names) if action.option_strings else names[0]
    return f"````{{option}} {signature}\n{help_text(formatter, action)}\n````"


def help_text(formatter: Any, action: argparse.Action) -> str:
    """Return the help of an option with type and default, types by their plain names."""
    if action.dest in KINDS:  # the types of components are internal
        text = f"{action.help} (required)" if action.required else str(action.help)
    else:
        text = DefaultHelpFormatter._expand_help(formatter, action)  # with backticks, which are markup here
        text = plain_types(text).replace(str(Path.home()), "~").replace("*", r"\*")
    return re.sub(r"(?<![\w`-])--[\w.-]*\w", r"`\g<0>`", text)


def write(app: Sphinx, docname: str, source: list[str]) -> None:
    """Replace the marks."""
    makers = {"commands": commands, "models": lambda: components("model"), "datasets": lambda: components("data")}
    for name, make in makers.items():
        mark = f"<!-- {name} -->"
        if mark in source[0]:
            source[0] = source[0].replace(mark, make())


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx."""
    app.connect("source-read", write)
    return {"parallel_read_safe": True}
