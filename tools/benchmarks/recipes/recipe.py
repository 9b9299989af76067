"""A recipe: options of a model, and changes of its training that did not become options."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from anomalib_flows.flows import GlobalAffine
from anomalib_flows.models.base import Detector, Features
from recipes.fused import fuse

BASE_TURN = 5
"""Steps of a turn with a trained base distribution: the last one trains the flow, the others the base."""


@dataclass(frozen=True)
class Recipe:
    """A way to train a model.

    Args:
        options: Arguments of the model.
        noise: Standard deviation of Gaussian noise on whitened features in training, at the first and the last step.
        average: Decay of an exponential moving average of the weights, which then computes the maps; 0 for none.
        base: Whether mean and scale of the base distribution are trained, in turn with the flow (AltUB).
        fused: Whether each map is transformed given the others, after its own flow (see :mod:`recipes.fused`).
        scores: Names of scores, see :data:`recipes.scores.SCORES`.

    References:
        AltUB: Alternating Training Method to Update Base Distribution of Normalizing Flow for Anomaly Detection (Kim
        et al., 2022), https://arxiv.org/abs/2210.14913.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    noise: tuple[float, float] = (0.0, 0.0)
    average: float = 0.0
    base: bool = False
    fused: bool = False
    scores: tuple[str, ...] = ("ours",)


class Changes:
    """Apply a recipe's changes to a detector and to its training.

    Args:
        recipe: The recipe.
        detector: The detector, after its statistics are fitted; a fused recipe replaces its class.
    """

    def __init__(self, recipe: Recipe, detector: Detector) -> None:
        self.recipe = recipe
        if recipe.fused:
            fuse(detector)
        flows: Any = detector.flows
        self.flows, self.norms, self.steps = flows, detector.norms, 0
        self.others = [p for p in detector.parameters() if p.requires_grad]
        self.bases = add_bases(flows) if recipe.base else []
        self.average = copy.deepcopy(flows) if recipe.average else None

    def disturb(self, features: Features, progress: float) -> Features:
        """Add the noise, in units of the whitened features."""
        first, last = self.recipe.noise
        scale = first + (last - first) * progress
        if scale == 0:
            return features
        norms: Any = self.norms
        # Whitening is linear, so that noise can be added before: the matrix maps it to white noise.
        return [f + unwhitened(n.matrix, scale, f) for n, f in zip(norms, features, strict=True)]

    def before_step(self) -> None:
        """Drop the gradients of either the flow or the base distribution."""
        if self.bases:
            for parameter in self.others if self.steps % BASE_TURN == BASE_TURN - 1 else self.bases:
                parameter.grad = None

    def after_step(self) -> None:
        """Update the average."""
        self.steps += 1
        if self.average is None:
            return
        weight = 1 - min(self.recipe.average, self.steps / (self.steps + 10))
        with torch.no_grad():
            for mean, now in zip(self.average.parameters(), self.flows.parameters(), strict=True):
                mean.lerp_(now, weight)

    def averaged(self, detector: Detector) -> Detector:
        """Return the detector with averaged weights, or itself if the recipe averages none."""
        if self.average is None:
            return detector
        return detector.with_parts(flows=self.average)


def add_bases(flows: Any) -> list[nn.Parameter]:
    """Append a trained scale and mean to each flow, and return their parameters."""
    added: list[nn.Parameter] = []
    for flow in flows:
        flow.steps.append(GlobalAffine(flow.steps[0].steps[1].offset.numel()))
        added += flow.steps[-1].parameters()
    return added


def unwhitened(matrix: Tensor, scale: float, features: Tensor) -> Tensor:
    """Return noise of the shape of features (B, C, h, w) that a matrix (K, C) maps to white noise of a scale."""
    b, _, h, w = features.shape
    noise = scale * torch.randn(b, len(matrix), h, w, dtype=features.dtype, device=features.device)
    return torch.einsum("ck,bkhw->bchw", torch.linalg.pinv(matrix), noise)
