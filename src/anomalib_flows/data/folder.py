"""Plain folders of images: one of good images is enough."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations, zip_longest
from pathlib import Path

from anomalib_flows.data.base import Dataset, require_fraction
from anomalib_flows.data.reading import IMAGE_SUFFIXES, image_files, natural, pair_masks
from anomalib_flows.data.splits import draw
from anomalib_flows.types import ANOMALOUS, InputError, Sample

OPTIONS = ("normal", "normal_test", "abnormal", "masks")


@dataclass(kw_only=True)
class Folder(Dataset):
    """Read good images, and defective ones if there are any, from folders of your own.

    All good images are for training unless there are defective ones to test with; then a part of the good
    ones is kept for the test. Images in sub-folders count too.

    Args:
        root: Where the other folders are, if not where the command runs.
        normal: Folder of good images; several as ``[one,two]``.
        abnormal: Folder of defective images; several as ``[one,two]``. Sub-folders name the kinds of defect.
        masks: Folder of masks for each folder of ``abnormal``, which it mirrors: the mask of ``cut/7.jpg`` is
            ``cut/7_mask.png`` or ``cut/7.png``.
        normal_test: Folder of good images for the test. By default a part of ``normal``.
        test_fraction: Share of ``normal`` that is kept for the test.
        seed: Decides which good images are kept for the test.
    """

    root: Path | None = None
    normal: Path | list[Path]
    abnormal: Path | list[Path] = field(default_factory=list)
    masks: Path | list[Path] = field(default_factory=list)
    normal_test: Path | list[Path] = field(default_factory=list)
    test_fraction: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse bad options when they are given."""
        super().__post_init__()
        require_fraction("test_fraction", self.test_fraction)

    @property
    def subset(self) -> str:
        """Name of the root or, without one, of the first folder of good images."""
        return Path(self.root).absolute().name if self.root else self._folders("normal")[0].name

    def samples(self) -> list[Sample]:
        """List the images, with the masks that there are."""
        _require_apart([(option, folder) for option in OPTIONS for folder in self._folders(option)])
        normal, tested = (
            [image for folder in self._folders(option) for image in _images(option, folder)]
            for option in ("normal", "normal_test")
        )
        abnormal = self._abnormal()
        if abnormal and not tested:
            tested = list(draw(normal, self.test_fraction, self.seed))
            normal = list(set(normal).difference(tested))
        samples = [Sample(path, "train") for path in normal] + [Sample(path, "test") for path in tested]
        return sorted(samples + abnormal, key=lambda sample: natural(sample.path))

    def _folders(self, option: str) -> list[Path]:
        """Absolute paths of the folders that an option names."""
        value: Path | list[Path] = getattr(self, option)
        listed = value if isinstance(value, list) else [value]
        return [Path(self.root or "", folder).absolute() for folder in listed]

    def _abnormal(self) -> list[Sample]:
        """List the defective images with their masks."""
        folders, masks = self._folders("abnormal"), self._folders("masks")
        if masks and len(masks) != len(folders):
            raise InputError(
                f"--data.masks names {len(masks)} folders and --data.abnormal {len(folders)}: give one "
                "folder of masks for each folder of defective images, in the same order."
            )
        return [sample for pair in zip_longest(folders, masks) for sample in _defective(*pair)]


def _defective(folder: Path, masks: Path | None) -> list[Sample]:
    """List the images of one folder of defective images; a sub-folder names the kind of defect."""
    images = _images("abnormal", folder)
    # A masks folder mistyped is an error, and not a folder full of images without masks.
    pairs = pair_masks(images, folder, masks) if masks and _images("masks", masks) else {}
    kinds = [_kind(image.relative_to(folder).parts, folder) for image in images]
    if "good" in kinds:
        raise InputError(
            f"--data.abnormal {folder} has a folder of good images: give it as --data.normal_test instead."
        )
    return [Sample(image, "test", ANOMALOUS, kind, pairs.get(image)) for image, kind in zip(images, kinds, strict=True)]


def _kind(parts: tuple[str, ...], folder: Path) -> str:
    return parts[0] if len(parts) > 1 else folder.name


def _images(option: str, folder: Path) -> list[Path]:
    """List the images of a folder that must hold some."""
    images = image_files(folder, recursive=True)
    if not images:
        fault = "holds no images" if folder.is_dir() else "is not a folder"
        suffixes = ", ".join(sorted(IMAGE_SUFFIXES))
        raise InputError(f"--data.{option} {folder} {fault}: give a folder of {suffixes} files.")
    return images


def _require_apart(named: list[tuple[str, Path]]) -> None:
    """Refuse folders within each other: an image of both would count as good and as defective."""
    for (option, folder), (other, inner) in combinations(named, 2):
        one, two = folder.resolve(), inner.resolve()
        if one.is_relative_to(two) or two.is_relative_to(one):
            raise InputError(
                f"--data.{option} {folder} and --data.{other} {inner} are the same or one lies in the other: "
                "give folders that lie apart."
            )
