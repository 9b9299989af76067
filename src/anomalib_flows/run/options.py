"""Option records of a run: images, splits, loading, augmentation, heatmaps and training. They import no torch."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Literal

from anomalib_flows.core.errors import InputError, require
from anomalib_flows.core.images import MAX_MEGAPIXELS
from anomalib_flows.core.limits import LARGEST, require_at_most, require_size
from anomalib_flows.core.types import ImageSize, ResizeMode

OnError = Literal["stop", "skip"]
"""What to do with files that cannot be read."""


def parse_size(value: int | str | tuple[int, int], field: str, most: float = LARGEST["image.size"]) -> ImageSize:
    """Return height and width, at most ``most`` each, from ``256``, ``"256"``, ``"256,320"`` or ``(256, 320)``.

    Raises:
        InputError: If it is not a size, or a side is not positive or too large.
    """
    sides = re.fullmatch(r"[\[(]?\s*(\d+)\s*(?:[,x]\s*(\d+)\s*)?[\])]?", str(value))
    height, width = (int(side or sides[1]) for side in sides.groups()) if sides else (0, 0)
    if height < 1 or width < 1:
        raise InputError(f"`{field}` {value} is not a size: write 256, or height and width as 256,320.")
    require(max(height, width) <= most, field, value, f"at most {most:g} high and wide")
    return height, width


@dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """Size of the images that the model sees.

    Args:
        size: Height and width that images are resized to: ``256`` or ``"256,320"``.
        resize: ``stretch`` changes the aspect ratio, as the papers do; ``pad`` keeps it and repeats the border.
    """

    size: int | str | tuple[int, int] = 256
    resize: ResizeMode = "stretch"

    def __post_init__(self) -> None:
        parse_size(self.size, "image.size")

    @property
    def height_width(self) -> ImageSize:
        """Height and width in pixels."""
        return parse_size(self.size, "image.size")


@dataclass(frozen=True, kw_only=True)
class SplitOptions:
    """Shares of the normal training images that are held out of training.

    Args:
        calibration_fraction: Share that sets the thresholds, unless the dataset has images of its own for that.
        validation_fraction: Share of the rest to compare settings with: as they are, and with synthetic defects.
    """

    calibration_fraction: float = 0.15
    validation_fraction: float = 0.0

    def __post_init__(self) -> None:
        require_fraction("split.calibration_fraction", self.calibration_fraction)
        if self.validation_fraction != 0:
            require_fraction("split.validation_fraction", self.validation_fraction)


def require_fraction(field: str, value: float) -> None:
    """Raise a FieldError unless a value is between 0 and 1, both excluded."""
    require(0 < value < 1, field, value, "a share between 0 and 1, such as 0.2")


def require_megapixels(field: str, value: float) -> None:
    """Raise a FieldError unless a limit of pixels is positive."""
    require(value > 0, field, value, "above 0, in millions of pixels")
    require_at_most(field, value)


PREDICTION_BATCH = 32
"""Default number of images per batch of commands that do not train."""


@dataclass(frozen=True, kw_only=True)
class LoaderOptions:
    """How images are read.

    Args:
        batch_size: Images per batch. By default 32; in training at most 16 for FastFlow and 32 for CFLOW. Few training
            images are divided into four batches, but of at least 4 images.
        workers: Threads that read images ahead; 0 reads each batch when it is needed. By default one per core, at
            most 8.
        cache: Where resized images are kept for the next epoch (``memory``) or the next run (``disk``), or ``none``.
        cache_size: Size limit of that cache in GB; images beyond it are decoded each time.
        on_error: What to do with files that cannot be read: ``stop``, or ``skip`` and list them.
        max_megapixels: Limit of an image's pixels, in millions; a small file may hold an image that fills the memory.
            Predicting one takes about 25 MB for each million.
    """

    batch_size: int | None = None
    workers: int | None = None
    cache: Literal["none", "memory", "disk"] = "none"
    cache_size: float = 4.0
    on_error: OnError = "stop"
    max_megapixels: float = MAX_MEGAPIXELS

    def __post_init__(self) -> None:
        require_size("loader.batch_size", self.batch_size, 1)
        require_size("loader.workers", self.workers, 0)
        require(0 < self.cache_size <= 1e9, "loader.cache_size", self.cache_size, "above 0, in GB")
        require_megapixels("loader.max_megapixels", self.max_megapixels)

    @property
    def images_per_batch(self) -> int:
        """Number of images per batch."""
        return self.batch_size or PREDICTION_BATCH

    def for_training(self, images: int, largest: int) -> LoaderOptions:
        """Return the options for training: four or more batches of much the same size, but of at least 4 images."""
        batches = max(4, math.ceil(images / largest))
        return replace(self, batch_size=self.batch_size or max(4, math.ceil(images / batches)))


AUGMENTATION_LIMITS = {"rotate": 180, "shift": 1, "brightness": 1, "contrast": 1, "blur": 50, "noise": 255}
"""Largest values of the augmentations that count from 0."""


@dataclass(frozen=True, kw_only=True)
class AugmentOptions:
    """Random changes of images, different for each image and applied to its mask as well; by default none.

    Args:
        rotate: Largest angle in degrees, to either side.
        flip: Whether half of the images are mirrored, left to right.
        zoom: Scale factor; each image is scaled by a factor between this and its reciprocal (0.9: 0.9 to 1.11).
        shift: Largest shift down and across, as a share of the height and the width.
        brightness: Largest change of brightness, as a share: 0.2 means factors from 0.8 to 1.2.
        contrast: Largest change of contrast about the image's mean, as a share.
        blur: Largest standard deviation, in pixels, of a Gaussian blur.
        noise: Largest standard deviation of noise, in grey levels from 0 to 255.
        interpolation: ``bilinear`` or ``nearest``, of images that are rotated, scaled or shifted.
        border: What fills the corners: ``reflection`` of the image, or ``zeros`` (black).
    """

    rotate: float = 0.0
    flip: bool = False
    zoom: float = 1.0
    shift: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    blur: float = 0.0
    noise: float = 0.0
    interpolation: Literal["bilinear", "nearest"] = "bilinear"
    border: Literal["reflection", "zeros"] = "reflection"

    def __post_init__(self) -> None:
        for name, largest in AUGMENTATION_LIMITS.items():
            value = getattr(self, name)
            require(0 <= value <= largest, name, value, f"from 0 to {largest}")
        require(0.1 <= self.zoom <= 10, "zoom", self.zoom, "a factor from 0.1 to 10; 1 keeps the size")

    @property
    def moves(self) -> bool:
        """Whether pixels change their place, other than by a flip."""
        return self.rotate != 0 or self.zoom != 1 or self.shift != 0

    @property
    def active(self) -> bool:
        """Whether anything changes."""
        return self.moves or self.flip or any((self.brightness, self.contrast, self.blur, self.noise))


@dataclass(frozen=True, kw_only=True)
class HeatmapOptions:
    """How anomaly maps become scores. Part of the model, and therefore of its exports.

    Args:
        smoothing: Standard deviation, in pixels, of the Gaussian that smooths maps; 0 for none.
        top_percent: Percentage of the pixels of the map that scores the image, those with the highest values, whose
            mean is the image score; 0 for the maximum. With ``resize`` ``pad`` the padding counts as pixels.
    """

    smoothing: float = 0.0
    top_percent: float = 0.5

    def __post_init__(self) -> None:
        require(0 <= self.smoothing <= 100, "heatmap.smoothing", self.smoothing, "from 0 to 100 pixels")
        require(0 <= self.top_percent <= 100, "heatmap.top_percent", self.top_percent, "from 0 to 100")


LOGGERS = {
    "csv": (),
    "tensorboard": ("tensorboard",),
    "mlflow": ("mlflow-skinny", "sqlalchemy", "alembic"),
    "wandb": ("wandb",),
}
"""Packages that each logger needs: the extra of its name."""
DEFAULT_STEPS = 120
"""Default length of a training, in batches of images."""


@dataclass(frozen=True, kw_only=True)
class TrainerOptions:
    """How long and on which device a detector is trained.

    Args:
        max_steps: Batches of images to train on, rounded to whole epochs, at least one; 120 by default. CFLOW takes
            several optimizer steps for each.
        max_epochs: Passes over the training images, instead of ``max_steps``.
        accelerator: ``auto``, ``cpu`` or ``cuda``.
        devices: Number of GPUs, or of processes on a CPU, that train together, each on its part of every batch.
        strategy: How several devices train: ``ddp``, or ``ddp_find_unused_parameters_true`` for a loss that depends on
            some of the weights only, such as that of CFLOW with ``order`` published.
        precision: ``32``, ``bf16-mixed``, or ``16-mixed`` on CUDA; ``auto`` is ``bf16-mixed`` where the device has
            instructions for it, else ``32``. Likelihoods are always summed in float32.
        compile: Whether the loss is compiled by ``torch.compile``: half a minute or more at the start, then faster
            steps. On a CPU it needs a C++ compiler and Python's headers.
        gradient_clip: Largest norm of the gradient; no limit by default.
        cache: ``disk`` computes the encoder's features once and keeps them for later epochs, runs and models; ``none``
            computes them each time. Augmented images are not kept, unless ``cache_variants`` is set.
        cache_size: Size limit of that cache in GB; features beyond it are computed each time.
        cache_dtype: Type of the kept features: ``computed`` keeps the type that they were computed in, which is exact;
            ``float32``, ``bfloat16`` or ``float16``.
        cache_variants: Number of variants of each augmented image to train on and to keep; 0 for a new one each epoch.
        logger: ``csv`` writes the loss of each step to ``logs/``. ``tensorboard``, ``mlflow`` and ``wandb`` log losses,
            options, metrics and pictures; each needs the extra of that name.
    """

    max_steps: int | None = None
    max_epochs: int | None = None
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    devices: int = 1
    strategy: Literal["ddp", "ddp_find_unused_parameters_true"] = "ddp"
    precision: Literal["auto", "32", "bf16-mixed", "16-mixed"] = "auto"
    compile: bool = False
    gradient_clip: float | None = None
    cache: Literal["disk", "none"] = "disk"
    cache_size: float = 10.0
    cache_dtype: Literal["computed", "float32", "bfloat16", "float16"] = "computed"
    cache_variants: int = 0
    logger: Literal["csv", "tensorboard", "mlflow", "wandb"] = "csv"

    def __post_init__(self) -> None:
        require_size("trainer.devices", self.devices, 1)
        require_size("trainer.max_steps", self.max_steps, 1)
        require_size("trainer.max_epochs", self.max_epochs, 1)
        if self.max_steps and self.max_epochs:
            raise InputError(
                "`trainer.max_steps` and `trainer.max_epochs` both set the length of the training: set one to null."
            )
        clip = self.gradient_clip
        require(clip is None or clip > 0, "trainer.gradient_clip", clip, "above 0")
        require_at_most("trainer.gradient_clip", clip or 0)
        valid = 0 < self.cache_size < 1e9
        require(valid, "trainer.cache_size", self.cache_size, "above 0 and below a million, in GB")
        require_size("trainer.cache_variants", self.cache_variants, 0)

    def require_logger(self) -> None:
        """Raise an InputError if a module of the logger is not installed; only a training needs it."""
        packages = LOGGERS[self.logger]
        found = [find_spec(name.removesuffix("-skinny")) for name in packages]
        if any(module is None or module.origin is None for module in found):  # a mere folder has no origin
            raise InputError(f"`trainer.logger` {self.logger} needs more: run pip install {' '.join(packages)}.")

    def epochs(self, batches: int) -> int:
        """Return the number of epochs, given the batches of images in each."""
        return self.max_epochs or max(1, round((self.max_steps or DEFAULT_STEPS) / batches))
