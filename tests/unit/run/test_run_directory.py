"""A run directory gives back the configuration that it was made with, or says why it cannot."""

import json
import threading
from pathlib import Path

import numpy as np
import pytest
import yaml

from anomalib_flows.core.errors import InputError
from anomalib_flows.results.metrics.evaluate import evaluate
from anomalib_flows.run.component import Component
from anomalib_flows.run.config import TrainConfig
from anomalib_flows.run.directory import LAYOUT, Run, require_name
from anomalib_flows.run.options import ImageOptions, LoaderOptions

CONFIG = TrainConfig(
    model=Component("fastflow", {"steps": 2, "backbone": "größe"}),
    data=Component("folder", {"normal": [Path("/data/gut")]}),
    image=ImageOptions(size=(64, 96)),
    loader=LoaderOptions(batch_size=3),
    seed=7,
)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = Run.create(tmp_path, "fastflow", "folder", "gut")
    made.write_config(CONFIG)
    return made


def test_a_run_gives_back_its_configuration(run: Run) -> None:
    assert Run.open(run.path).config() == CONFIG
    assert "größe" in run.config_file.read_text(encoding="utf-8")


def test_runs_are_numbered_and_keep_their_versions(tmp_path: Path) -> None:
    paths = [Run.create(tmp_path, "fastflow", "folder", "gut").path for _ in range(3)]
    assert [path.name for path in paths] == ["run-001", "run-002", "run-003"]
    (tmp_path / "fastflow/folder/gut/run-041").mkdir()
    (tmp_path / "fastflow/folder/gut/run-of-mine").mkdir()
    last = Run.create(tmp_path, "fastflow", "folder", "gut").path
    assert last.name == "run-042"
    assert json.loads((last / "versions.json").read_text())["layout"] == LAYOUT


def test_runs_that_start_together_get_different_numbers(tmp_path: Path) -> None:
    made: list[Path] = []
    threads = [
        threading.Thread(target=lambda: made.append(Run.create(tmp_path, "m", "d", "s").path)) for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 12


def test_a_run_may_have_a_name_that_is_taken_once(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "fastflow", "folder", "gut", name="tiles 320")
    assert run.path == tmp_path / "fastflow/folder/gut/tiles 320"
    before = {file: file.read_bytes() for file in run.path.iterdir()}
    with pytest.raises(InputError, match="`name` tiles 320 is taken, as .* exists: choose another name"):
        Run.create(tmp_path, "fastflow", "folder", "gut", name="tiles 320")
    assert {file: file.read_bytes() for file in run.path.iterdir()} == before
    assert Run.create(tmp_path, "fastflow", "folder", "gut").path.name == "run-001"


@pytest.mark.parametrize("name", ["a", "run-001", "größe.2", "v1.2+fix_3", "2 steps", "x" * 60, "検査"])
def test_file_names_are_names_of_runs(name: str, tmp_path: Path) -> None:
    require_name(name)
    (tmp_path / name).mkdir()


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "a/b", "a\\b", "-x", "a\n", "a\0", " a", "a ", "a.", "a:b", "a*", "x" * 61]
)
def test_other_texts_are_not(name: str) -> None:
    with pytest.raises(InputError, match=r"`name` cannot be '.*': it must be a file name"):
        require_name(name)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a run: it holds no config.yaml"):
        Run.open(tmp_path)


def earlier() -> dict[str, object]:
    """A configuration as the first version wrote it."""
    data = {"image_size": [64, 64], "resize": "stretch", "batch_size": 32, "workers": None, "on_error": "stop"}
    return {
        "model": {"class_path": "anomalib_flows.models.fastflow.FastFlow", "init_args": {"steps": 2}},
        "data": {"class_path": "anomalib_flows.data.synthetic.Synthetic", "init_args": data},
        "trainer": {"max_epochs": 2, "precision": "32"},
        "calibration_fraction": 0.15,
        "seed": 0,
    }


def test_a_run_of_an_earlier_version_is_named_as_one(run: Run) -> None:
    run.config_file.write_text(yaml.safe_dump(earlier()))
    with pytest.raises(InputError) as raised:
        run.config()
    assert str(raised.value) == f"{run.config_file} was written by an earlier version: train again."


@pytest.mark.parametrize("content", [b"", b"model: [", b"- 1\n", b"text", b"\xff\xfe\x00", b"model: \xe4"])
def test_a_damaged_configuration_is_said_to_be(run: Run, content: bytes) -> None:
    run.config_file.write_bytes(content)
    with pytest.raises(InputError, match=r"config.yaml is damaged: name another run\.$"):
        run.config()


def test_an_invalid_value_is_named_in_the_error(run: Run) -> None:
    run.config_file.write_text(yaml.safe_dump(CONFIG.to_dict() | {"seed": -1}))
    with pytest.raises(InputError, match=r"config.yaml is damaged \(`seed` cannot be -1: .*\): name another run\.$"):
        run.config()


def test_metrics_are_none_until_something_was_tested(run: Run) -> None:
    assert run.metrics() is None
    maps, masks = np.zeros((2, 4, 4)), [None, np.eye(4)]
    metrics = evaluate([0.1, 0.9], [0, 1], 0.5, list(maps), masks, ["good", "cut"], 0.5)
    run.write_json(run.metrics_file.name, metrics)
    assert run.metrics() == metrics
    for level, name in (("image", "average_precision"), ("image", "normal_images"), ("pixel", "aupro")):
        kept = {key: value for key, value in metrics[level].items() if key != name}
        run.write_json(run.metrics_file.name, metrics | {level: kept})
        with pytest.raises(InputError, match=r"metrics\.json is damaged: test again"):
            run.metrics()
