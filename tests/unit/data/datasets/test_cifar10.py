from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomalib_flows.core.errors import InputError
from anomalib_flows.data.datasets.cifar10 import BATCHES, CIFAR10, CLASSES
from anomalib_flows.data.publish.preparing import install
from published import cifar10, cifar10_records, pack


def prepared(root: Path, archive: Path) -> Path:
    install(CIFAR10, root, [archive])
    return root


def test_every_record_becomes_its_image(tmp_path: Path) -> None:
    root = prepared(tmp_path / "root", cifar10(tmp_path / "a"))
    records = cifar10_records()
    for split, names in BATCHES.items():
        batch = np.concatenate([records[name] for name in names])
        files = sorted((root / split).rglob("*.png"), key=lambda file: file.name)
        assert len(files) == len(batch)
        for file, record in zip(files, batch, strict=True):
            assert file.parent.name == CLASSES[record[0]]
            pixels = np.asarray(Image.open(file))
            planes = [record[1 + 1024 * colour :][:1024].reshape(32, 32) for colour in range(3)]
            np.testing.assert_array_equal(pixels, np.stack(planes, axis=2))
    assert not list(root.rglob("*.bin"))


@pytest.mark.filterwarnings("ignore:cat of CIFAR-10 is published with")
def test_one_class_is_normal_and_the_others_are_kinds_of_defect(tmp_path: Path) -> None:
    root = prepared(tmp_path / "root", cifar10(tmp_path / "a", per_file=20))
    data = CIFAR10(root=root, category="cat")
    samples = data.samples()
    assert {s.path.parent.name for s in samples if s.split == "train"} == {"cat"}
    assert sum(s.split == "train" for s in samples) == 10
    tested = [s for s in samples if s.split == "test"]
    assert len(tested) == 20
    assert {(s.label, s.defect) for s in tested if s.path.parent.name == "cat"} == {(0, "good")}
    assert {s.defect for s in tested if s.label} == set(CLASSES) - {"cat"}
    assert all(s.defect == s.path.parent.name and s.mask is None for s in tested if s.label)
    assert (data.name, data.subset) == ("cifar10", "cat")


def test_the_python_version_is_refused_unread(tmp_path: Path) -> None:
    names = ["batches.meta", "test_batch", *(f"data_batch_{i}" for i in range(1, 6))]
    hostile = b"cos\nsystem\n(S'touch %s'\ntR." % bytes(tmp_path / "ran")
    archive = pack(tmp_path / "cifar-10-python.tar.gz", {f"cifar-10-batches-py/{name}": hostile for name in names})
    with pytest.raises(InputError, match=r"pickles .* use the binary version, https://.*/cifar-10-binary\.tar\.gz"):
        prepared(tmp_path / "root", archive)
    assert [path.name for path in tmp_path.iterdir()] == [archive.name]


def test_incomplete_and_damaged_archives_are_refused(tmp_path: Path) -> None:
    records = {name: batch.tobytes() for name, batch in cifar10_records().items()}
    lacking = {name: content for name, content in records.items() if name != "data_batch_4.bin"}
    with pytest.raises(InputError, match=r"lacks data_batch_4\.bin"):
        prepared(tmp_path / "root", pack(tmp_path / "a", lacking))
    for damaged in (records["test_batch.bin"][:-1], b"", b"\x0a" + records["test_batch.bin"][1:]):
        with pytest.raises(InputError, match=r"test_batch\.bin is not a file of CIFAR-10's binary version"):
            prepared(tmp_path / "root", pack(tmp_path / "a", records | {"test_batch.bin": damaged}))
    assert not (tmp_path / "root").exists()


def test_bad_options_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no category of cifar10 'cats': did you mean 'cat'"):
        CIFAR10(root=tmp_path, category="cats").samples()
    with pytest.raises(InputError, match="train/cat has no images: prepare the dataset cifar10 first"):
        CIFAR10(root=tmp_path, category="cat").samples()


def test_the_card_counts_what_is_published() -> None:
    """50 000 images to train on and 10 000 to test on, as many of each class."""
    assert sum(counts.train for counts in CIFAR10.card.counts.values()) == 50_000
    assert {counts.test_good + counts.test_defective for counts in CIFAR10.card.counts.values()} == {10_000}
