"""Option records of the steps before and after training. They import no torch."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast, get_args

from anomalib_flows.core.conformal import require_rate
from anomalib_flows.core.errors import InputError, require
from anomalib_flows.core.images import MAX_MEGAPIXELS
from anomalib_flows.core.limits import LARGEST, require_size
from anomalib_flows.core.types import Apart, Pictured, PictureKind, Protocol
from anomalib_flows.run.component import Component
from anomalib_flows.run.decision import DecisionOptions
from anomalib_flows.run.options import AugmentOptions, ImageOptions, LoaderOptions, require_megapixels

Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True, kw_only=True)
class CheckOptions:
    """How a dataset is checked before training.

    Args:
        data: Name of the dataset and its arguments, instead of a folder.
        image: Size of the images that a model is to be trained with.
        max_megapixels: Limit of an image's pixels, in millions, as ``loader.max_megapixels`` of a training.
        output: Folder for the sheet, OUTPUT/check/DATASET/CATEGORY.jpg.
    """

    data: Component | None = None
    image: ImageOptions = field(default_factory=ImageOptions)
    max_megapixels: float = MAX_MEGAPIXELS
    output: Path = Path("results")

    def __post_init__(self) -> None:
        require_megapixels("max_megapixels", self.max_megapixels)


@dataclass(frozen=True, kw_only=True)
class TestOptions:
    """How a trained detector is tested.

    Args:
        data: Name of the dataset and its arguments; by default that of the run.
        loader: How images are read; by default as in training.
        device: Device of the computation.
        protocol: ``paper`` sets constants and thresholds on the test images, for comparison with published results
            only; the stored model stays as it is.
        disturb: Random changes of the images for a second test, reported beside the first.
        seed: Determines how ``disturb`` changes each image.
        pictures: Largest number of test images to draw a figure of; 0 for none. If there are more images, half of the
            figures show anomalous ones where possible, evenly spaced in the order of the files. By default as in
            training.
        output: Folder for the results; by default the run. An exported model needs one.

    Raises:
        InputError: If a value is invalid.
    """

    __test__ = False  # pytest would collect the class

    data: Component | None = None
    loader: LoaderOptions | None = None
    device: Device = "auto"
    protocol: Protocol = "calibrated"
    disturb: AugmentOptions = field(default_factory=AugmentOptions)
    seed: int = 0
    pictures: int | None = None
    output: Path | None = None

    def __post_init__(self) -> None:
        require(0 <= self.seed < 2**64, "seed", self.seed, "at least 0, and below 2^64")
        require_size("pictures", self.pictures, 0, "; 0 draws none")


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """What is predicted, and where the predictions go.

    Args:
        input: Image, folder of images (with sub-folders), or pattern such as ``photos/**/*.png``; for an exported
            model also a video.
        output: New folder for predictions.csv and a folder for each kind of picture; sub-folders are kept.
        save: Kinds of pictures, separated by commas: ``heatmap``, ``overlay`` (heatmap, contour of the mask, label and
            score on the image), ``mask``, and ``maps``: raw maps as float32 arrays (.npy), or normalised maps with an
            exported model.
        pictures: Images to draw pictures of: ``all``, ``anomalous``, ``none``, or a number N for the first N. The table
            has the scores of all images in any case.
        set_apart: Put the anomalous photos apart in OUTPUT/anomalous: ``link`` makes symbolic links, ``copy`` copies,
            and ``move`` moves the photos themselves, once all images are predicted. The table has both paths.
        table: ``parquet`` writes predictions.parquet beside predictions.csv; it needs the package ``pyarrow``.
        shard: Part of the images, such as ``2/5`` for the second of five parts, so that several machines share the
            work. Each part needs an output folder of its own; their tables one after the other are the whole table.
        loader: How images are read; by default as in training.
        device: Device of the computation: ``auto``, ``cpu`` or ``cuda``; for an exported model ``auto``, ``CPU``,
            ``GPU`` or ``NPU``.
    """

    input: str
    output: Path
    save: str = "heatmap,overlay,mask"
    pictures: Pictured = "all"
    set_apart: Apart | None = None
    table: Literal["csv", "parquet"] = "csv"
    shard: str | None = None
    loader: LoaderOptions | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        kinds = get_args(PictureKind)
        expected = f"one or more of {', '.join(kinds)}, separated by commas"
        require({*self.kinds} <= {*kinds}, "save", repr(self.save), expected)
        expected = "all, anomalous, none or a number of at least 0"
        valid = not isinstance(self.pictures, int) or 0 <= self.pictures <= LARGEST["pictures"]
        require(valid, "pictures", self.pictures, expected)
        number, count = self.part
        require(1 <= number <= count, "shard", self.shard, "a part such as 2/5, the second of five")

    @property
    def part(self) -> tuple[int, int]:
        """Number of the part, from 1, and number of parts; (0, 0) if ``shard`` is not of that form."""
        found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", "1/1" if self.shard is None else self.shard)
        return (int(found[1]), int(found[2])) if found else (0, 0)

    @property
    def kinds(self) -> tuple[PictureKind, ...]:
        """Kinds of pictures to save."""
        return cast("tuple[PictureKind, ...]", tuple(dict.fromkeys(kind.strip() for kind in self.save.split(","))))


@dataclass(frozen=True, kw_only=True)
class CalibrateOptions:
    """How thresholds are set.

    Args:
        false_alarm_rate: Share of normal images that may be called anomalous; by default that of the run.
        images: Folder or pattern of normal images to calibrate with, such as new ones from the production line. None of
            them may have been trained on. By default the calibration images of the run, whose scores are in the model.
        decision: How masks are decided; by default as in the run.
        threshold: Image threshold by hand, which promises no false-alarm rate: a normalised score, where 0.5 is the
            present threshold.
        pixel_threshold: Pixel threshold by hand: a value of normalised maps, where 0.5 is the present threshold.
        defects: Folder or pattern of photos of known defects. The image threshold becomes the highest one that misses
            at most ``max_missed`` of them. It promises no false-alarm rate, and tests leave these photos out.
        max_missed: Number of photos of ``defects`` that may be missed; 0 by default.
        loader: How images are read; by default as in training.
        device: Device of the computation.

    Raises:
        InputError: If a value is invalid, or options exclude each other.
    """

    false_alarm_rate: float | None = None
    images: Path | None = None
    decision: DecisionOptions | None = None
    threshold: float | None = None
    pixel_threshold: float | None = None
    defects: Path | None = None
    max_missed: int | None = None
    loader: LoaderOptions | None = None
    device: Device = "auto"

    def __post_init__(self) -> None:
        if self.false_alarm_rate is not None:
            require_rate(self.false_alarm_rate)
        for name in ("threshold", "pixel_threshold"):
            require_inside(name, getattr(self, name))
        if self.threshold is not None and self.defects is not None:
            raise InputError("`threshold` and `defects` both set the image threshold: leave one of them out.")
        if self.max_missed is not None and self.defects is None:
            raise InputError("`max_missed` counts photos of defects: name a folder of them as `defects`.")
        require_size("max_missed", self.max_missed, 0)

    @property
    def by_hand(self) -> list[str]:
        """Names of the fields that set a threshold other than for the false-alarm rate."""
        return [name for name in ("threshold", "pixel_threshold", "defects") if getattr(self, name) is not None]

    @property
    def image_place(self) -> float | None:
        """Image threshold by hand; with defects the present one, until they move it; None for the false-alarm rate."""
        return 0.5 if self.defects else self.threshold


def require_inside(name: str, value: float | None) -> None:
    """Raise a FieldError if a threshold is where normalised values are clipped, so that it separates nothing."""
    expected = "above 0 and below 1, where scores and maps are clipped; 0.5 is the present threshold"
    require(value is None or 0 < value < 1, name, value, expected)
