"""The dataset contract: a small class that lists the images of a folder, and the facts about a published dataset."""

from __future__ import annotations

import os
import warnings
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from anomalib_flows.core.errors import InputError, require
from anomalib_flows.core.finding import natural_key
from anomalib_flows.core.registry import name_of
from anomalib_flows.core.types import ANOMALOUS, NORMAL, Sample


class Counts(NamedTuple):
    """Numbers of images of a category; ``calibration`` counts the normal images that the makers call validation."""

    train: int
    test_good: int
    test_defective: int
    calibration: int = 0


@dataclass(frozen=True)
class Archive:
    """A published archive of a dataset.

    Args:
        file: Name of the file.
        url: Address to download it from; empty if a form must be filled in first.
        checksum: Published digest as ``sha256:...`` or ``md5:...``; empty if none is published.
        category: Category that it has; empty if it has all.
    """

    file: str
    url: str = ""
    checksum: str = ""
    category: str = ""


@dataclass(frozen=True)
class Card:
    """Facts about a published dataset.

    Args:
        title: Published name.
        homepage: Page of its makers.
        licence: Licence, and what it forbids.
        citation: Paper to cite.
        counts: Published numbers of images of each category.
        archives: Published files.
    """

    title: str
    homepage: str
    licence: str
    citation: str
    counts: Mapping[str, Counts] = field(default_factory=dict)
    archives: tuple[Archive, ...] = ()

    def archive(self, name: str) -> Archive:
        """Return the facts about the archive with a file name; about other files nothing is known."""
        return next((archive for archive in self.archives if archive.file == name), Archive(name))


def count(samples: list[Sample]) -> Counts:
    """Count the images of each split and label."""
    found: Counter[tuple[str, bool]] = Counter((sample.split, sample.label == NORMAL) for sample in samples)
    uses = (("train", True), ("test", True), ("test", False), ("calibration", True))
    return Counts(*(found[use] for use in uses))


def warn_of_other_counts(samples: list[Sample], card: Card | None, category: str) -> None:
    """Warn if a published category has other numbers of images than published."""
    published = card.counts.get(category) if card else None
    found = count(samples)
    if card and published and found != published:
        warnings.warn(
            f"{category} of {card.title} is published with {in_words(published)}; here are {in_words(found)}: "
            "do not compare the metrics with published ones.",
            stacklevel=3,
        )


def in_words(counts: Counts) -> str:
    """Return numbers of images as text."""
    held_out = f", {counts.calibration} to calibrate with" if counts.calibration else ""
    return (
        f"{counts.train} images to train on{held_out} and {counts.test_good} good and {counts.test_defective} "
        "defective ones to test on"
    )


@dataclass(kw_only=True)
class Dataset(ABC):
    """Images of one product or category, with their splits and masks.

    A subclass is a dataclass whose fields are its arguments. It implements :attr:`subset` and :meth:`samples`. Image
    size, reading and held-out images are not its business: see :mod:`anomalib_flows.run.options`.
    """

    card: ClassVar[Card | None] = None
    """Facts about the dataset, if it is a published one."""
    arrange_needs: ClassVar[Mapping[str, str]] = {}
    """Optional modules that :meth:`arrange` imports, each with the requirement that pip installs for it."""
    read_only = False
    """Whether a run of others names the folder, so that :meth:`samples` may write nothing but our own cache."""

    @property
    def name(self) -> str:
        """Name of the dataset in the path of a run directory."""
        return name_of("datasets", type(self)).rpartition(".")[2].lower()

    @property
    @abstractmethod
    def subset(self) -> str:
        """Name of the product or category in the path of a run directory."""

    @abstractmethod
    def samples(self) -> list[Sample]:
        """List the images with their splits, sorted by path.

        Training images are normal. Calibration images are held out of them later, unless the dataset lists some
        itself; these are normal too.

        Raises:
            InputError: If the folder is missing or has no images.
        """

    @classmethod
    def arrange(cls, folder: Path) -> None:
        """Convert the content of the published archives to the files that :meth:`samples` reads.

        By default nothing is converted.

        Args:
            folder: Folder with the unpacked content, without an enclosing folder. It becomes the root.

        Raises:
            InputError: If the archives have another content.
        """
        return None  # noqa: RET501 (without it the method would look abstract)

    def mask_folders(self) -> list[tuple[Path, Path]]:
        """Return pairs of an image folder and the mask folder that mirrors it, to search for masks without an image.

        By default there are none, and the folders of the samples' masks are searched.
        """
        return []

    def together(self, samples: list[Sample]) -> dict[Path, Path]:
        """Return the group, such as a video, of each image that belongs to one; a group is held out as a whole.

        By default each image stands alone.
        """
        return {}

    def options(self) -> dict[str, Any]:
        """Return the arguments that construct the same dataset in any working directory.

        Paths become absolute text, except for those that are relative to ``root``.
        """
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        relative = values.get("root") is not None
        return {name: as_text(value, absolute=name == "root" or not relative) for name, value in values.items()}


ALL = "all"
"""Category that stands for each category by itself."""
LONGEST = 200
"""Longest name of several categories together; file systems take 255 bytes."""


@dataclass(kw_only=True)
class CategoryDataset(Dataset):
    """Read one category of a dataset, or several as one product.

    A subclass implements :meth:`samples_of`, and :meth:`listed` unless each folder of the root is a category.

    Args:
        root: Folder of the categories; by default the folder with the name of the dataset in ``$ANOMALIB_FLOWS_DATA``,
            or else in ``datasets``.
        category: Name of the category; several as ``[one,two]`` are one product. With ``all``, ``train`` makes a run of
            each category.
    """

    root: Path | None = None
    category: str | list[str] = ALL

    def __post_init__(self) -> None:
        """Find the folder by the name of the dataset if none is given."""
        if self.root is None:
            self.root = usual_root(self.name)

    @property
    def folder(self) -> Path:
        """The root."""
        return Path(self.root or usual_root(self.name))

    def listed(self) -> list[str]:
        """List the categories in the root; by default all of its folders."""
        folders = [path for path in self.folder.glob("[!.]*") if path.is_dir()]
        return [folder.name for folder in sorted(folders, key=natural_key)]

    def each(self) -> list[str]:
        """List all categories if the category is ``all``, else none.

        Raises:
            InputError: If the root has no categories.
        """
        if self.category != ALL:
            return []
        if not (found := self.listed()):
            raise InputError(f"`root` {self.root} holds no categories of {self.name}: give another folder.")
        return found

    @property
    def categories(self) -> dict[str, str]:
        """Categories as they were given, by the names of their folders.

        Raises:
            InputError: If a category is named twice, or none is named.
        """
        given = self.category if isinstance(self.category, list) else [self.category]
        if self.category == ALL:
            known = ", ".join(self.each())
            raise InputError(f"`category` must be given, as only the command train takes all: name one of {known}.")
        expected = "the name of a category, or several as [one,two]"
        require(bool(given) and all(given), "category", "empty", expected)
        names = [folder_name(self.folder, category) for category in given]
        if twice := [name for name in names if names.count(name) > 1]:
            raise InputError(f"`category` names {twice[0]} twice: name each category once.")
        return dict(zip(names, given, strict=True))

    @property
    def subset(self) -> str:
        """Name of the category, or ``one+two``."""
        names = list(self.categories)
        joined = "+".join(names)
        return joined if len(joined) <= LONGEST else f"{names[0]}+{len(names) - 1} others"

    @abstractmethod
    def samples_of(self, category: str) -> list[Sample]:
        """List the images of one category, as :meth:`samples` does."""

    def samples(self) -> list[Sample]:
        """List the images of the categories; of several, a kind of defect begins with the name of its category."""
        listed = {name: self.samples_of(category) for name, category in self.categories.items()}
        if len(listed) == 1:
            return next(iter(listed.values()))
        return sorted(
            (
                replace(sample, defect=f"{name} {sample.defect}") if sample.label == ANOMALOUS else sample
                for name, samples in listed.items()
                for sample in samples
            ),
            key=lambda sample: natural_key(sample.path),
        )


def usual_root(name: str) -> Path:
    """Return the folder of a dataset if no root is given.

    Raises:
        InputError: If there is no such folder.
    """
    root = Path(os.environ.get("ANOMALIB_FLOWS_DATA") or "datasets", name)
    if not root.is_dir():
        raise InputError(
            f"`root` must be given, as there is no folder {root}: name the folder of the dataset {name}, or get it by "
            f"'anomalib-flows data prepare {name} --root {root}'."
        )
    return root


def folder_name(root: Path, category: str) -> str:
    """Return the name of the folder of a category, which may be given as ``.``."""
    return Path(root, category).absolute().name


def as_text(value: Any, absolute: bool) -> Any:
    """Convert a path, or each path in a list, to text."""
    if isinstance(value, list):
        return [as_text(item, absolute) for item in value]
    if isinstance(value, Path):
        return str(value.absolute() if absolute else value)
    return value
