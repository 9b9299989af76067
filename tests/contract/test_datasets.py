"""The contract of datasets, over every registered one."""

from collections.abc import Callable
from pathlib import Path

import pytest

from anomalib_flows.core import registry
from anomalib_flows.data.datasets import synthetic
from anomalib_flows.data.datasets.base import Dataset
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
