"""Plain folders of images; one of good images is enough."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

from anomalib_flows.core.errors import InputError, raise_all, require
from anomalib_flows.core.finding import natural_key, split_pattern
from anomalib_flows.core.types import ANOMALOUS, Sample
from anomalib_flows.data.datasets.base import Dataset
from anomalib_flows.data.identity import find_duplicates
from anomalib_flows.data.listing import (
    Source,
    find_photos,
    find_source,
    pair_masks,
    require_disjoint,
)
from anomalib_flows.data.splits import draw_subset, moved, select
from anomalib_flows.data.tables import read_table, require_known_columns, samples_of
from anomalib_flows.run.options import require_fraction

SOURCES = ("normal", "normal_test", "abnormal", "masks")
"""Arguments that name folders or patterns."""


@dataclass(kw_only=True)
class Folder(Dataset):
    """Read good images, and optionally defective ones, from your own folders.

    Without defective images all good images are training images. Otherwise a part of the good images is kept for the
    test. Images in sub-folders count as well.

    Args:
        root: Folder that the other paths are relative to; by default the working directory.
        normal: Folder of good images, or a pattern in quotation marks, ``'photos/*/good_*.png'``; several as
            ``[one,two]``.
        abnormal: Folder or pattern of defective images; several as ``[one,two]``. Sub-folders name the kinds of
            defect.
        masks: Folder of masks for each folder of ``abnormal``, which it mirrors: the mask of ``cut/7.jpg`` is
            ``cut/7_mask.png`` or ``cut/7.png``, or all files of the folder ``cut/7``.
        mask_ending: Ending of the names of masks, by default ``_mask``; without ``masks`` they lie beside the images.
        normal_test: Folder or pattern of good images for the test. By default a part of ``normal``.
        table: CSV or JSON file that lists the images, instead of folders: ``path`` and, as far as known, ``label``
            (good or bad), ``split`` (as in a run's splits.csv), ``mask`` and ``defect``. Its paths are relative
            to ``root`` or else to its own folder.
        test_fraction: Share of the good images that is kept for the test.
        seed: Determines which good images are kept for the test.
    """

    root: Path | None = None
    normal: Path | list[Path] = field(default_factory=list)
    abnormal: Path | list[Path] = field(default_factory=list)
    masks: Path | list[Path] = field(default_factory=list)
    mask_ending: str | None = None
    normal_test: Path | list[Path] = field(default_factory=list)
    table: Path | None = None
    test_fraction: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the arguments."""
        require_fraction("test_fraction", self.test_fraction)
        require(0 <= self.seed < 2**64, "data.seed", self.seed, "at least 0, and below 2^64")
        given = {name: len(self._paths(name)) for name in SOURCES if self._paths(name)}
        if self.table and given:
            raise InputError(f"`table` lists all images: leave out `{next(iter(given))}`.")
        if not self.table and "normal" not in given:
            raise InputError("`normal`, a folder of good images, or `table`, a list of all images, must be given.")
        if "masks" in given and given["masks"] != given.get("abnormal", 0):
            raise InputError(
                f"`masks` names {given['masks']} folders and `abnormal` {given.get('abnormal', 0)}: give one folder of "
                "masks for each folder of defective images, in the same order."
            )

    @property
    def subset(self) -> str:
        """Name of the root, or else of the table or the first folder of good images."""
        if self.root:
            return Path(self.root).absolute().name
        return Path(self.table).stem if self.table else split_pattern(self._paths("normal")[0])[0].name

    def samples(self) -> list[Sample]:
        """List the images, with their masks as far as available."""
        samples = self._listed() if self.table else self._found()
        return sorted(samples, key=lambda sample: natural_key(sample.path))

    def mask_folders(self) -> list[tuple[Path, Path]]:
        """Return the folders of defective images with those of masks."""
        images = [split_pattern(path)[0] for path in self._paths("abnormal")]
        return list(zip(images, self._paths("masks"), strict=False))

    def _listed(self) -> list[Sample]:
        """List the images of the table; if it has no splits, a part of the good images is kept for the test."""
        table = Path(self.root or "", self.table or "").absolute()
        rows = read_table(table, ["path"])
        require_known_columns(rows, table)
        samples = samples_of(rows, table, Path(self.root).absolute() if self.root else table.parent)
        return samples if any(row.get("split") for row in rows) else self._with_good_to_test(samples)

    def _found(self) -> list[Sample]:
        """List the images of the folders."""
        sources: dict[str, list[Source]] = {name: [] for name in SOURCES}
        faults = []
        for name, named in sources.items():
            for path in self._paths(name):
                try:
                    named.append(self._source(name, path))
                except InputError as error:
                    faults.append(error)
        raise_all(faults)
        require_disjoint([source for named in sources.values() for source in named])
        samples = [Sample(image, "train") for source in sources["normal"] for image in source.images]
        samples += [Sample(image, "test") for source in sources["normal_test"] for image in source.images]
        samples += [
            sample for pair in zip_longest(sources["abnormal"], sources["masks"]) for sample in self._defective(*pair)
        ]
        return self._with_good_to_test(samples)

    def _paths(self, argument: str) -> list[Path]:
        """Return the absolute paths of the folders and patterns of an argument."""
        value: Path | list[Path] = getattr(self, argument)
        listed = value if isinstance(value, list) else [value]
        return [Path(self.root or "", path).absolute() for path in listed]

    def _source(self, argument: str, path: Path) -> Source:
        """Find the images of a value of an argument."""
        if argument == "masks":
            return find_source(argument, path)
        return find_photos(argument, path, good=argument != "abnormal", mask_ending=self.mask_ending)

    def _defective(self, source: Source, masks: Source | None) -> list[Sample]:
        """List the images of one folder of defective images."""
        kinds = [source.kind(image) for image in source.images]
        pairs = {}
        if masks or self.mask_ending:
            folder = masks.base if masks else source.base
            pairs = pair_masks(source.images, source.base, folder, self.mask_ending or "_mask")
        return [
            Sample(image, "test", ANOMALOUS, kind, pairs.get(image))
            for image, kind in zip(source.images, kinds, strict=True)
        ]

    def _with_good_to_test(self, samples: list[Sample]) -> list[Sample]:
        """Move a part of the good images to the test, if its images are all defective."""
        if {sample.label for sample in select(samples, "test")} != {ANOMALOUS}:
            return samples
        good = [sample.path for sample in select(samples, "train")]
        kept = draw_subset(good, self.test_fraction, self.seed, find_duplicates(good))
        return moved(samples, kept, "test")
