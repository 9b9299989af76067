"""What the files of results hold. pydantic checks each file against these types before anything is shown."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import BeforeValidator, Field
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from anomalib_flows.core.types import Protocol, ThresholdSource


def printable(text: object) -> object:
    """Replace bytes of file names that are not UTF-8, which Python keeps as surrogates."""
    return text.encode(errors="surrogateescape").decode(errors="replace") if isinstance(text, str) else text


def unescaped(word: object) -> object:
    """Undo :func:`anomalib_flows.results.table.written_word`."""
    return word.removeprefix("'") if isinstance(word, str) else word


Text = Annotated[str, BeforeValidator(printable)]
Number = Annotated[float, Field(ge=-1e39, le=1e39)]
"""A number of single precision, so that what is computed from it is finite; NaN is none."""
Whole = Annotated[int, Field(ge=0, le=2**53)]
"""A number of things; JavaScript has it exactly."""
Side = Annotated[int, Field(gt=0, le=2**31)]
"""Height or width of an image in pixels."""
Label = Literal["normal", "anomalous"]
Point = tuple[Number, Number]
Curve = list[Point] | None
"""Points of a curve; None where it is undefined."""


class Level(TypedDict):
    """Metrics of images or of pixels; None where they are undefined."""

    auroc: Number | None
    average_precision: Number | None
    f1: Number | None
    normal_images: Whole


class ImageLevel(Level):
    """Metrics of images."""

    anomalous_images: Whole


class PixelLevel(Level):
    """Metrics of pixels."""

    aupro: Number | None
    aupimo: NotRequired[Number | None]  # not in results of earlier versions
    masked_images: Whole


class Count(TypedDict):
    """A number of wrong decisions, and the interval of the rate behind it; None without images."""

    count: Whole
    of: Whole
    interval: tuple[Number, Number] | None


class Errors(TypedDict):
    """Wrong decisions of a test."""

    false_alarms: Count
    missed: Count
    missed_of_kind: dict[Text, Count]


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
    calibration_images: NotRequired[Whole]
    model: NotRequired[Text]


class Metrics(Facts, Part):
    """Content of ``metrics.json``."""

    dataset: Text
    subset: Text
    errors: Errors
    defects: dict[Text, Part]
    anomalies: NotRequired[str]
    disturb: NotRequired[dict[str, Any]]
    seed: NotRequired[int]


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
    size: tuple[Side, Side]
    photo: str
    heatmap: str
    mask: str | None
    truth: str | None


class Loss(TypedDict):
    """Row of ``losses.csv``."""

    step: Whole
    epoch: Whole
    loss: Number


class Row(TypedDict):
    """Row of ``predictions.csv``."""

    path: Text
    label: Label
    score: Number
    p_value: Number
    truth: Label | Literal[""]
    defect: Annotated[Text, BeforeValidator(unescaped)]
    outcome: Literal["correct", "false alarm", "missed", ""]
    raw_score: Annotated[Number | None, BeforeValidator(lambda text: text or None)]
