"""Synthetic products with synthetic defects: a dataset that needs no download."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.files import flush_tree, temporary_folder
from anomalib_flows.core.registry import unknown
from anomalib_flows.core.store import cache_folder
from anomalib_flows.core.types import Sample
from anomalib_flows.data.datasets.base import CategoryDataset
from anomalib_flows.data.datasets.layout import list_category
from anomalib_flows.data.drawing.scene import DEFECTS, draw_photograph

CACHE = "synthetic-v1"
"""Folder in the cache. A set never changes: other images get another version, so that results stay comparable."""
TRAIN_GOOD, TEST_GOOD, TEST_DEFECTIVE = 80, 24, 50


@dataclass(kw_only=True)
class Synthetic(CategoryDataset):
    """Draw products when they are first needed, the same on every machine.

    Args:
        root: Folder of the images, in the layout of MVTec AD.
        category: Product: ``board``, ``fabric``, ``granite`` or ``plate``; several as ``[board,plate]``.
    """

    root: Path = field(default_factory=lambda: cache_folder(CACHE))
    category: str | list[str] = "fabric"

    def samples_of(self, category: str) -> list[Sample]:
        """List the images of a category; draw them first if they do not exist yet."""
        if category not in DEFECTS:
            raise InputError(unknown("category of synthetic", category, sorted(DEFECTS)))
        folder = Path(self.root) / category
        if not (folder / "train").is_dir():
            if self.read_only and Path(self.root).absolute() != cache_folder(CACHE).absolute():
                raise InputError(
                    f"{folder} has no images, and none are drawn where a run says: name another folder as `root`, such "
                    f"as {cache_folder(CACHE)}, or draw them there with 'data check'."
                )
            try:
                draw_category(folder)
            except OSError as error:
                raise InputError(f"{folder} cannot be written ({error}): choose another `root`.") from error
        return list_category(folder)


def draw_category(folder: Path) -> None:
    """Draw all images of the category that a folder is named after.

    The folder appears once it is complete: an interruption leaves nothing, and of two processes the first one wins.
    """
    with temporary_folder(folder.parent) as temporary:
        plan = list(plan_images(folder.name))
        for split, defect, number in tqdm(plan, desc=f"drawing {folder.name}", unit="image", delay=1):
            write_image(temporary, folder.name, split, defect, number)
        flush_tree(temporary)
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise


def plan_images(category: str) -> Iterator[tuple[str, str, int]]:
    """Yield split, defect and number of each image of a category; the defects alternate."""
    yield from (("train", "good", number) for number in range(TRAIN_GOOD))
    yield from (("test", "good", number) for number in range(TEST_GOOD))
    kinds = sorted(DEFECTS[category])
    yield from (("test", kinds[i % len(kinds)], i // len(kinds)) for i in range(TEST_DEFECTIVE))


def write_image(folder: Path, category: str, split: str, defect: str, number: int) -> None:
    """Draw one image and write it, with a mask if it is defective."""
    pixels, mask = draw_photograph(category, defect, f"{split}/{number:03d}")
    pictures = {folder / split / defect / f"{number:03d}.png": Image.fromarray(pixels)}
    if defect != "good":
        pictures[folder / "ground_truth" / defect / f"{number:03d}_mask.png"] = Image.fromarray(mask).convert("L")
    for path, picture in pictures.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
