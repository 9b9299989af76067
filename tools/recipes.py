"""The recipes that ``compare_recipes.py`` compares: options of ours, and remedies that did not become options."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalib_flows.flows import GlobalAffine
from anomalib_flows.models.base import Detector, Features
from anomalib_flows.models.fastflow import FastFlow

PAPER = FastFlow.published


@dataclass
class Remedies:
    """A way to train.

    Args:
        options: Options of the model.
        noise: Standard deviation of Gaussian noise on whitened features in training, at the first and the last step.
        average: Decay of an exponential moving average of the weights with which is detected; 0 for none.
        base: Whether mean and scale of the base distribution are learnt in turn with the flow (AltUB).
        fused: Whether each map is transformed given the others, after its own flow (see :class:`Fused`).
        scores: Names of ``SCORES``.

    References:
        AltUB: Alternating Training Method to Update Base Distribution of Normalizing Flow for Anomaly Detection (Kim
        et al., 2022), https://arxiv.org/abs/2210.14913.
    """

    options: dict[str, Any] = field(default_factory=dict)
    noise: tuple[float, float] = (0.0, 0.0)
    average: float = 0.0
    base: bool = False
    fused: bool = False
    scores: tuple[str, ...] = ("ours",)

    def apply(self, detector: Detector) -> None:
        """Change a detector before its training."""
        if self.fused:
            detector.__class__ = Fused
            detector.fuse()
        flows: Any = detector.flows
        self.bases: list[nn.Parameter] = []
        self.others = [p for p in detector.parameters() if p.requires_grad]
        if self.base:
            for flow in flows:
                flow.steps.append(GlobalAffine(flow.steps[0].steps[1].offset.numel()))
                self.bases += flow.steps[-1].parameters()
        self.flows, self.average_flows = flows, copy.deepcopy(flows) if self.average else None
        self.norms, self.taken = detector.norms, 0

    def disturb(self, features: Features, progress: float) -> Features:
        """Add the noise, in units of the whitened features."""
        first, last = self.noise
        scale = first + (last - first) * progress
        if scale == 0:
            return features
        norms: Any = self.norms
        # Whitening is linear, so noise can go before it: the matrix takes it to white noise.
        return [f + unwhitened(n.matrix, scale * torch.randn_like(f)) for n, f in zip(norms, features, strict=True)]

    def before_step(self, step: int) -> None:
        """Train either the flow or the base distribution."""
        if self.bases:
            for parameter in self.others if step % 5 == 4 else self.bases:
                parameter.grad = None

    def after_step(self) -> None:
        """Update the average."""
        self.taken += 1
        if self.average_flows is None:
            return
        weight = 1 - min(self.average, self.taken / (self.taken + 10))
        with torch.no_grad():
            for mean, now in zip(self.average_flows.parameters(), self.flows.parameters(), strict=True):
                mean.lerp_(now, weight)

    def averaged(self, detector: Detector) -> Detector:
        """Return the detector with averaged weights, if they are."""
        if self.average_flows is None:
            return detector
        return detector.with_parts(flows=self.average_flows)


class Fused(FastFlow):
    """FastFlow whose maps are, after their own flows, transformed given what the others have become.

    References:
        MSFlow: Multi-Scale Flow-based Framework for Unsupervised Anomaly Detection (Zhou et al., 2023),
        https://arxiv.org/abs/2308.15300, section III-C: there halves of the channels are exchanged, here each map in
        turn is scaled and shifted by the others.
    """

    def fuse(self) -> None:
        """Make the networks."""
        channels = [shape[0] for shape in self.encoder.shapes]
        self.fusions = nn.ModuleList(ByOthers(c, sum(channels) - c) for c in channels)

    def transform(self, features: Features) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield z and the log-determinant of each feature map."""
        transformed = list(super().transform(features))
        for own, fusion in enumerate(self.fusions):
            z, log_det = transformed[own]
            others = [resized(other, z) for i, (other, _) in enumerate(transformed) if i != own]
            z, log_scale = fusion(z, torch.cat(others, 1))
            transformed[own] = z, log_det + log_scale.float().flatten(1).sum(1)
        yield from transformed

    def optimizer(self) -> torch.optim.Optimizer:
        """Return Adam on everything that is trained."""
        trained = [p for p in self.parameters() if p.requires_grad]
        return torch.optim.Adam(trained, lr=self.learning_rate, weight_decay=self.weight_decay)


class ByOthers(nn.Module):
    """Scale and shift a map by what a small network makes of others; the identity before training."""

    HIDDEN, CLAMP = 64, 0.5

    def __init__(self, channels: int, others: int) -> None:
        super().__init__()
        last = nn.Conv2d(self.HIDDEN, 2 * channels, 3, padding=1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]  # it has one
        self.network = nn.Sequential(nn.Conv2d(others, self.HIDDEN, 3, padding=1), nn.ReLU(), last)

    def forward(self, z: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
        """Return the map and its log-scales, both (B, C, h, w)."""
        a, t = self.network(others).chunk(2, dim=1)
        s = self.CLAMP * torch.tanh(a)
        return z * s.exp() + t, s


def resized(z: Tensor, like: Tensor) -> Tensor:
    """Give a map the height and width of another, by means of regions or by interpolation."""
    if z.shape[-1] > like.shape[-1]:
        return F.adaptive_avg_pool2d(z, like.shape[-2:])
    return F.interpolate(z, like.shape[-2:], mode="bilinear")


def unwhitened(matrix: Tensor, noise: Tensor) -> Tensor:
    """Return what the matrix takes to the noise (B, C, h, w)."""
    return torch.linalg.solve(matrix, noise.movedim(1, 0).flatten(1)).view_as(noise.movedim(1, 0)).movedim(0, 1)


@dataclass(frozen=True)
class Score:
    """How features become maps.

    Args:
        maps: Maps of each layer or of all, of a detector's features.
        finish: One map, from the maps of held-out normal images and those of the test.
    """

    maps: Callable[[Detector, Features], list[Tensor]]
    finish: Callable[[list[Tensor], list[Tensor]], Tensor] = lambda normal, maps: maps[0]


def ours(detector: Detector, features: Features) -> list[Tensor]:
    """Return the maps of the model."""
    return [detector.anomaly_map(features)]


def energies(detector: Any, features: Features) -> list[Tensor]:
    """Return half the mean square of FastFlow's z for each layer, upsampled."""
    maps = [scale(m) for scale, m in zip(detector.scales, detector.energies(features), strict=True)]
    return [F.interpolate(m, detector.image_size, mode="bilinear") for m in maps]


def standardised(normal: list[Tensor], maps: list[Tensor]) -> Tensor:
    """Add layers up in units of their deviation on held-out normal images."""
    return sum(((m - n.mean()) / n.std() for n, m in zip(normal, maps, strict=True)), torch.zeros(()))


def by_position(normal: list[Tensor], maps: list[Tensor]) -> Tensor:
    """Take each position in units of its own deviation on held-out normal images."""
    n, m = normal[0], maps[0]
    return (m - n.mean(0)) / (n.std(0, correction=0) + 0.1 * n.std())


def p_values(normal: list[Tensor], maps: list[Tensor]) -> Tensor:
    """Add up minus log p of each layer, p among the values of held-out normal images."""
    total = torch.zeros(())
    for n, m in zip(normal, maps, strict=True):
        ordered = n.flatten()[:: max(1, n.numel() // 100_000)].sort().values
        above = len(ordered) - torch.searchsorted(ordered, m.contiguous())
        total = total - ((above + 1) / (len(ordered) + 1)).log()
    return total


SCORES = {
    "ours": Score(ours),
    "by position": Score(ours, by_position),
    "energy": Score(energies, lambda normal, maps: torch.stack(maps).sum(0)),
    "energy, standardised": Score(energies, standardised),
    "p-values": Score(energies, p_values),
}
ALL = tuple(SCORES)

FASTFLOW = {
    "default": Remedies(),
    "default, every score": Remedies(scores=ALL),
    "paper": Remedies(PAPER),
    "paper, whitened": Remedies(PAPER | {"norm": "whitened"}),
    "paper, strides 8, 16, 32": Remedies(PAPER | {"strides": [8, 16, 32]}),
    "paper, clamp 0.5": Remedies(PAPER | {"clamp": 0.5}),
    "paper, 4 steps": Remedies(PAPER | {"steps": 4}),
    "paper, cosine": Remedies(PAPER | {"schedule": "cosine"}),
    "no local scale": Remedies({"local_scale": 0.0}),
    "local scale 1": Remedies({"local_scale": 1.0}),
    "strides 4, 8, 16": Remedies({"strides": [4, 8, 16]}),
    "strides 8, 16": Remedies({"strides": [8, 16]}),
    "channels standardised": Remedies({"shrinkage": 1.0}),
    "shrinkage 0.1": Remedies({"shrinkage": 0.1}),
    "shrinkage 0.001": Remedies({"shrinkage": 0.001}),
    "one mean": Remedies({"local_mean": False}),
    "clamp 2": Remedies({"clamp": 2.0}),
    "clamp 1": Remedies({"clamp": 1.0}),
    "clamp 0.25": Remedies({"clamp": 0.25}),
    "8 steps": Remedies({"steps": 8}),
    "2 steps": Remedies({"steps": 2}),
    "half the hidden channels": Remedies({"hidden_ratio": 0.5}),
    "kernels 3, 1": Remedies({"kernel_sizes": [3, 1]}),
    "kernels 1": Remedies({"kernel_sizes": [1]}),
    "constant rate": Remedies({"schedule": "constant"}),
    "weight decay 0.001": Remedies({"weight_decay": 1e-3}),
    "noise 0.1": Remedies(noise=(0.1, 0.1)),
    "noise 0.3": Remedies(noise=(0.3, 0.3)),
    "noise 0.5 to 0": Remedies(noise=(0.5, 0.0)),
    "average of weights": Remedies({"schedule": "constant"}, average=0.98),
    "base distribution learnt": Remedies(base=True),
    "fused": Remedies(fused=True),
}
# CFLOW before its clamp and rate became 0.5 and 0.005: docs/recipe.md changes one thing of it at a time.
FREE: dict[str, Any] = {"clamp": 1.9, "learning_rate": 2e-3}
BARE = FREE | {"norm": "none", "local_scale": 0.0, "learning_rate": 1e-3}
CFLOW = {
    "default": Remedies(),
    "free": Remedies(FREE),
    "bare": Remedies(BARE),
    "bare, whitened": Remedies(BARE | {"norm": "whitened"}),
    "free, one mean": Remedies(FREE | {"local_mean": False}),
    "free, no local scale": Remedies(FREE | {"local_scale": 0.0}),
    "free, 4 steps": Remedies(FREE | {"steps": 4}),
    "free, clamp 0.5": Remedies(FREE | {"clamp": 0.5}),
    "free, clamp 1": Remedies(FREE | {"clamp": 1.0}),
    "free, cosine": Remedies(FREE | {"schedule": "cosine"}),
    "free, rate 0.001": Remedies(FREE | {"learning_rate": 1e-3}),
    "free, rate 0.005": Remedies(FREE | {"learning_rate": 5e-3}),
    "free, rate 0.005, cosine": Remedies(FREE | {"learning_rate": 5e-3, "schedule": "cosine"}),
}
RECIPES = {"fastflow": FASTFLOW, "cflow": CFLOW}
