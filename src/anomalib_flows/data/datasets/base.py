"""The dataset contract: a small class that lists the images of a folder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

from anomalib_flows.core.registry import name_of
from anomalib_flows.core.types import Sample
from anomalib_flows.data.datasets.card import Card


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


@dataclass(kw_only=True)
class CategoryDataset(Dataset):
    """Read one category of a dataset.

    Args:
        root: Folder of the categories.
        category: Name of the category.
    """

    root: Path
    category: str

    @property
    def subset(self) -> str:
        """Name of the category."""
        return Path(self.root, self.category).absolute().name


def as_text(value: Any, absolute: bool) -> Any:
    """Convert a path, or each path in a list, to text."""
    if isinstance(value, list):
        return [as_text(item, absolute) for item in value]
    if isinstance(value, Path):
        return str(value.absolute() if absolute else value)
    return value
