"""The layout of MVTec AD, which most published datasets share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from anomalib_flows import registry
from anomalib_flows.data.base import Dataset
from anomalib_flows.data.reading import image_files, natural, pair_masks
from anomalib_flows.types import ANOMALOUS, NORMAL, InputError, Sample

GOOD = "good"


@dataclass(kw_only=True)
class MVTec(Dataset):
    """Read one category of a dataset in MVTec AD's layout.

    The images are in ``ROOT/CATEGORY/train/good``, ``test/good`` and ``test/DEFECT``, and the masks in
    ``ground_truth/DEFECT``, named ``NAME_mask.png`` or like the image, of any image format.

    Bergmann et al., MVTec AD: A Comprehensive Real-World Dataset for Unsupervised Anomaly Detection, 2019.

    Args:
        root: Folder that holds the categories.
        category: Name of the category, such as ``leather``.
    """

    root: Path
    category: str

    @property
    def subset(self) -> str:
        """Name of the category."""
        return Path(self.root, self.category).absolute().name

    def samples(self) -> list[Sample]:
        """List the images of the category, with the masks that there are."""
        folder = Path(self.root) / self.category
        if not folder.is_dir():
            raise InputError(_no_category(Path(self.root), self.category))
        return mvtec_samples(folder)


def mvtec_samples(folder: Path) -> list[Sample]:
    """List the images of one category, sorted by path; without a ``test`` folder they are all for training.

    Raises:
        InputError: If there is nothing to train on.
    """
    train = folder / "train" / GOOD
    if not train.is_dir():
        raise InputError(f"{folder} has no folder train/{GOOD}: put the good images to train on there.")
    good = image_files(train, recursive=True)
    if not good:
        raise InputError(f"{train} holds no images: put the good images to train on there.")
    samples = [Sample(path, "train") for path in good] + _test_samples(folder)
    return sorted(samples, key=lambda sample: natural(sample.path))


def _test_samples(folder: Path) -> list[Sample]:
    """List the images of ``test/good`` and ``test/DEFECT``."""
    test = folder / "test"
    tested = [path for path in image_files(test, recursive=True) if path.parent != test]
    defect = {path: path.relative_to(test).parts[0] for path in tested}
    masks = pair_masks([path for path in tested if defect[path] != GOOD], test, folder / "ground_truth")
    return [
        Sample(path, "test", NORMAL if defect[path] == GOOD else ANOMALOUS, defect[path], masks.get(path))
        for path in tested
    ]


def _no_category(root: Path, category: str) -> str:
    """Say why there is no such category, and what to type instead."""
    if not root.is_dir():
        return f"--data.root {root} is not a folder: give the one that holds the categories."
    if (root / "train").is_dir():
        here = root.resolve()
        return f"{root} is itself a category: write --data.root {here.parent} --data.category {here.name}."
    known = sorted(child.name for child in root.iterdir() if (child / "train").is_dir())
    if not known:
        return f"--data.root {root} holds no category: a category is a folder with a folder train/{GOOD} in it."
    return f"In --data.root {root}: {registry.unknown('category', category, known)}"
