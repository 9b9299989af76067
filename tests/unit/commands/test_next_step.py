"""What a command says to type next can be typed: it is quoted, its command exists, and so do its options."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from anomalib_flows.cli.app import find_commands
from anomalib_flows.cli.parser import option_types
from anomalib_flows.commands import next_step
from anomalib_flows.core.types import Sample
from anomalib_flows.data.datasets.folder import Folder
from anomalib_flows.data.datasets.synthetic import Synthetic
from anomalib_flows.data.splits import write_splits
from anomalib_flows.experiment.options import CheckOptions
from anomalib_flows.run.component import Component
from anomalib_flows.run.directory import Run
from anomalib_flows.run.options import ImageOptions

NAMES = ["run-001", "my run", "it's $HOME", "-rf", "a;b", "größe*"]


def words(line: str) -> list[str]:
    """The words that a shell passes on."""
    assert line.startswith("Next: anomalib-flows ")
    assert "\n" not in line
    return shlex.split(line.removeprefix("Next: anomalib-flows "))


@pytest.mark.parametrize("name", NAMES)
def test_a_path_is_one_word_and_no_option(name: str) -> None:
    typed = words(next_step.after_test(Path(name)))
    assert len(typed) == 2
    assert Path(typed[1]) == Path(name)
    assert not typed[1].startswith("-")


def test_paths_in_the_current_folder_are_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert next_step.after_test(tmp_path / "results/run-001") == "Next: anomalib-flows export results/run-001"
    assert next_step.after_test(tmp_path.parent) == f"Next: anomalib-flows export {tmp_path.parent}"
    assert words(next_step.after_test(tmp_path)) == ["export", "."]


@pytest.mark.parametrize("tested", [True, False])
def test_a_calibrated_run_is_tested_if_it_can_be(tmp_path: Path, tested: bool) -> None:
    splits = ("train", "test") if tested else ("train", "calibration")
    write_splits([Sample(tmp_path / f"{split}.png", split) for split in splits], Run(tmp_path).splits_file)
    assert words(next_step.after_calibration(tmp_path))[:2] == ["test" if tested else "predict", str(tmp_path)]


def test_options_of_a_dataset_are_those_that_were_given() -> None:
    given = {"normal": ["a b/*.png", "c"], "abnormal": None, "masks": "m"}
    typed = words(next_step.after_check(Component("folder", given), CheckOptions()))
    assert typed[:3] == ["train", "--model", "fastflow"]
    assert typed[3:] == ["--data", "folder", "--data.normal", "[a b/*.png,c]", "--data.masks", "m"]
    options = CheckOptions(image=ImageOptions(size="64,96", resize="pad"), max_megapixels=900.0)
    typed = words(next_step.after_check(Component("mvtec", {"root": "/d", "category": "tile"}), options))
    reading = ["--image.size", "64,96", "--image.resize", "pad", "--loader.max_megapixels", "900.0"]
    assert typed[3:] == ["--data", "mvtec", "--data.root", "/d", "--data.category", "tile", *reading]


def test_what_is_empty_or_a_default_is_not_typed(tmp_path: Path) -> None:
    given = Folder(normal=[tmp_path / "good"]).options()
    assert words(next_step.after_check(Component("folder", given), CheckOptions()))[3:] == [
        *("--data", "folder", "--data.normal", f"[{tmp_path / 'good'}]")
    ]
    typed = words(next_step.after_check(Component("synthetic", Synthetic().options()), CheckOptions()))
    assert typed[3:] == ["--data", "synthetic"]


def test_a_calibration_without_splits_has_a_next_step(tmp_path: Path) -> None:
    assert words(next_step.after_calibration(tmp_path))[0] == "predict"


def lines(folder: Path) -> list[str]:
    write_splits([Sample(folder / "0.png", "test")], Run(folder).splits_file)
    return [
        next_step.after_training(folder),
        next_step.after_test(folder),
        next_step.after_calibration(folder),
        next_step.after_export(folder / "model.xml"),
        next_step.after_import(folder),
        next_step.after_preparation("mvtec", folder, ["--data.category", "CATEGORY"]),
        next_step.after_check(Component("mvtec", {"root": "/d"}), CheckOptions(image=ImageOptions(size=512))),
    ]


@pytest.mark.parametrize("number", range(7))
def test_commands_and_options_exist(tmp_path: Path, number: int) -> None:
    known = find_commands()
    typed = words(lines(tmp_path)[number])
    name = " ".join(typed[:2]) if " ".join(typed[:2]) in known else typed[0]
    assert name in known
    options = [word.removeprefix("--") for word in typed if word.startswith("--")]
    types = option_types(known[name])
    assert [option for option in options if option not in types and not option.startswith("data.")] == []
