"""The parser of a command's options, made by jsonargparse from the command's function and its records.

Added to jsonargparse: registered names of models and datasets, configurations by short name, a run's configuration
as defaults, and hyphens for underscores.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from types import NoneType
from typing import Any, Optional, get_args, get_type_hints

from docstring_parser import parse as parse_docstring
from jsonargparse import ArgumentParser

from anomalib_flows.cli.configs import KINDS
from anomalib_flows.cli.errors import require_present_names
from anomalib_flows.cli.help import new_parser
from anomalib_flows.cli.texts import Texts
from anomalib_flows.commands.command import ALL, Command
from anomalib_flows.core import registry
from anomalib_flows.core.errors import InputError
from anomalib_flows.core.parsing import parse_yaml
from anomalib_flows.core.types import ImageSize
from anomalib_flows.data.datasets.base import Dataset
from anomalib_flows.models.options import Model
from anomalib_flows.run.component import Component
from anomalib_flows.run.configurations import ENCODER, find_config
from anomalib_flows.run.directory import Run, is_exported

TYPES = {"model": Callable[[ImageSize], Model], "data": Dataset}
"""Types of the options that name a component; jsonargparse offers the arguments of their subclasses."""


def make_parser(command: Command, defaults: dict[str, Any]) -> ArgumentParser:
    """Make the parser of a command; ``defaults`` are those of a run's configuration."""
    parser = new_parser(command.name)
    if command.config:
        file = "YAML file, or name of a configuration of the package; may be repeated"
        parser.add_argument("-c", "--config", action="config", help=file)
        parser.add_argument("--print_config", action="store_true", help="print the configuration as YAML, and stop")
    needed = set() if defaults and command.from_run == ALL else set(command.required)
    types = parameter_types(command)
    for position, (name, parameter) in enumerate(inspect.signature(command.function).parameters.items()):
        kind = without_none(types[name])
        if is_record(kind):
            add_record(parser, kind, needed)
        elif kind is Component:
            add_component(parser, name, needed)
        else:
            add_parameter(parser, command, parameter, kind, positional=position == 0)
    parser.set_defaults(defaults)
    return parser


def parameter_types(command: Command) -> dict[str, Any]:
    """Return the types of the parameters of a command's function."""
    records = vars(importlib.import_module(command.records)) if command.records else {}
    return get_type_hints(command.function, localns=dict(records))


def option_types(command: Command) -> dict[str, Any]:
    """Return the types of the options of a command, by dotted names; those of components are not among them."""
    types: dict[str, Any] = {}
    for name, annotation in parameter_types(command).items():
        kind = without_none(annotation)
        types |= field_types(kind) if is_record(kind) else {name.removesuffix("_"): kind}
    return types


def field_types(record: type[Any], prefix: str = "") -> dict[str, Any]:
    """Return the types of the fields of a record and of the records in it."""
    types: dict[str, Any] = {}
    for name, annotation in get_type_hints(record).items():
        kind = without_none(annotation)
        types |= field_types(kind, f"{prefix}{name}.") if is_record(kind) else {f"{prefix}{name}": kind}
    return types


def is_record(kind: Any) -> bool:
    """Return whether a type is a record whose fields are options."""
    return isinstance(kind, type) and dataclasses.is_dataclass(kind) and kind is not Component


def without_none(annotation: Any) -> Any:
    """Return ``X`` for ``X | None``, and any other type unchanged."""
    others = [one for one in get_args(annotation) if one is not NoneType]
    return others[0] if len(others) == 1 and NoneType in get_args(annotation) else annotation


def add_record(parser: ArgumentParser, record: type[Any], needed: set[str]) -> None:
    """Add the fields of a record as options; those of a record in it have its name as prefix."""
    types = {name: without_none(kind) for name, kind in get_type_hints(record).items()}
    apart = {name for name, kind in types.items() if kind is Component or is_record(kind)}
    parser.add_class_arguments(record, skip=apart)
    for name in (name for name in types if name in apart):
        if is_record(types[name]):
            parser.add_class_arguments(types[name], name)
        else:
            add_component(parser, name, needed)


def add_component(parser: ArgumentParser, name: str, needed: set[str]) -> None:
    """Add the option that names a model or a dataset; jsonargparse adds those of its arguments."""
    listed, required, kind = KINDS[name], name in needed, TYPES[name]
    text = f"name of one of the {listed}, see 'anomalib-flows list {listed}'; its options are --{name}.OPTION"
    optional: Any = Optional[kind]  # noqa: UP045 (a type that is computed)
    parser.add_argument(f"--{name}", type=kind if required else optional, required=required, help=text)


def add_parameter(
    parser: ArgumentParser, command: Command, parameter: inspect.Parameter, kind: Any, *, positional: bool
) -> None:
    """Add the option of a parameter of a command's function."""
    name, required = parameter.name.removesuffix("_"), parameter.default is inspect.Parameter.empty
    described = {p.arg_name: p.description for p in parse_docstring(command.function.__doc__ or "").params}
    text = described.get(parameter.name)
    newest = positional and command.newest  # cli.run puts it in
    if newest:
        required, text = False, f"{text} By default the newest run in the folder results."
    default = None if newest else parameter.default
    given: dict[str, Any] = {"help": text} | ({} if required else {"default": default})
    if positional and kind == list[Path]:
        parser.add_argument(name, nargs="*" if newest else "+", type=Path, help=text)
    elif positional:
        parser.add_argument(name, type=kind, **given | ({} if required else {"nargs": "?"}))
    elif kind is bool:
        parser.add_argument(f"--{name}", action="store_true", help=text)
    elif kind == list[Path]:
        parser.add_argument(f"--{name}", nargs="+", type=Path, help=text)
    else:
        parser.add_argument(f"--{name}", type=kind, required=required, **given)


def load_yaml(text: str, path: Any = None, *, chosen: dict[str, str], texts: Texts) -> Any:
    """Read a value; or a configuration, which has a path, with tokens in place of its texts."""
    try:
        content = parse_yaml(text)
    except ValueError as error:
        if path is None:
            return text  # of a type that is not text: jsonargparse names the option
        raise InputError(f"{path} is not YAML ({error}), in {text[:40]!r}.") from error
    if path is None or not isinstance(content, dict):
        return content
    return texts.hide_fields(with_classes(content, chosen))


def with_classes(content: dict[str, Any], chosen: dict[str, str]) -> dict[str, Any]:
    """Return a configuration with registered names of models and datasets replaced by the paths of their classes.

    Where the classes that the command line names (``chosen``) differ from those of the configuration, its arguments are
    left out, except for those of the encoder.
    """
    require_present_names(content)
    components = {
        key: adapted(key, resolved(key, content[key]), chosen.get(key)) for key in KINDS.keys() & content.keys()
    }
    return content | components


def adapted(key: str, value: Any, chosen: str | None) -> Any:
    """Leave out arguments that belong to another class than the chosen one."""
    if chosen is None or not isinstance(value, dict) or "class_path" not in value:
        return value
    other = registry.load(KINDS[key], chosen)
    if issubclass(other, registry.load(KINDS[key], value["class_path"])):
        return value
    kept = (ENCODER if key == "model" else set()) & registry.parameters(other).keys()
    arguments = value.get("init_args") or {}
    return {"class_path": chosen, "init_args": {name: arguments[name] for name in arguments if name in kept}}


def resolved(key: str, value: Any) -> Any:
    """Replace a registered name by its class's path, in the value of ``model`` or ``data`` of a file."""
    if isinstance(value, str):
        return class_path(key, value)
    if isinstance(value, dict) and isinstance(value.get("class_path"), str):
        return value | {"class_path": class_path(key, value["class_path"])}
    return value


def class_path(key: str, name: str, *, trust: bool = False) -> str:
    """Return the path of a class, and import it: jsonargparse would show the traceback of a broken plug-in.

    What is typed is trusted, what a file names is not; see :func:`anomalib_flows.core.registry.load`.
    """
    if key == "data" and name not in registry.names("datasets") and ("/" in name or Path(name).exists()):
        raise InputError(f"{name} is not a dataset: good images of your own are --data folder --data.normal {name}.")
    registry.load(KINDS[key], name, trust=trust)
    return registry.path_of(KINDS[key], name)


def normalise(arguments: list[str]) -> list[str]:
    """Rewrite a command line for jsonargparse.

    Configurations come first and class names second: the order of options does not matter, and an option always
    overrides a configuration.

    Example:
        >>> normalise(["--model.steps", "4", "--model", "fastflow", "--false-alarm-rate=0.1"])
        ['--model=anomalib_flows.models.fastflow.FastFlow', '--model.steps', '4', '--false_alarm_rate=0.1']
    """
    configurations, classes, others = [], [], []
    waiting = list(arguments)
    while waiting:
        option, has_value, value = unglued(waiting.pop(0)).partition("=")
        if option.startswith("--"):
            option = "--" + option[2:].replace("-", "_")
        key = option.removeprefix("--").removesuffix(".help")
        if (option == "-c" or key in (*KINDS, "config")) and not has_value and waiting[:1] and waiting[0][:1] != "-":
            has_value, value = "=", waiting.pop(0)
        if option in ("-c", "--config") and has_value:
            configurations.append(f"--config={find_config(value)}")
        elif option.startswith("--") and key in KINDS and has_value:
            classes.append(f"{option}={class_path(key, value, trust=True)}")
        else:
            others.append(option + has_value + value)
    return [*configurations, *classes, *others]


def unglued(word: str) -> str:
    """Write ``-cFILE`` as ``-c=FILE``.

    Example:
        >>> unglued("-cmine.yaml")
        '-c=mine.yaml'
    """
    return f"-c={word[2:].removeprefix('=')}" if word.startswith("-c") and len(word) > 2 else word


def named_classes(words: list[str]) -> dict[str, str]:
    """Return the paths of the classes that a normalised command line names, by key."""
    pairs = (word[2:].partition("=") for word in words if word.startswith("--"))
    return {key: path for key, _, path in pairs if key in KINDS and path}


def run_defaults(command: Command, run: str, trust: bool, chosen: dict[str, str]) -> dict[str, Any]:
    """Return the values of a run's configuration that are defaults of a command, unless another dataset is chosen."""
    if not run or not command.from_run or is_exported(Path(run)):
        return {}
    recorded = Run.open(Path(run), trust=trust).config()
    if command.from_run == ALL:  # the model is built again
        recorded = dataclasses.replace(recorded, model=recorded.model.completed("models"))
    config = recorded.to_dict()
    names = config if command.from_run == ALL else command.from_run
    defaults = {
        name: adapted(name, resolved(name, config[name]), chosen.get(name)) if name in KINDS else config[name]
        for name in names
    }
    return {name: value for name, value in defaults.items() if value is not None}
