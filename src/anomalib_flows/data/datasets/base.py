"""The dataset contract: a small record that turns a folder into samples."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Literal

from anomalib_flows.core.errors import InputError, require
from anomalib_flows.core.registry import name_of
from anomalib_flows.core.types import ImageSize, Sample
from anomalib_flows.data.datasets.card import Card


@dataclass(kw_only=True)
class Dataset(ABC):
    """Options that every dataset has, and the one method that an adapter writes.

    Args:
        image_size: Height and width that images are resized to: ``256`` or ``"256,320"``.
        resize: ``stretch`` changes the aspect ratio, as the papers do; ``pad`` keeps it and repeats the
            border.
        batch_size: Images per training step.
        workers: Threads that read images ahead; 0 reads each batch when it is needed. By default one for each core, at
            most 8.
        cache: Where resized images are kept for the next epoch (``memory``) or the next run (``disk``), or ``none``.
        cache_size: Room for them in GB; images beyond it are decoded each time.
        on_error: What to do with files that cannot be read: ``stop``, or ``skip`` and list them.
        calibration_fraction: Share of the normal training images that is held out to set thresholds, unless
            the dataset has images of its own for that.
        validation_fraction: Share of those left that is held out to compare settings with: as they are, and with drawn
            defects.
    """

    card: ClassVar[Card | None] = None
    """Facts about the dataset, if it is a published one."""
    arrange_needs: ClassVar[Mapping[str, str]] = {}
    """Modules that :meth:`arrange` imports and this package does not require, with what pip installs for each."""

    image_size: int | str | tuple[int, int] = 256
    resize: Literal["stretch", "pad"] = "stretch"
    batch_size: int = 32
    workers: int | None = None
    cache: Literal["none", "memory", "disk"] = "none"
    cache_size: float = 4.0
    on_error: Literal["stop", "skip"] = "stop"
    calibration_fraction: float = 0.15
    validation_fraction: float = 0.0

    def __post_init__(self) -> None:
        """Refuse bad options when they are given, not after minutes of reading."""
        parse_size(self.image_size)
        require(self.batch_size >= 1, "--data.batch_size", self.batch_size, "at least 1")
        require(self.workers is None or self.workers >= 0, "--data.workers", self.workers, "at least 0")
        require(self.cache_size > 0, "--data.cache_size", self.cache_size, "above 0, in GB")
        require_fraction("calibration_fraction", self.calibration_fraction)
        if self.validation_fraction != 0:
            require_fraction("validation_fraction", self.validation_fraction)

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

        Training images are normal. The calibration split is taken from them elsewhere, unless the dataset brings its
        own, of normal images too.

        Raises:
            InputError: If the folder is missing or holds no images.
        """

    @classmethod
    def arrange(cls, folder: Path) -> None:
        """Turn what the published archives hold into the files that :meth:`samples` reads; 'data prepare' calls it.

        By default they hold just these files.

        Args:
            folder: Where the archives are unpacked, without a folder around everything; it becomes the root.

        Raises:
            InputError: If the archives hold something else.
        """
        return None  # noqa: RET501 (without it the method would look abstract)

    def mask_folders(self) -> list[tuple[Path, Path]]:
        """Name folders of images, each with the folder of masks that mirrors it; 'data check' looks them through.

        By default none: then it looks where the masks of the samples lie.
        """
        return []

    def together(self, samples: list[Sample]) -> dict[Path, Path]:
        """Map images to what they are parts of, such as a video: of its parts all or none are held out of training.

        By default every image is by itself.
        """
        return {}

    def options(self) -> dict[str, Any]:
        """Arguments that make the same dataset again.

        Paths are for the caller to make absolute, but not where they are relative to ``root``: these are text.
        """
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        if values.get("root") is None:
            return values
        return {name: value if name == "root" else as_text(value) for name, value in values.items()}

    @property
    def size(self) -> ImageSize:
        """Height and width of ``image_size``."""
        return parse_size(self.image_size)


def as_text(value: Any) -> Any:
    """Turn a path, or each path in a list, into text."""
    if isinstance(value, list):
        return [as_text(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def parse_size(value: int | str | tuple[int, int], option: str = "--data.image_size") -> ImageSize:
    """Turn ``256``, ``"256"``, ``"256,320"`` or ``(256, 320)`` into height and width.

    Raises:
        InputError: If it is none of these, or a side is not positive.

    Example:
        >>> parse_size("256,320")
        (256, 320)
    """
    sides = re.fullmatch(r"[\[(]?\s*(\d+)\s*(?:[,x]\s*(\d+)\s*)?[\])]?", str(value))
    height, width = (int(side or sides[1]) for side in sides.groups()) if sides else (0, 0)
    if height < 1 or width < 1:
        raise InputError(f"{option} {value} is not a size: write 256, or height and width as 256,320.")
    return height, width


def require_fraction(option: str, value: float) -> None:
    """Refuse a share that takes nothing or everything.

    Raises:
        InputError: If the value does not lie between 0 and 1.
    """
    require(0 < value < 1, f"--data.{option}", value, "a share between 0 and 1, such as 0.2")
