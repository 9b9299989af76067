"""Run a command: parse its options, fill in its records, and call its function."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import sys
from collections.abc import Container, Iterable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser, set_loader

from anomalib_flows.cli.configs import (
    KINDS,
    chosen_model,
    configurations,
    last,
    published_defaults,
    require_trusted,
)
from anomalib_flows.cli.errors import spoken
from anomalib_flows.cli.messages import explain
from anomalib_flows.cli.parser import (
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
from anomalib_flows.cli.texts import Texts
from anomalib_flows.commands.command import Command
from anomalib_flows.core import registry
from anomalib_flows.core.errors import InputError
from anomalib_flows.run.component import Component, argument_types
from anomalib_flows.run.configurations import class_of
from anomalib_flows.run.validation import plain, validated

HELP = {"h", "help"}


def run_command(command: Command, arguments: list[str]) -> None:
    """Parse the options of a command and call its function."""
    arguments = with_newest_run(command, arguments)
    words = normalise(arguments)  # first: unknown names need no parser
    chosen, trust = named_classes(words), "--trust" in words
    names = ["trust"]
    with spoken(names):
        if command.config:
            require_trusted(words, trust=trust)
            if model := chosen_model(words):  # named by the last of several configurations
                chosen = {"model": class_path("model", model)} | chosen
            words = published_defaults(words) + words
        defaults = run_defaults(command, named_run(command, arguments), trust, chosen)
        configs = [defaults, *configurations(words)]
        types = all_types(command, words, configs)
        texts = texts_of(command, words, configs, types)
        set_loader("registry_yaml", partial(load_yaml, chosen=chosen, texts=texts))
        try:
            options, known = parse(make_parser(command, texts.hide_fields(defaults)), texts.hide_words(words), types)
        except InputError as error:
            raise InputError(texts.restore(str(error))) from error
        names += known
        filled = fill(command, texts.restore(options))
        if options.get("print_config"):
            # Configurations are read as UTF-8: in another encoding, letters are escaped as YAML does it.
            readable = (sys.stdout.encoding or "utf-8").lower() in ("utf-8", "utf8")
            record: Any = next(value for value in filled.values() if is_record(type(value)))
            print(yaml.safe_dump(plain(dataclasses.asdict(record)), sort_keys=False, allow_unicode=readable), end="")
            raise SystemExit(0)
        command.function(**filled)


def all_types(command: Command, words: list[str], configs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the types of all options, with those of each component that a command line or a configuration names."""
    types, chosen = option_types(command), named_classes(words)
    for key, kind in KINDS.items():
        for name in [*(class_of(config.get(key)) for config in configs), chosen.get(key)]:
            if isinstance(name, str):
                cls = registry.load(kind, name)
                hints, arguments = argument_types(cls), list(registry.parameters(cls))[kind == "models" :]
                types |= {f"{key}.{argument}": hints[argument] for argument in arguments if argument in hints}
    return types


def texts_of(command: Command, words: list[str], configs: list[dict[str, Any]], types: dict[str, Any]) -> Texts:
    """Return what keeps the texts of a command line and of configurations."""
    data = [config["data"].get("init_args") or {} for config in configs if isinstance(config.get("data"), dict)]
    root = last("data.root", words, [arguments.get("root") for arguments in data]) or ""
    parameters = parameter_types(command)
    flags = {*HELP, "print_config"} | {name for name, kind in parameters.items() if kind is bool}
    # Help shows defaults: they stay as they are.
    shown = HELP & {word.lstrip("-") for word in words if word.startswith("-")}
    return Texts({} if shown else types, next(iter(inspect.signature(command.function).parameters)), flags, root)


def parse(parser: ArgumentParser, words: list[str], types: Iterable[str]) -> tuple[dict[str, Any], list[str]]:
    """Parse the options; return their values, and the names of all options."""
    names = option_names(parser)
    try:
        options = parser.parse_args(words)
    except argparse.ArgumentError as error:
        known = dict.fromkeys([*names, *types])
        raise InputError(explain(str(error), [f"--{name}" for name in known])) from error
    values: dict[str, Any] = options.as_dict()
    for key in KINDS:
        if isinstance(component := values.get(key), dict):
            names += [f"{key}.{argument}" for argument in component.get("init_args", {})]
    return values, names


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
    cls = registry.load(KINDS[key], value["class_path"], trust=True)  # jsonargparse has imported it
    return Component(registry.name_of(KINDS[key], cls), value.get("init_args") or {})


def named_run(command: Command, arguments: list[str]) -> str:
    """Return the run that provides defaults, as a command line names it."""
    if command.run == "resume":
        pairs = pairwise([*arguments, ""])
        return next((word.partition("=")[2] or value for word, value in pairs if word.startswith("--resume")), "")
    return first_positional(arguments, flags_of(command))


def with_newest_run(command: Command, arguments: list[str]) -> list[str]:
    """Put the newest run before the arguments of a command that names none, and say which one it is."""
    if not command.newest or HELP & {word.lstrip("-") for word in arguments}:
        return arguments
    if first_positional(arguments, flags_of(command)):
        return arguments
    from anomalib_flows.run.listing import newest_run

    found = newest_run(Path("results"))
    if found is None:
        name = next(iter(inspect.signature(command.function).parameters))
        raise InputError(
            f"{name} must be given, as the folder results has none: name the directory that 'train' wrote."
        )
    print(f"Run: {found}, the newest one")
    return [str(found), *arguments]


def flags_of(command: Command) -> set[str]:
    """Return the options of a command that take no value."""
    flags = [name for name, kind in parameter_types(command).items() if kind is bool]
    return {"-h", "--help", *(f"--{name}" for name in flags), *(f"--{name.replace('_', '-')}" for name in flags)}


def first_positional(arguments: list[str], flags: Container[str] = ()) -> str:
    """Return the first argument that is neither an option nor an option's value; ``flags`` are options without one.

    Example:
        >>> first_positional(["--device", "cpu", "results/run-001"])
        'results/run-001'
    """
    rest = iter(arguments)
    for argument in rest:
        if not argument.startswith("-"):
            return argument
        if "=" not in argument and argument not in flags:
            next(rest, None)
    return ""
