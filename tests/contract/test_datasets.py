"""The contract of datasets, over every registered one."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from anomalib_flows.core import registry
from anomalib_flows.data.datasets import synthetic
from anomalib_flows.data.datasets.base import Dataset
from anomalib_flows.run.component import Component
from anomalib_flows.run.validation import plain
from anomalib_flows.testing import DATASET_CHECKS
from trees import CASES, TREES, Options, case_name


@pytest.mark.parametrize("name", registry.names("datasets"))
def test_every_dataset_is_covered(name: str) -> None:
    if not registry.entries("datasets")[name].value.startswith("anomalib_flows."):
        pytest.skip(f"{name} is of a plug-in that happens to be installed, which has tests of its own")
    assert name in TREES, f"add a function that makes a small {name} to TREES in tests/trees.py"


@pytest.mark.filterwarnings("ignore:cat of CIFAR-10 is published with")  # a class of it cannot be small
@pytest.mark.parametrize("check", DATASET_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize(("name", "make"), CASES, ids=case_name)
def test_contract(
    name: str,
    make: Callable[[Path], Options],
    check: Callable[[Dataset], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for count in ("TRAIN_GOOD", "TEST_GOOD", "TEST_DEFECTIVE"):
        monkeypatch.setattr(synthetic, count, 2)
    check(registry.load("datasets", name)(**make(tmp_path)))


@pytest.mark.parametrize(("name", "make"), CASES, ids=case_name)
def test_options_construct_the_same_dataset(name: str, make: Callable[[Path], Options], tmp_path: Path) -> None:
    dataset = Component(name, make(tmp_path)).build("datasets")
    recorded = json.loads(json.dumps(plain(dataset.options())))
    assert Component(name, recorded).build("datasets") == dataset


@pytest.mark.parametrize("relative", [{"normal": Path("good")}, {"root": Path("photos"), "normal": [Path("good")]}])
def test_options_do_not_depend_on_the_working_directory(relative: Options, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    recorded = plain(registry.load("datasets", "folder")(**relative).options())
    first = tmp_path / "photos" if "root" in relative else tmp_path / "good"
    assert recorded["root" if "root" in relative else "normal"] == str(first)
    monkeypatch.chdir("/")
    assert Component("folder", recorded).build("datasets").options() == recorded
