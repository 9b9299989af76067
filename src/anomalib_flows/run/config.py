"""The configuration of a run: one immutable record in plain types."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anomalib_flows.core.conformal import require_rate
from anomalib_flows.core.errors import require
from anomalib_flows.core.limits import require_size
from anomalib_flows.core.types import Protocol
from anomalib_flows.run.component import Component
from anomalib_flows.run.decision import DecisionOptions, ThresholdRule
from anomalib_flows.run.options import (
    AugmentOptions,
    HeatmapOptions,
    ImageOptions,
    LoaderOptions,
    SplitOptions,
    TrainerOptions,
)
from anomalib_flows.run.validation import plain, validated

FIGURES = 1000
"""Default limit of the figures that a test draws."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that makes a run.

    Args:
        model: Name of the model and its arguments, except for the image size.
        data: Name of the dataset and its arguments; None for an imported model without a dataset.
        image: Size of the images that the model sees.
        split: Images that are held out of training.
        loader: How images are read.
        trainer: How long and on which device to train.
        heatmap: How anomaly maps become scores.
        augment: Random changes of the training images, different in each epoch.
        false_alarm_rate: Share of normal images that may be called anomalous.
        decision: How masks are decided.
        threshold: Image threshold by hand, which promises no false-alarm rate. It is a score on the scale on which 0 is
            typical and 0.5 is the threshold for the false-alarm rate.
        pixel_threshold: Pixel threshold by hand, on the same scale for pixels.
        protocol: ``paper`` trains on all normal training images and sets constants and thresholds on the test images,
            for comparison with published results only.
        seed: Determines the initial weights, the order and the augmentation of the images, and the split.
        output: Folder for run directories.
        pictures: Largest number of test images to draw a figure of; 0 for none. If there are more images, half of the
            figures show anomalous ones where possible, evenly spaced in the order of the files.

    Raises:
        InputError: If a value is invalid.

    Example:
        >>> config = TrainConfig(model=Component("fastflow"), data=Component("synthetic"), seed=3)
        >>> TrainConfig.from_dict(config.to_dict()) == config
        True
    """

    model: Component
    data: Component | None = None
    image: ImageOptions = field(default_factory=ImageOptions)
    split: SplitOptions = field(default_factory=SplitOptions)
    loader: LoaderOptions = field(default_factory=LoaderOptions)
    trainer: TrainerOptions = field(default_factory=TrainerOptions)
    heatmap: HeatmapOptions = field(default_factory=HeatmapOptions)
    augment: AugmentOptions = field(default_factory=AugmentOptions)
    false_alarm_rate: float = 0.01
    decision: DecisionOptions = field(default_factory=DecisionOptions)
    threshold: float | None = None
    pixel_threshold: float | None = None
    protocol: Protocol = "calibrated"
    seed: int = 0
    output: Path = Path("results")
    pictures: int = FIGURES

    def __post_init__(self) -> None:
        require_rate(self.false_alarm_rate)
        for name in ("threshold", "pixel_threshold"):
            value = getattr(self, name)
            require(value is None or 0 < value < math.inf, name, value, "above 0; 0.5 is that of the false-alarm rate")
        require(0 <= self.seed < 2**64, "seed", self.seed, "at least 0, and below 2^64")
        require_size("pictures", self.pictures, 0, "; 0 draws none")

    @property
    def threshold_rule(self) -> ThresholdRule:
        """How thresholds are set beside the false-alarm rate."""
        return ThresholdRule(self.threshold, self.pixel_threshold, self.decision.mask_area)

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration in plain types, as JSON and YAML have them."""
        return dict(plain(dataclasses.asdict(self)))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainConfig:
        """Read a configuration; ``model`` and ``data`` may be names alone.

        Raises:
            InputError: If a key is unknown or missing, or a value is invalid.
        """
        named = {key: {"class_path": values[key]} for key in ("model", "data") if isinstance(values.get(key), str)}
        config: TrainConfig = validated(cls, {**values, **named})
        return config


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the fields of a configuration by their dotted names; arguments of a model are ``model.steps``."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        name = prefix.removesuffix(".") if key == "init_args" else f"{prefix}{key}"
        found |= flat(value, f"{name}.") if isinstance(value, dict) and value else {name: value}
    return found
