"""Drawn products with drawn defects: something to train on without a download."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.registry import unknown
from anomalib_flows.core.types import Sample
from anomalib_flows.data.datasets.base import Dataset
from anomalib_flows.data.datasets.layout import list_category
from anomalib_flows.data.drawing import draw
from anomalib_flows.data.drawing.defects import DEFECTS

TRAIN_GOOD, TEST_GOOD, TEST_DEFECTIVE = 80, 24, 50


def default_root() -> Path:
    """Folder of the drawn images in the user's cache; its name carries the version of the set.

    A set never changes: other images get another version, so that results stay comparable.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "anomalib-flows" / "synthetic-v1"


@dataclass(kw_only=True)
class Synthetic(Dataset):
    """Products that are drawn when they are first needed, the same on every machine.

    Args:
        root: The folder that the images are kept in, in the layout of MVTec AD.
        category: The product: ``board``, ``fabric``, ``granite`` or ``plate``.
    """

    root: Path = field(default_factory=default_root)
    category: str = "fabric"

    @property
    def subset(self) -> str:
        """The category."""
        return self.category

    def samples(self) -> list[Sample]:
        """List the images of the category; draw them first if they are not there yet.

        Raises:
            InputError: If the category is unknown or its folder cannot be written.
        """
        if self.category not in DEFECTS:
            raise InputError(unknown("category of synthetic", self.category, sorted(DEFECTS)))
        folder = Path(self.root) / self.category
        if not (folder / "train").is_dir():
            try:
                draw_category(folder)
            except OSError as error:
                raise InputError(f"{folder} cannot be written ({error}): give another --data.root.") from error
        return list_category(folder)


def draw_category(folder: Path) -> None:
    """Draw all images of the category that a folder is named after.

    They appear at once and complete: an interrupted drawing leaves nothing; of two at once the first counts.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
        plan = list(photographs(folder.name))
        for split, defect, number in tqdm(plan, desc=f"drawing {folder.name}", unit="image", delay=1):
            save(Path(temporary) / "new", folder.name, split, defect, number)
        try:
            (Path(temporary) / "new").rename(folder)
        except OSError:
            if not folder.is_dir():
                raise


def photographs(category: str) -> Iterator[tuple[str, str, int]]:
    """Split, defect and number of every image of a category; the defects take turns."""
    yield from (("train", "good", number) for number in range(TRAIN_GOOD))
    yield from (("test", "good", number) for number in range(TEST_GOOD))
    kinds = sorted(DEFECTS[category])
    yield from (("test", kinds[i % len(kinds)], i // len(kinds)) for i in range(TEST_DEFECTIVE))


def save(folder: Path, category: str, split: str, defect: str, number: int) -> None:
    """Draw one image and write it, with its mask if it is defective."""
    pixels, mask = draw(category, defect, f"{split}/{number:03d}")
    path = folder / split / defect / f"{number:03d}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    if defect != "good":
        path = folder / "ground_truth" / defect / f"{number:03d}_mask.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).convert("L").save(path)
