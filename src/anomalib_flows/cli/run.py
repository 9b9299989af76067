"""Run a command: read its options, fill in its records, and call its function."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

from anomalib_flows.cli.configs import read_config
from anomalib_flows.cli.errors import option as flag
from anomalib_flows.cli.errors import require_known, spoken
from anomalib_flows.cli.layers import Values, load, merge, normal, published
from anomalib_flows.cli.options import (
    FLATTENED,
    KINDS,
    REQUIRED,
    Option,
    component_options,
    option_name,
    options_of,
    parameters,
    record_in,
)
from anomalib_flows.cli.parser import make_parser, normalise, parse, split
from anomalib_flows.commands.command import Command
from anomalib_flows.core.errors import InputError
from anomalib_flows.run.component import Component
from anomalib_flows.run.config import validated
from anomalib_flows.run.values import convert


def run_command(command: Command, words: list[str]) -> None:
    """Read the options of a command and call its function.

    Raises:
        InputError: If an option is unknown or invalid, or the command cannot do what is asked for.
    """
    reader = Reader(command)
    with spoken(reader.names):
        arguments = reader.read(words)
        command.function(**arguments)


@dataclass
class Reader:
    """Read the options of a command.

    Args:
        command: The command.
    """

    command: Command
    options: dict[str, Option] = field(init=False)
    names: list[str] = field(init=False)

    def __post_init__(self) -> None:
        """Find the options."""
        self.options = {option.name: option for option in options_of(self.command.function)}
        self.names = [option.name for option in self.options.values() if not option.positional]
        if self.command.config:
            self.names += ["config", "print_config"]

    @property
    def components(self) -> list[str]:
        """Options that name a model or a dataset."""
        return [option.name for option in self.options.values() if option.component]

    def read(self, words: list[str]) -> dict[str, Any]:
        """Return the arguments of the command's function."""
        rest, arguments = split(normalise(words), self.components)
        for key, given in arguments.items():
            if name := given.pop("help", None):
                self.show_component(key, name)
        typed = parse(self.parser(), rest, self.names)
        configurations, printed = typed.pop("config", []), typed.pop("print_config", False)
        given = self.shaped(typed, arguments)
        values = merge(self.layers(given, configurations))
        self.check_given(values, arguments)
        values |= {key: self.checked(key, values[key]) for key in self.components if values.get(key)}
        filled = self.fill(values)
        if printed:
            print_config(filled)
        return filled

    def parser(self) -> argparse.ArgumentParser:
        """Return the parser of the options that do not depend on components."""
        command = self.command
        parser = make_parser(command.name, summary(command.function), self.options.values())
        if command.config:
            file = "YAML file, or name of a configuration that comes with the package; may be repeated"
            parser.add_argument("-c", "--config", action="append", metavar="FILE", help=file)
            parser.add_argument("--print-config", action="store_true", help="print the configuration as YAML, and stop")
        return parser

    def show_component(self, key: str, name: str) -> None:
        """Print the options of a model or dataset, and stop."""
        cls = load(key, name)
        parser = make_parser(f"{self.command.name} --{key} {name}", summary(cls), component_options(key, cls))
        parser.print_help()
        parser.exit()

    def shaped(self, typed: dict[str, Any], arguments: dict[str, dict[str, str]]) -> Values:
        """Return the given options in the shape of a configuration, with values of their types."""
        shaped: Values = {}
        for name, text in typed.items():
            option = self.options[name]
            if option.component:
                shaped[name] = {"class_path": text}
                continue
            record, _, last = name.rpartition(".")
            inner = shaped.setdefault(record, {}) if record else shaped
            inner[last] = convert(name, text, option.type)
        for key, given in arguments.items():
            if given:
                shaped.setdefault(key, {})["init_args"] = given
        return normal(shaped)

    def layers(self, given: Values, configurations: list[str]) -> list[Values]:
        """Return all layers of values, those that replace others last."""
        files = [normal(read_config(name), name) for name in configurations]
        run = self.from_run(given)
        recipe = published(files, given) if "protocol" in self.options and self.command.config and not run else {}
        return [recipe, run, *files, given]

    def from_run(self, given: Values) -> Values:
        """Return the defaults that the configuration of a run provides."""
        from anomalib_flows.run.directory import Run, is_exported

        path = given.get(self.command.run)
        if path is None or not self.command.from_run or is_exported(path):
            return {}
        config = Run.open(Path(path)).config().to_dict()
        return {key: value for key, value in config.items() if key in self.command.from_run}

    def check_given(self, values: Values, arguments: dict[str, dict[str, str]]) -> None:
        """Raise an InputError if an option is missing, or a component does not have one."""
        for key in self.components:
            name = (values.get(key) or {}).get("class_path")
            if name is None and (given := arguments[key]):
                kind = KINDS[key]
                raise InputError(
                    f"--{key} must be given beside --{key}.{next(iter(given))}: 'anomalib-flows list {kind}' names "
                    f"the {kind}."
                )
            if name is not None:
                self.names += [option.name for option in component_options(key, load(key, name))]
            for argument in arguments[key]:
                require_known(f"{key}.{argument}", self.names)
        missing = [option for option in self.options.values() if self.lacks(option, values)]
        if missing:
            *first, last = (option.name if option.positional else flag(option.name) for option in missing)
            raise InputError(f"{', '.join(first)}{' and ' * bool(first)}{last} must be given.")

    def lacks(self, option: Option, values: Values) -> bool:
        """Whether an option must be given and is not."""
        required = option.default is REQUIRED or option.name in self.command.required
        return required and "." not in option.name and values.get(option.name) is None

    def checked(self, key: str, value: Values) -> Component:
        """Return a component with arguments of their types."""
        return Component(value["class_path"], value.get("init_args", {})).checked(KINDS[key])

    def fill(self, values: Values) -> dict[str, Any]:
        """Return the arguments of the function: records that are filled in, and other values as they are."""
        types = get_type_hints(self.command.function)
        plain_names = {option_name(name) for name in types if not record_in(types[name])}
        filled: dict[str, Any] = {}
        for parameter in parameters(self.command.function):
            name, record = option_name(parameter), record_in(types[parameter])
            if record and parameter in FLATTENED:
                filled[parameter] = validated(record, {k: v for k, v in values.items() if k not in plain_names})
            elif record and name in values:
                filled[parameter] = validated(record, values[name])
            elif name in values:
                filled[parameter] = values[name]
        return filled


def summary(documented: Callable[..., Any]) -> str:
    """Return a docstring up to its sections."""
    text = inspect.cleandoc(documented.__doc__ or "")
    return text.partition("\nArgs:\n")[0].partition("\n\n.. math")[0].replace("`", "").strip()


def print_config(filled: dict[str, Any]) -> None:
    """Print the configuration with all defaults, and stop."""
    import yaml

    config = filled["config"]
    complete = {key: getattr(config, key).complete(kind) for key, kind in KINDS.items() if getattr(config, key)}
    print(
        yaml.safe_dump(dataclasses.replace(config, **complete).to_dict(), sort_keys=False, allow_unicode=True), end=""
    )
    raise SystemExit(0)
