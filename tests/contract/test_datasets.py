"""The contract of datasets, over every registered one."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from anomalib_flows import registry
from anomalib_flows.data import synthetic
from anomalib_flows.data.base import Dataset
from anomalib_flows.data.folder import Folder
from anomalib_flows.data.mvtec import MVTec
from anomalib_flows.testing import DATASET_CHECKS


def draw(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 6), 255).save(path)


def mvtec(root: Path) -> Dataset:
    draw(
        root / "nut",
        "train/good/2.png",
        "train/good/10.png",
        "test/good/0.png",
        "test/cut/0.png",
        "test/hole/0.png",
    )
    draw(root / "nut", "ground_truth/cut/0_mask.png", "ground_truth/hole/0_mask.png")
    return MVTec(root=root, category="nut")


def only_good(root: Path) -> Dataset:
    draw(root, "good/1.png", "good/night/1.png")
    return Folder(normal=root / "good")


def good_and_bad(root: Path) -> Dataset:
    draw(
        root,
        *(f"good/{i}.png" for i in range(12)),
        "bad/1.png",
        "bad/cut/1.png",
        "masks/1.png",
        "masks/cut/1_mask.png",
    )
    return Folder(root=root, normal=Path("good"), abnormal=Path("bad"), masks=Path("masks"))


def good_to_test(root: Path) -> Dataset:
    draw(root, "one/1.png", "two/1.png", "good/1.png", "bad/1.png")
    return Folder(normal=[root / "one", root / "two"], normal_test=root / "good", abnormal=root / "bad")


def few_drawn(root: Path) -> Dataset:
    return synthetic.Synthetic(root=root, category="fabric")


SMALL = {"folder": [only_good, good_and_bad, good_to_test], "mvtec": [mvtec], "synthetic": [few_drawn]}
"""For each registered dataset functions that make a small one in a folder."""


@pytest.mark.parametrize("name", registry.names("datasets"))
def test_every_dataset_is_covered(name: str) -> None:
    if not registry.entries("datasets")[name].value.startswith("anomalib_flows."):
        pytest.skip(f"{name} is of a plug-in that happens to be installed, which has tests of its own")
    assert name in SMALL, f"add a function that makes a small {name} to SMALL in {__file__}"


@pytest.mark.parametrize("check", DATASET_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("make", [make for makes in SMALL.values() for make in makes])
def test_contract(
    make: Callable[[Path], Dataset],
    check: Callable[[Dataset], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("TRAIN_GOOD", "TEST_GOOD", "TEST_DEFECTIVE"):
        monkeypatch.setattr(synthetic, name, 2)
    check(make(tmp_path))
