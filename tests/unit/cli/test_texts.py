"""Text is text: no option that takes text or a path reads it as another type of YAML."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from anomalib_flows.cli.app import find_commands
from anomalib_flows.cli.parser import KINDS, option_types
from anomalib_flows.cli.run import run_command
from anomalib_flows.cli.texts import Texts, elements, takes_list
from anomalib_flows.commands.command import Command
from anomalib_flows.core import registry
from anomalib_flows.run.component import Component, argument_types
from anomalib_flows.run.config import TrainConfig
from anomalib_flows.run.directory import Run
from anomalib_flows.run.validation import plain

AWKWARD = [
    *("2024-01-05", "2024-01-05 10:00:00", "12:30", "01", "001", "1e3", "0x10", "0o7", "1_000", "1.5", ".5", ".inf"),
    *("null", "~", "true", "no", "on", "=", "<<", "?", "[x]", "[x", "{x}", "{x: y}", "x]", "a: b", "a:", "a #b"),
    *("a b ", "#x", "&x", "*x", "*.png", "!x", "!!int 1", "@x", "`x`", "%x", "|", ">", '"x"', "'x'", '"x', "a, b"),
    *("%d", "\udce9"),
]
"""Texts that YAML reads as another type, cuts, or cannot read."""
ROUNDS = 3
"""Command lines for each command and component; in each an option has another of the awkward texts."""
COMMANDS = find_commands()
COMPONENTS = [(key, name) for key, kind in KINDS.items() for name in registry.names(kind)]


def is_written_as_text(annotation: Any) -> bool:
    """Tell by its words whether a type is made of texts and paths."""
    words = {*re.findall(r"\w+", re.sub(r"Literal\[[^]]*\]", "", str(annotation)))}
    around = {"pathlib", "class", "list", "None", "typing", "Union"}
    return bool(words & {"str", "Path"}) and words <= {"str", "Path"} | around


def text_options(command: Command) -> list[str]:
    return [name for name, annotation in option_types(command).items() if is_written_as_text(annotation)]


def text_arguments(key: str, name: str) -> dict[str, Any]:
    types = argument_types(registry.load(KINDS[key], name))
    return {argument: annotation for argument, annotation in types.items() if is_written_as_text(annotation)}


def rounds(options: Iterable[str]) -> list[dict[str, str]]:
    """Return awkward texts for options, other ones in each round."""
    names = list(options)
    texts = itertools.cycle(AWKWARD)
    return [{name: next(texts) for name in names} for _ in range(ROUNDS)]


def received(command: Command, words: list[str]) -> dict[str, Any]:
    """Return what the function of a command is called with, as plain values by the names of options."""
    calls: list[dict[str, Any]] = []

    @functools.wraps(command.function)
    def function(**arguments: Any) -> None:
        calls.append(arguments)

    run_command(command._replace(function=function), words)
    values: dict[str, Any] = {}
    for name, value in calls[0].items():
        record = dataclasses.is_dataclass(value) and not isinstance(value, Component)
        values |= vars(value) if record else {name.removesuffix("_"): value}
    return dict(plain(values))


def typed(command: Command, values: dict[str, str], *, glued: bool) -> list[str]:
    """Write options, the argument without dashes among them, and what the command needs beside them."""
    needed = {
        "train": ["--model=fastflow", "--data=synthetic"],
        "import-checkpoint": ["--from=gathierry"],
        "list": ["models"],
    }
    positional = next(iter(option_types(command)))
    words = [values[positional]] if positional in values and command.name != "train" else []
    for name, value in values.items():
        if name != positional or command.name == "train":
            words += [f"--{name}={value}"] if glued else [f"--{name}", value]
    return [*words, *needed.get(command.name, [])]


HAVE_FORMS = ("resume", "save", "shard", "address")
"""Options that do not take any text."""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_folder: Path) -> Path:
    """A working directory with a run of each awkward name."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    config = (run_folder / "config.yaml").read_bytes()
    for name in AWKWARD:
        Path(name).mkdir()
        Path(name, "config.yaml").write_bytes(config)
    return folder


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_text_takes_it_as_it_is(name: str, here: Path) -> None:
    command = COMMANDS[name]
    options = [option for option in text_options(command) if option not in HAVE_FORMS]
    assert options or name == "cache"
    for number, values in enumerate(rounds(options) if options else ()):
        if name == "latency":
            values["output"] += ".json"  # folders are refused
        found = received(command, typed(command, values, glued=number % 2 == 0))
        expected = {option: [given] if option in ("archive", "runs") else given for option, given in values.items()}
        assert {option: found[option] for option in values} == expected


@pytest.mark.parametrize("text", AWKWARD)
def test_the_parser_sees_no_text(text: str) -> None:
    texts = Texts({"a": str, "data.b": Path | None, "n": int}, positional="a", flags={"flag"}, root="")
    words = ["--flag", text, f"--data.b={text}", "--n", "1", "--data.init_args.b", text]
    hidden = texts.hide_words(words)
    assert [hidden[i] for i in (0, 3, 4, 5)] == [words[i] for i in (0, 3, 4, 5)]
    assert all(re.fullmatch(r"(--data.b=)?text-[0-9a-f]{16}-\d", hidden[i]) for i in (1, 2, 6))
    assert texts.restore(hidden) == words
    assert texts.restore(texts.hide_fields({"a": text, "data": {"init_args": {"b": None}}})) == {
        "a": text,
        "data": {"init_args": {"b": None}},
    }


@pytest.mark.parametrize(("key", "name"), COMPONENTS)
def test_every_argument_of_text_takes_it_as_it_is(key: str, name: str) -> None:
    arguments = text_arguments(key, name)
    others = {"model": ["--data=synthetic"], "data": ["--model=fastflow"]}[key]
    for values in rounds(arguments):
        words = [word for argument, value in values.items() for word in (f"--{key}.{argument}", value)]
        given = received(COMMANDS["train"], [*others, f"--{key}={name}", *words])[key].init_args
        for argument, value in values.items():
            expected = ["x"] if takes_list(arguments[argument]) and value == "[x]" else value
            assert given[argument] == expected, argument


def test_a_run_of_awkward_texts_is_read_from_its_configuration(tmp_path: Path) -> None:
    for values in rounds(["weights", "output", "root", "abnormal", "masks", "mask_ending"]):
        data = {"normal": list(AWKWARD), **dict(list(values.items())[2:])}
        model = {"class_path": "fastflow", "init_args": {"weights": values["weights"]}}
        config = TrainConfig.from_dict({"model": model, "data": Component("folder", data), "output": values["output"]})
        run = Run(tmp_path)
        run.write_config(config)
        assert run.config() == config
        for words in (["--config", str(run.config_file)], ["--resume", str(tmp_path)]):
            found = received(COMMANDS["train"], words)
            assert found["output"] == values["output"]
            assert found["model"].init_args["weights"] == values["weights"]
            assert data.items() <= found["data"].init_args.items()
        assert data.items() <= received(COMMANDS["test"], [str(tmp_path)])["data"].init_args.items()


@pytest.mark.parametrize("text", ["data: {class_path: folder, init_args: {normal: 2024-01-05}}", "output: 01"])
def test_a_configuration_says_which_text_needs_quotation_marks(fails, tmp_path: Path, text: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    message = fails("train", "--model=fastflow", "-c", tmp_path / "mine.yaml")
    assert "quotation marks" in message


def test_several_are_a_list_unless_something_has_that_name(parsed, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = ["--model=fastflow", "--data=folder"]
    listed = [*folder, "--data.normal=[01, 2024-01-05,'a, b', photos/*.png]"]
    assert parsed("train", *listed).data.init_args["normal"] == ["01", "2024-01-05", "a, b", "photos/*.png"]
    Path("[one,two]").mkdir()
    assert parsed("train", *folder, "--data.normal=[one,two]").data.init_args["normal"] == "[one,two]"
    Path("photos/[three]").mkdir(parents=True)
    rooted = [*folder, "--data.root=photos", "--data.normal", "[three]"]
    assert parsed("train", *rooted).data.init_args["normal"] == "[three]"
    many = [f"folder {i}" for i in range(60)]  # longer than the name of a file may be
    assert parsed("train", *folder, f"--data.normal=[{','.join(many)}]").data.init_args["normal"] == many
    assert parsed("train", *folder, "--data.normal=x", "--data.abnormal=[]").data.init_args["abnormal"] == []


@pytest.mark.parametrize(
    ("text", "listed"),
    [
        ("[]", []),
        ("[a]", ["a"]),
        ("[a,]", ["a"]),
        ("[a,,b]", ["a", "", "b"]),
        ("""['a,b', "c", it's]""", ["a,b", "c", "it's"]),
    ],
)
def test_elements(text: str, listed: list[str]) -> None:
    assert elements(text) == listed


@pytest.mark.parametrize("value", ["@x", "{x", "2024-01-05", "[x"])
def test_a_number_that_is_none_is_answered_with_the_option(fails, value: str) -> None:
    assert "--seed cannot be" in fails("train", "--model=fastflow", "--data=synthetic", f"--seed={value}")
