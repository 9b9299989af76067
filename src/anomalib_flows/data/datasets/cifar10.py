"""CIFAR-10 as an anomaly detection task: one class is normal, the nine others are anomalous."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from tqdm import tqdm

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.finding import list_images, natural_key
from anomalib_flows.core.registry import unknown
from anomalib_flows.core.types import ANOMALOUS, NORMAL, Sample
from anomalib_flows.data.datasets.base import Archive, Card, CategoryDataset, Counts, warn_of_other_counts

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
BATCHES = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}
RECORD = 1 + 3 * 32 * 32
"""Bytes of an image: its class, then all red, all green and all blue values, row by row."""
BINARY = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"


@dataclass(kw_only=True)
class CIFAR10(CategoryDataset):
    """Read CIFAR-10 with one class as the normal one; there are image labels but no masks.

    The images are PNG files in ``ROOT/train/CLASS`` and ``ROOT/test/CLASS``; :meth:`arrange` makes them of the official
    binary version. Training images are those of the normal class. All test images are used; the class of an anomalous
    image is its kind of defect. This is the task of the table on CIFAR-10 in Yu et al., FastFlow, 2021.

    A category is the class that is normal, such as ``cat``; of several, all are normal.
    """

    card = Card(
        title="CIFAR-10",
        homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
        licence="none is stated; its makers ask to be cited",
        citation="Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009",
        counts=dict.fromkeys(CLASSES, Counts(train=5000, test_good=1000, test_defective=9000)),
        archives=(Archive(Path(BINARY).name, BINARY, "md5:c32a1d4ab5d03f1284b67883e8d87530"),),
    )

    def listed(self) -> list[str]:
        """List the classes."""
        return list(CLASSES)

    def samples(self) -> list[Sample]:
        """List the training images of the normal classes, and all test images once."""
        listed = [sample for category in self.categories.values() for sample in self.samples_of(category)]
        normal = {sample.path for sample in listed if sample.label == NORMAL}
        once = {sample.path: sample for sample in listed if sample.label == NORMAL or sample.path not in normal}
        return sorted(once.values(), key=lambda sample: natural_key(sample.path))

    def samples_of(self, category: str) -> list[Sample]:
        """List the training images of a normal class, and all test images."""
        if category not in CLASSES:
            raise InputError(unknown("category of cifar10", category, list(CLASSES)))
        folder = self.folder / "train" / category
        train = [Sample(path, "train") for path in list_images(folder)]
        if not train:
            raise InputError(f"{folder} has no images: prepare the dataset cifar10 first.")
        samples = train + self._tested(category)
        warn_of_other_counts(samples, self.card, category)
        return sorted(samples, key=lambda sample: natural_key(sample.path))

    def _tested(self, category: str) -> list[Sample]:
        """List the test images of all classes."""
        images = {name: list_images(self.folder / "test" / name) for name in CLASSES}
        good = [Sample(path, "test") for path in images.pop(category)]
        return good + [Sample(path, "test", ANOMALOUS, name) for name, paths in images.items() for path in paths]

    @classmethod
    def arrange(cls, folder: Path) -> None:
        """Convert the records of the binary version to PNG files, and remove them."""
        files = {split: [folder / name for name in names] for split, names in BATCHES.items()}
        require_binary(folder, [file for batches in files.values() for file in batches])
        for split, batches in files.items():
            records = np.concatenate([read_records(file) for file in batches])
            write_images(records, folder / split)
            for file in batches:
                file.unlink()


def require_binary(folder: Path, batches: list[Path]) -> None:
    """Raise an InputError for the Python and the Matlab version, and for incomplete archives."""
    missing = [file.name for file in batches if not file.is_file()]
    if not missing:
        return
    if (folder / "data_batch_1").exists():
        raise InputError(
            "This is CIFAR-10's python version, whose files are pickles and could run code when they are read: use "
            f"the binary version, {BINARY}."
        )
    raise InputError(f"The archive lacks {missing[0]}: use CIFAR-10's binary version, {BINARY}.")


def read_records(file: Path) -> npt.NDArray[np.uint8]:
    """Read the images of a file as rows: a class, then the values."""
    records = np.fromfile(file, np.uint8)
    if not len(records) or len(records) % RECORD or records[::RECORD].max() >= len(CLASSES):
        raise InputError(f"{file.name} is not a file of CIFAR-10's binary version, or is damaged: get {BINARY} again.")
    return records.reshape(-1, RECORD)


def write_images(records: npt.NDArray[np.uint8], folder: Path) -> None:
    """Write each image as ``CLASS/NUMBER.png``; numbers count the whole split."""
    for name in CLASSES:
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number, record in enumerate(tqdm(records, f"writing {folder.name}", leave=False, delay=1, disable=None)):
        pixels = np.ascontiguousarray(record[1:].reshape(3, 32, 32).transpose(1, 2, 0))
        Image.fromarray(pixels).save(folder / CLASSES[record[0]] / f"{number:05}.png")
