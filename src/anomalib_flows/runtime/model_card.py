"""Facts that an exported model carries: the section ``anomalib_flows`` of its ``rt_info``."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import openvino as ov

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.limits import LARGEST
from anomalib_flows.core.parsing import parse_json
from anomalib_flows.core.types import AxisOrder, ImageSize, Interface, Precision, Protocol, ResizeMode, ThresholdSource

SECTION = "anomalib_flows"
FORMAT = 1
"""Version of the section that is written, and the latest one that can be read."""


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """Facts about an exported model. Each is stored as text under its own name.

    A raw value x is normalised to ``clip(0.5 (x - typical) / (threshold - typical), 0, 1)``: scores with
    ``score_typical`` and ``image_threshold``, maps with ``typical`` and ``pixel_threshold``.

    Args:
        format: Version of this section.
        version: Version of anomalib-flows that exported the model.
        interface: Program that inputs and outputs are named for.
        precision: Precision of the weights: ``fp32``, ``fp16`` or ``int8``.
        inference_precision: Precision to compute in, such as ``f32``; some CPUs would use bfloat16 by default.
        model: Registered name of the model.
        backbone: Name of its encoder.
        config: SHA-256 of the run's config.yaml.
        dataset: Name of the dataset that the model was trained on.
        subset: Category of the dataset.
        protocol: Whether thresholds were set on held-out normal images, or on test images.
        image_size: Height and width that images are resized to.
        resize: ``stretch``; or ``pad``, which pads maps at their lower and right border.
        resizes: Whether the model resizes images, or accepts floats from 0 to 255 of size ``image_size``.
        input_layout: Order of the input's axes.
        channels: Order of the input's colours.
        threshold_source: What set the image threshold: ``false-alarm-rate``, which it promises; a value (``hand``) or
            photos of known ``defects``, which promise none.
        false_alarm_rate: Rate that thresholds were set for; not that of the image threshold with the protocol
            ``paper`` or another ``threshold_source``.
        image_threshold: Raw score above which an image is anomalous.
        pixel_threshold: Raw value above which a pixel is anomalous.
        typical: Raw value of a pixel that is normalised to 0.
        score_typical: Raw score that is normalised to 0.
        calibration_scores: Sorted raw scores of the calibration images; with the protocol ``paper``, of the normal
            test images.
        calibration_maxima: Sorted maxima of their raw maps; with a ``mask_area`` the sorted values that this percentage
            of each map's pixels lies above.
        mask_area: Percentage of the pixels of a normal map that may lie above the pixel threshold.
        metrics: Test metrics of the trained model, each at the threshold that it names. INT8 models have thresholds of
            their own, which these do not refer to.
    """

    format: int = FORMAT
    version: str
    interface: Interface
    precision: Precision
    inference_precision: str
    model: str
    backbone: str
    config: str
    dataset: str
    subset: str
    protocol: Protocol
    image_size: ImageSize
    resize: ResizeMode
    resizes: Literal["yes", "no"] = "yes"
    input_layout: AxisOrder
    channels: Literal["RGB", "BGR"]
    false_alarm_rate: float
    image_threshold: float
    pixel_threshold: float
    typical: float
    score_typical: float
    calibration_scores: tuple[float, ...]
    calibration_maxima: tuple[float, ...]
    threshold_source: ThresholdSource = "false-alarm-rate"
    mask_area: float = 0.0
    metrics: dict[str, Any] = field(default_factory=dict)


def write_card(model: ov.Model, card: ModelCard) -> None:
    """Write a model card into a model, and replace the card that it had."""
    for one in fields(ModelCard):
        model.set_rt_info(_text(getattr(card, one.name)), [SECTION, one.name])


def read_card(model: ov.Model, name: Path | str = "The model") -> ModelCard:
    """Read the card of a model, and raise an InputError if it has none, an invalid one, or one of a later version."""
    if not model.has_rt_info([SECTION, "format"]):
        raise InputError(f"{name} was not exported by anomalib-flows: export a run, and give that file.")
    number = _read(model, "format")
    if number.isdecimal() and int(number) > FORMAT:
        raise InputError(
            f"{name} has format {number}, but this version of anomalib-flows reads {FORMAT}: upgrade it with "
            "'pip install --upgrade anomalib-flows'."
        )
    values = {}
    for key, kind in get_type_hints(ModelCard).items():
        if hasattr(ModelCard, key) and not model.has_rt_info([SECTION, key]):
            continue  # a fact with a default that earlier versions did not write
        try:
            values[key] = _parse(kind, _read(model, key))
            require_sound(values[key], key)
        except (RuntimeError, ValueError) as error:
            raise InputError(f"{name} has no valid {key} in its rt_info: export the model again.") from error
    return ModelCard(**values)


def require_sound(value: Any, key: str) -> None:
    """Raise a ValueError for what no export writes: numbers that are not finite or out of range, unsorted scores."""
    numbers = value if isinstance(value, tuple) else (value,)
    if not all(math.isfinite(number) for number in numbers if isinstance(number, float)):
        raise ValueError(f"{key} is not finite")
    sized = key != "image_size" or (min(value) >= 1 and max(value) <= LARGEST["image.size"])
    if not sized or (key.startswith("calibration_") and list(value) != sorted(value)):
        raise ValueError(f"{key} is {value}")
    if (key == "false_alarm_rate" and not 0 < value < 1) or (key == "mask_area" and not 0 <= value <= 100):
        raise ValueError(f"{key} is out of range")
    if key == "metrics" and not isinstance(value, dict):
        raise ValueError(f"{key} is no record")


def _read(model: ov.Model, key: str) -> str:
    return str(model.get_rt_info([SECTION, key]).astype(str))


def _text(value: Any) -> str:
    """Write a value as text that :func:`_parse` reads back exactly.

    Example:
        >>> _text((0.1, 2.0)), _text({}), _text("native")
        ('0.1 2.0', '', 'native')
    """
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    if isinstance(value, dict):
        return json.dumps(value) if value else ""
    return str(value)


def _parse(kind: Any, text: str) -> Any:
    """Read a value of a type.

    Example:
        >>> _parse(tuple[int, int], "256 320"), _parse(float, "0.1")
        ((256, 320), 0.1)
    """
    arguments = get_args(kind)
    if get_origin(kind) is tuple:
        values = tuple(map(arguments[0], text.split()))
        if Ellipsis not in arguments and len(values) != len(arguments):
            raise ValueError(text)
        return values
    if get_origin(kind) is dict:
        return parse_json(text or "{}")
    if get_origin(kind) is Literal:
        return arguments[arguments.index(text)]  # a ValueError unless it is among them
    return kind(text)
