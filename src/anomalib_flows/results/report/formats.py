"""What the files of results hold. pydantic checks each file against these types before anything is shown."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired

from pydantic import BeforeValidator
from pydantic import FiniteFloat as Number
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from anomalib_flows.core.types import Protocol, ThresholdSource


def printable(text: object) -> object:
    """Replace bytes of file names that are not UTF-8, which Python keeps as surrogates."""
    return text.encode(errors="surrogateescape").decode(errors="replace") if isinstance(text, str) else text


Text = Annotated[str, BeforeValidator(printable)]
Point = tuple[Number, Number]
Curve = list[Point] | None
"""Points of a curve; None where it is undefined."""


class Level(TypedDict):
    """Metrics of images or of pixels; None where they are undefined."""

    auroc: Number | None
    average_precision: Number | None
    f1: Number | None
    normal_images: int


class ImageLevel(Level):
    """Metrics of images."""

    anomalous_images: int


class PixelLevel(Level):
    """Metrics of pixels."""

    aupro: Number | None
    masked_images: int


class Count(TypedDict):
    """A number of wrong decisions, and the interval of the rate behind it; None without images."""

    count: int
    of: int
    interval: tuple[Number, Number] | None


class Errors(TypedDict):
    """Wrong decisions of a test."""

    false_alarms: Count
    missed: Count
    missed_of_kind: dict[str, Count]


class Scale(TypedDict):
    """Raw scores that are normalised to 0 and to 0.5."""

    typical: Number
    threshold: Number


class Part(TypedDict):
    """Metrics of all images, or of one kind of defect."""

    image: ImageLevel
    pixel: PixelLevel


class Facts(TypedDict):
    """What ``metrics.json`` and ``prediction.json`` both say."""

    protocol: Protocol
    threshold_source: ThresholdSource
    promised_false_alarm_rate: Number | None
    image_scale: Scale
    calibration_images: NotRequired[int]
    model: NotRequired[str]


class Metrics(Facts, Part):
    """Content of ``metrics.json``."""

    dataset: str
    subset: str
    errors: Errors
    defects: dict[str, Part]
    anomalies: NotRequired[str]
    disturb: NotRequired[dict[str, Any]]


class ImageCurves(TypedDict):
    """Curves of images."""

    roc: Curve
    precision_recall: Curve


class PixelCurves(ImageCurves):
    """Curves of pixels."""

    pro: Curve


class Curves(TypedDict):
    """Content of ``curves.json``."""

    image: ImageCurves
    pixel: PixelCurves


class Thumbnail(TypedDict):
    """Line of ``thumbnails.jsonl``; pictures are in base 64."""

    path: Text
    size: tuple[int, int]
    photo: str
    heatmap: str
    mask: str | None
    truth: str | None


class Loss(TypedDict):
    """Row of ``losses.csv``."""

    step: int
    epoch: int
    loss: Number


class Row(TypedDict):
    """Row of ``predictions.csv``."""

    path: Text
    label: str
    score: Number
    p_value: Number
    truth: str
    defect: Text
    outcome: str
    raw_score: Annotated[Number | None, BeforeValidator(lambda text: text or None)]
