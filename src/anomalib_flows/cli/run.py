"""Run a command: parse its options, fill in its records, and call its function."""

from __future__ import annotations

import argparse
import inspect
import sys
from functools import partial
from itertools import pairwise
from typing import Any

import yaml
from jsonargparse import ArgumentParser, set_loader

from anomalib_flows.cli.configs import chosen_model, class_of, configurations, last, published_defaults
from anomalib_flows.cli.errors import spoken
from anomalib_flows.cli.messages import explain
from anomalib_flows.cli.parser import (
    KINDS,
    class_path,
    is_record,
    load_yaml,
    make_parser,
    named_classes,
    normalise,
    option_types,
    parameter_types,
    run_defaults,
    without_none,
)
from anomalib_flows.cli.texts import Texts, argument_types
from anomalib_flows.commands.command import Command
from anomalib_flows.core import registry
from anomalib_flows.core.errors import InputError
from anomalib_flows.run.component import Component
from anomalib_flows.run.validation import validated


def run_command(command: Command, arguments: list[str]) -> None:
    """Parse the options of a command and call its function."""
    words = normalise(arguments)  # first: unknown names need no parser
    chosen = named_classes(words)
    if command.config:
        if model := chosen_model(words):  # named by the last of several configurations
            chosen = {"model": class_path("model", model)} | chosen
        words = published_defaults(words) + words
    names: list[str] = []
    with spoken(names):
        defaults = run_defaults(command, named_run(command, arguments))
        texts = texts_of(command, words, defaults)
        set_loader("registry_yaml", partial(load_yaml, chosen=chosen, texts=texts))
        try:
            options = parse(make_parser(command, texts.hide_fields(defaults)), texts.hide_words(words), names)
        except InputError as error:
            raise InputError(texts.restore(str(error))) from error
        filled = fill(command, texts.restore(options))
        if options.get("print_config"):
            # Configurations are read as UTF-8: in another encoding, letters are escaped as YAML does it.
            readable = (sys.stdout.encoding or "utf-8").lower() in ("utf-8", "utf8")
            print(yaml.safe_dump(filled["config"].to_dict(), sort_keys=False, allow_unicode=readable), end="")
            raise SystemExit(0)
        command.function(**filled)


def texts_of(command: Command, words: list[str], defaults: dict[str, Any]) -> Texts:
    """Return what keeps the texts of a command line, of its configurations and of a run's defaults as they are."""
    configs, named = [defaults, *configurations(words)], named_classes(words)
    types = {} if {"-h", "--help"} & {*words} else option_types(command)  # help shows defaults as they are
    for key, kind in KINDS.items():
        for name in [*(class_of(config.get(key)) for config in configs), named.get(key)]:
            if types and isinstance(name, str):
                arguments = argument_types(registry.load(kind, name))
                types |= {f"{key}.{argument}": annotation for argument, annotation in arguments.items()}
    data = [config["data"].get("init_args") or {} for config in configs if isinstance(config.get("data"), dict)]
    root = last("data.root", words, [arguments.get("root") for arguments in data]) or ""
    parameters = parameter_types(command)
    positional = next(iter(inspect.signature(command.function).parameters))
    flags = {"h", "help", "print_config"} | {name for name, kind in parameters.items() if kind is bool}
    return Texts(types, positional, flags, root)


def parse(parser: ArgumentParser, words: list[str], names: list[str]) -> dict[str, Any]:
    """Parse the options, and collect the names of all options."""
    known = option_names(parser)
    try:
        options = parser.parse_args(words)
    except argparse.ArgumentError as error:
        raise InputError(explain(str(error), [f"--{name}" for name in known])) from error
    values: dict[str, Any] = options.as_dict()
    names += known
    for key in KINDS:
        if isinstance(component := values.get(key), dict):
            names += [f"{key}.{argument}" for argument in component.get("init_args", {})]
    return values


def option_names(parser: ArgumentParser) -> list[str]:
    """Return the names of all options of a parser."""
    return [name[2:] for action in parser._actions for name in action.option_strings if name[:2] == "--"]  # noqa: SLF001


def fill(command: Command, values: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a command's function: records, components, and plain values."""
    values = {key: component(key, value) if key in KINDS else value for key, value in values.items()}
    types = parameter_types(command)
    filled: dict[str, Any] = {}
    for name in inspect.signature(command.function).parameters:
        kind = without_none(types[name])
        if is_record(kind):
            fields = kind.__dataclass_fields__.keys() & values.keys()
            filled[name] = validated(kind, {field: values[field] for field in fields})
        else:
            filled[name] = values[name.removesuffix("_")]
    return filled


def component(key: str, value: Any) -> Component | None:
    """Return a component with its registered name."""
    if value is None:
        return None
    cls = registry.load(KINDS[key], value["class_path"])
    return Component(registry.name_of(KINDS[key], cls), value.get("init_args") or {})


def named_run(command: Command, arguments: list[str]) -> str:
    """Return the run that provides defaults, as a command line names it."""
    if command.run == "resume":
        pairs = pairwise([*arguments, ""])
        return next((word.partition("=")[2] or value for word, value in pairs if word.startswith("--resume")), "")
    return first_positional(arguments)


def first_positional(arguments: list[str]) -> str:
    """Return the first argument that is neither an option nor an option's value.

    Example:
        >>> first_positional(["--device", "cpu", "results/run-001"])
        'results/run-001'
    """
    rest = iter(arguments)
    for argument in rest:
        if not argument.startswith("-"):
            return argument
        if "=" not in argument and argument not in ("-h", "--help"):
            next(rest, None)
    return ""
