"""The contract of datasets, over every registered one."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomalib_flows.core import registry
from anomalib_flows.core.errors import InputError
from anomalib_flows.core.finding import LeftOutWarning, mark_results
from anomalib_flows.core.types import NORMAL, Sample
from anomalib_flows.data.datasets import synthetic
from anomalib_flows.data.datasets.base import CategoryDataset, Dataset
from anomalib_flows.data.datasets.layout import LayoutDataset
from anomalib_flows.data.listing import mask_files
from anomalib_flows.data.loading.loader import read_resized
from anomalib_flows.run.component import Component
from anomalib_flows.run.options import ImageOptions
from anomalib_flows.run.validation import plain
from anomalib_flows.testing import DATASET_CHECKS
from trees import CASES, SEVERAL, TREES, Options, case_name

FOLDERS = [(name, make) for name, make in CASES if name != "visa" and "table" not in make.__name__]
"""Datasets that list folders, and not a table that names each image."""
LAYOUTS = [(name, make) for name, make in CASES if issubclass(registry.load("datasets", name), LayoutDataset)]
"""Datasets whose folders name the kinds of defect."""
NO_WARNINGS = pytest.mark.filterwarnings("ignore:.* is published with", "ignore:.* left out")


@pytest.mark.parametrize("name", registry.names("datasets"))
def test_every_dataset_is_covered(name: str) -> None:
    if not registry.entries("datasets")[name].value.startswith("anomalib_flows."):
        pytest.skip(f"{name} is of a plug-in that happens to be installed, which has tests of its own")
    assert name in TREES, f"add a function that makes a small {name} to TREES in tests/trees.py"


@pytest.mark.filterwarnings("ignore:(cat|dog) of CIFAR-10 is published with")  # a class of it cannot be small
@pytest.mark.parametrize("check", DATASET_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize(("name", "make"), [*CASES, *SEVERAL.items()], ids=case_name)
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


@pytest.mark.parametrize(("name", "make"), [*CASES, *SEVERAL.items()], ids=case_name)
def test_options_construct_the_same_dataset(name: str, make: Callable[[Path], Options], tmp_path: Path) -> None:
    dataset = Component(name, make(tmp_path)).build("datasets")
    recorded = json.loads(json.dumps(plain(dataset.options())))
    assert Component(name, recorded).build("datasets") == dataset


CATEGORIES = [(name, make) for name, make in CASES if issubclass(registry.load("datasets", name), CategoryDataset)]


@pytest.mark.parametrize(("name", "make"), CATEGORIES, ids=case_name)
def test_categories_are_listed(name: str, make: Callable[[Path], Options], tmp_path: Path) -> None:
    options = make(tmp_path)
    each = registry.load("datasets", name)(**options | {"category": "all"})
    assert {Path(tmp_path, category).name for category in np.atleast_1d(options["category"])} <= {*each.each()}
    assert not registry.load("datasets", name)(**options).each()
    with pytest.raises(InputError, match="`category` must be given, as only the command train takes all: name one of "):
        each.samples()


@pytest.mark.parametrize("relative", [{"normal": Path("good")}, {"root": Path("photos"), "normal": [Path("good")]}])
def test_options_do_not_depend_on_the_working_directory(relative: Options, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    recorded = plain(registry.load("datasets", "folder")(**relative).options())
    first = tmp_path / "photos" if "root" in relative else tmp_path / "good"
    assert recorded["root" if "root" in relative else "normal"] == str(first)
    monkeypatch.chdir("/")
    assert Component("folder", recorded).build("datasets").options() == recorded


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    for count in ("TRAIN_GOOD", "TEST_GOOD", "TEST_DEFECTIVE"):
        monkeypatch.setattr(synthetic, count, 2)


def folders_of(samples: list[Sample]) -> set[Path]:
    return {sample.path.parent for sample in samples}


@pytest.mark.usefixtures("few")
@pytest.mark.filterwarnings("ignore:.* is published with")
@pytest.mark.parametrize(("name", "make"), FOLDERS, ids=case_name)
def test_files_of_other_formats_are_counted_and_not_read(name: str, make, tmp_path: Path) -> None:
    dataset = Component(name, make(tmp_path)).build("datasets")
    before = dataset.samples()
    for folder in folders_of(before):
        (folder / "good_photo.heic").touch()
        (folder / "@eaDir").mkdir()
        (folder / "@eaDir/thumbnail.png").write_bytes(before[0].path.read_bytes())
    with pytest.warns(LeftOutWarning, match=r"left out .*\d .heic file"):
        assert dataset.samples() == before


@NO_WARNINGS
@pytest.mark.usefixtures("few")
@pytest.mark.parametrize(("name", "make"), CASES, ids=case_name)
def test_own_pictures_are_never_images(name: str, make, tmp_path: Path) -> None:
    dataset = Component(name, make(tmp_path)).build("datasets")
    before = dataset.samples()
    for folder in folders_of(before):
        mark_results(folder / "predicted/overlay")
        (folder / "predicted/overlay/1.png").write_bytes(before[0].path.read_bytes())
    assert dataset.samples() == before


@NO_WARNINGS
@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("size", [3, 7])
@pytest.mark.parametrize(("name", "make"), CASES, ids=case_name)
def test_small_defects_keep_a_pixel(name: str, make, size: int, tmp_path: Path) -> None:
    for sample in Component(name, make(tmp_path)).build("datasets").samples():
        if sample.mask is None:
            continue
        for file in mask_files(sample.mask):
            values = np.zeros_like(np.asarray(Image.open(file)))
            marked = bool(np.asarray(Image.open(file)).any())
            values[1, 1] = 255 * marked
            Image.fromarray(values).save(file, lossless=True)
        if marked:
            mask = read_resized(sample, ImageOptions(size=size)).mask
            assert mask is not None
            assert int(mask.sum()) == 1


@pytest.mark.parametrize("word", ["OK", "Good", "normal", "i.O.", "Clean"])
@pytest.mark.parametrize(("name", "make"), LAYOUTS, ids=case_name)
def test_a_kind_of_defect_is_never_called_good(name: str, make, word: str, tmp_path: Path) -> None:
    dataset = Component(name, make(tmp_path)).build("datasets")
    test = Path(dataset.root) / dataset.category / dataset.layout.test
    (test / word).mkdir()
    (test / word / "1.png").write_bytes(dataset.samples()[0].path.read_bytes() if word == dataset.layout.good else b"")
    with pytest.raises(InputError, match="has the name of good images"):
        dataset.samples()


WITH_CATEGORIES = [name for name in TREES if issubclass(registry.load("datasets", name), CategoryDataset)]


@pytest.mark.filterwarnings("ignore:(cat|dog) of CIFAR-10 is published with")
@pytest.mark.parametrize("name", WITH_CATEGORIES)
def test_several_categories_are_one_product(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for count in ("TRAIN_GOOD", "TEST_GOOD", "TEST_DEFECTIVE"):
        monkeypatch.setattr(synthetic, count, 2)
    cls, options = registry.load("datasets", name), SEVERAL[name](tmp_path)
    together = cls(**options)
    alone = [cls(**options | {"category": category}) for category in options["category"]]
    assert together.subset == "+".join(one.subset for one in alone)
    assert together.mask_folders() == [pair for one in alone for pair in one.mask_folders()]
    listed = {sample.path: (sample, one) for one in alone for sample in one.samples()}
    found = together.samples()
    assert {sample.path for sample in found} == listed.keys()
    if name == "cifar10":  # what is defective for one class is normal for the other
        assert {sample.path.parent.name for sample in found if sample.label == NORMAL} == {"cat", "dog"}
        return
    for sample in found:
        before, dataset = listed[sample.path]
        defect = sample.defect if sample.label == NORMAL else sample.defect.removeprefix(f"{dataset.subset} ")
        assert replace(sample, defect=defect) == before
        assert (sample.defect == before.defect) == (sample.label == NORMAL)
    assert cls(**options | {"category": options["category"][:1]}).samples() == alone[0].samples()


@pytest.mark.parametrize("name", WITH_CATEGORIES)
@pytest.mark.parametrize(
    ("given", "said"), [(["a", "b", "./a"], "names a twice"), ([], "empty"), (["a", ""], "empty"), ("", "empty")]
)
def test_categories_that_are_none_or_the_same_are_refused(name: str, given: object, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"`category` .*{said}"):
        Component(name, {"root": tmp_path, "category": given}).build("datasets").samples()
