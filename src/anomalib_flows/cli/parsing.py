"""Options of the commands, read by jsonargparse from the commands' signatures.

What is added to jsonargparse: names of the registry wherever it takes a class, configurations by short name, a
run's own options as defaults, hyphens for underscores, and errors of one sentence.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import logging
import typing
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser, set_loader

from anomalib_flows.cli.configs import find_config
from anomalib_flows.cli.messages import explain
from anomalib_flows.cli.published import chosen_model, published_defaults
from anomalib_flows.core import registry
from anomalib_flows.core.errors import InputError, first_line
from anomalib_flows.data.datasets.base import Dataset
from anomalib_flows.run.directory import Run, is_exported

FUNCTIONS = {
    "train": "anomalib_flows.commands.train:train",
    "test": "anomalib_flows.commands.test:test",
    "predict": "anomalib_flows.commands.predict:predict",
    "latency": "anomalib_flows.benchmark.latency:latency",
    "calibrate": "anomalib_flows.commands.calibrate:calibrate",
    "export": "anomalib_flows.commands.export:export",
    "import-checkpoint": "anomalib_flows.commands.import_checkpoint:import_checkpoint",
    "data prepare": "anomalib_flows.commands.data_prepare:prepare",
    "data check": "anomalib_flows.commands.data_check:check",
    "cache": "anomalib_flows.commands.cache:cache",
    "list": "anomalib_flows.commands.list:list_names",
}
KINDS: dict[str, registry.Kind] = {"model": "models", "data": "datasets"}
POSITIONAL = {
    "run": "run directory that 'train' wrote; for 'predict' and 'latency' an exported model (.xml), too",
    "kind": "what to list",
    "action": "'show' tells how much there is, 'clear' deletes it",
    "file": "checkpoint that the other code base wrote",
    "name": "name of the dataset, see 'anomalib-flows list datasets'",
    "folder": "category in MVTec AD's layout, or folder of such; any other dataset is given by --data",
}
OPTIONAL = ("folder", "action")
"""Positional arguments that may be left out."""
WRITTEN_OUT: dict[str, dict[str, Any]] = {
    "archive": {"nargs": "+", "type": Path},
    "download": {"action": "store_true"},
}
"""Options that jsonargparse would not take as shells write them: several values, and none."""
RUN_DEFAULTS = {
    "export": ("data",),
    "test": ("data", "pictures"),
    "predict": ("data",),
    "calibrate": ("data", "false_alarm_rate"),
}


def run_command(name: str, arguments: list[str]) -> None:
    """Parse the options of a command and call its function.

    Raises:
        InputError: If an option is unknown or its value is of no use.
    """
    logging.getLogger("timm").setLevel(logging.ERROR)
    words = normalise(arguments)  # first, since unknown names are told without importing the command
    module, _, function_name = FUNCTIONS[name].partition(":")
    function = getattr(importlib.import_module(module), function_name)
    chosen = chosen_classes(words)
    if name == "train":
        if model := chosen_model(words):  # of several configurations too, the last says which
            chosen = {"model": class_path("model", model)} | chosen
        words = published_defaults(words) + words
    set_loader("registry_yaml", partial(load_yaml, chosen=chosen))
    parser = make_parser(name, function)
    set_run_defaults(name, function, parser, arguments)
    try:
        options = parser.parse_args(words)
    except argparse.ArgumentError as error:
        known = [option for action in parser._actions for option in action.option_strings]  # noqa: SLF001
        raise InputError(explain(str(error), known)) from error
    objects = parser.instantiate(options)
    function(**{key: value for key, value in vars(objects).items() if key != "config"})


def make_parser(name: str, function: Callable[..., Any]) -> ArgumentParser:
    """Make the parser of a command from its function's signature; the first argument but train's is positional."""
    parser = ArgumentParser(
        prog=f"anomalib-flows {name}", exit_on_error=False, parser_mode="registry_yaml", allow_abbrev=False
    )
    if name == "train":
        parser.add_argument("-c", "--config", action="config", help="YAML file, or name of one that comes with us")
        parser.add_function_arguments(function)
    else:
        first, *others = inspect.signature(function).parameters
        default = inspect.signature(function).parameters[first].default
        optional: dict[str, Any] = {"nargs": "?", "default": default} if first in OPTIONAL else {}
        parser.add_argument(first, type=typing.get_type_hints(function)[first], help=POSITIONAL[first], **optional)
        written_out = [option for option in others if option in WRITTEN_OUT]
        parser.add_function_arguments(function, skip={first, *written_out})
        plain = ArgumentParser()
        plain.add_function_arguments(function)
        described = {action.dest: action.help for action in plain._actions}  # noqa: SLF001
        for option in written_out:
            parser.add_argument(f"--{option}", help=described[option], **WRITTEN_OUT[option])
    for action in parser._actions:  # noqa: SLF001
        if action.dest in RUN_DEFAULTS.get(name, ()):
            action.required = False  # the run provides it
        if action.dest.endswith("_"):  # a keyword of Python's, which the user types without the underscore
            action.option_strings = [option.removesuffix("_") for option in action.option_strings]
            parser._option_string_actions.update(dict.fromkeys(action.option_strings, action))  # noqa: SLF001
    return parser


def load_yaml(text: str, chosen: dict[str, str] | None = None) -> Any:
    """Read YAML, with registered names of models and datasets turned into their classes' paths.

    Args:
        text: What to read.
        chosen: Paths of the classes that the command line names. Where they are not those of the
            configuration, its arguments mean nothing to them, save those of every dataset and of the encoder.
    """
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"This is no YAML: {first_line(error)}, in {text[:40]!r}.") from error
    if isinstance(content, dict):
        for key in KINDS.keys() & content.keys():
            content[key] = adapt(key, resolve(key, content[key]), (chosen or {}).get(key))
    return content


def chosen_classes(words: list[str]) -> dict[str, str]:
    """Paths of the classes that a normalised command line names, by key."""
    named = (word[2:].partition("=") for word in words if word.startswith("--"))
    return {key: path for key, _, path in named if key in KINDS and path}


def adapt(key: str, value: Any, chosen: str | None) -> Any:
    """Leave out arguments that belong to another class than the one that was chosen."""
    if chosen is None or not isinstance(value, dict) or "class_path" not in value:
        return value
    from anomalib_flows.encoders.encoder import Encoder  # takes torch, which not all commands need

    other = registry.load(KINDS[key], chosen)
    if issubclass(other, registry.load(KINDS[key], value["class_path"])):
        return value
    shared = inspect.signature(Dataset if key == "data" else Encoder).parameters.keys()
    kept = shared & inspect.signature(other).parameters.keys()
    arguments = value.get("init_args") or {}
    return {"class_path": chosen, "init_args": {name: arguments[name] for name in arguments if name in kept}}


def resolve(key: str, value: Any) -> Any:
    """Turn a registered name into its class's path, in the value of ``model`` or ``data``."""
    if isinstance(value, str):
        return class_path(key, value)
    if isinstance(value, dict) and isinstance(value.get("class_path"), str):
        return value | {"class_path": class_path(key, value["class_path"])}
    return value


def class_path(key: str, name: str) -> str:
    """Path of a class, which is imported here, since jsonargparse lets a broken plug-in's traceback through."""
    registry.load(KINDS[key], name)
    return registry.path_of(KINDS[key], name)


def normalise(arguments: list[str]) -> list[str]:
    """Rewrite what a user types into what jsonargparse takes.

    Configurations go first and what names a class second, so that the order of options does not matter and an
    option always overrides a configuration.

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
            classes.append(f"{option}={class_path(key, value)}")
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


def set_run_defaults(name: str, function: Callable[..., Any], parser: ArgumentParser, arguments: list[str]) -> None:
    """Let a run's own options be the defaults of the commands that work on it."""
    if name == "train":
        keys = tuple(inspect.signature(function).parameters)
        path = next((a.partition("=")[2] or b for a, b in pairwise([*arguments, ""]) if a.startswith("--resume")), "")
    else:
        keys = RUN_DEFAULTS.get(name, ())
        path = first_positional(arguments)
    if name == "predict" and path and is_exported(Path(path)):  # it has no dataset; any will say how files are read
        parser.set_defaults({"data": {"class_path": class_path("data", "folder"), "init_args": {"normal": "."}}})
    elif path and keys:
        config = Run.open(Path(path)).config()
        parser.set_defaults({k: resolve(k, config[k]) if k in KINDS else config[k] for k in keys if k in config})
