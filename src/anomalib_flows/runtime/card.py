"""What an exported model says of itself: the section ``anomalib_flows`` of its ``rt_info``."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import openvino as ov

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.geometry import ResizeMode
from anomalib_flows.core.types import ImageSize, Interface, Precision, Protocol

SECTION = "anomalib_flows"
FORMAT = 1
"""The newest format that this version reads, and the one that it writes."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """Facts about an exported model, each of which it keeps as text under its own name.

    A raw value x becomes ``clip(0.5 (x - typical) / (threshold - typical), 0, 1)``: of scores with ``score_typical``
    and ``image_threshold``, of maps with ``typical`` and ``pixel_threshold``.

    Args:
        format: Number of the format.
        version: Version of anomalib-flows that exported the model.
        interface: For whom inputs and outputs are named.
        precision: Of the weights: ``fp32``, ``fp16`` or ``int8``.
        inference_precision: What to compute in, such as ``f32``; some CPUs would choose bfloat16 by themselves.
        model: Registered name of the model.
        backbone: Name of its encoder.
        config: SHA-256 of the run's config.yaml.
        dataset: What it was trained on.
        subset: Category of the dataset.
        protocol: Whether thresholds were set on held-out normal images, or on test images.
        image_size: Height and width of the network's input.
        resize: ``stretch``, or ``pad``, with which maps hold padding at their lower and right border.
        resizes: Whether the graph takes images, or else floats from 0 to 255 of the network's size.
        input_layout: Order of the input's axes.
        channels: Order of the input's colours.
        false_alarm_rate: The rate that thresholds were set for; of no meaning with the protocol ``paper``.
        image_threshold: Raw score above which an image is anomalous.
        pixel_threshold: Raw value above which a pixel is anomalous.
        typical: Raw value of a pixel where the normalised map begins.
        score_typical: Raw score where the normalised score begins.
        calibration_scores: Sorted raw scores of the calibration images; with the protocol ``paper``, of the normal
            test images.
        calibration_maxima: Sorted maxima of their raw maps.
        metrics: Figures of the trained model's test, if there was one, each at the threshold that it names: not those
            of INT8, whose thresholds are its own.
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
    input_layout: Literal["NHWC", "NCHW"]
    channels: Literal["RGB", "BGR"]
    false_alarm_rate: float
    image_threshold: float
    pixel_threshold: float
    typical: float
    score_typical: float
    calibration_scores: tuple[float, ...]
    calibration_maxima: tuple[float, ...]
    metrics: dict[str, Any] = field(default_factory=dict)


def write_card(model: ov.Model, card: Card) -> None:
    """Write a card into a model; replaces the one that was there."""
    for one in fields(Card):
        model.set_rt_info(_text(getattr(card, one.name)), [SECTION, one.name])


def read_card(model: ov.Model, name: Path | str = "The model") -> Card:
    """Read the card of a model.

    Args:
        model: The model, as it was read from its file.
        name: What the model is called in an error.

    Raises:
        InputError: If the model has no card, one of a newer format, or one that lacks something.
    """
    if not model.has_rt_info([SECTION, "format"]):
        raise InputError(f"{name} was not exported by anomalib-flows: give a file that 'anomalib-flows export' wrote.")
    number = _read(model, "format")
    if number.isdecimal() and int(number) > FORMAT:
        raise InputError(
            f"{name} has format {number}, and this version of anomalib-flows knows {FORMAT}: upgrade it by "
            "'pip install --upgrade anomalib-flows'."
        )
    values = {}
    for key, kind in get_type_hints(Card).items():
        try:
            values[key] = _parse(kind, _read(model, key))
        except (RuntimeError, ValueError) as error:
            raise InputError(f"{name} does not tell its {key} as it should: export the model anew.") from error
    return Card(**values)


def _read(model: ov.Model, key: str) -> str:
    return str(model.get_rt_info([SECTION, key]).astype(str))


def _text(value: Any) -> str:
    """Write a value so that :func:`_parse` gives it back exactly.

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
        return json.loads(text or "{}")
    if get_origin(kind) is Literal:
        return arguments[arguments.index(text)]  # a ValueError unless it is among them
    return kind(text)
