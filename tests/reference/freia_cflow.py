"""CFLOW in the plainest way, from FrEIA's blocks: what ours is compared with, in tests and in benchmarks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from FrEIA.framework import SequenceINN
from FrEIA.modules import AllInOneBlock
from torch import Tensor, nn

from anomalib_flows.models.cflow import CFlow
from reference.freia_fastflow import copy_permutation, matched_step, matched_steps

Batch = Iterable[tuple[int, Tensor, Tensor]]
"""For some layers: their number, feature vectors (N, C) and positions y W + x (N,)."""


class FreiaCFlow(nn.Module):
    """A conditional sequence of FrEIA's ``AllInOneBlock`` for each feature map.

    Loss and map as in CFLOW-AD (Gudovskiy et al., 2021), https://arxiv.org/abs/2107.12571, and as published with it.

    Args:
        shapes: C, h and w of each feature map.
        condition: Length of the positional code; 0 for none.
        steps: Blocks for each feature map.
        clamp: Bound of the log-scale.
        soft: Whether channels are rotated and not only reordered.
    """

    def __init__(
        self,
        shapes: Iterable[tuple[int, int, int]],
        condition: int = 128,
        steps: int = 8,
        clamp: float = 1.9,
        *,
        soft: bool = False,
    ) -> None:
        super().__init__()
        self.shapes, self.condition = list(shapes), condition
        flows = [SequenceINN(channels) for channels, _, _ in self.shapes]
        self.flows = nn.ModuleList(flows)
        conditional = {"cond": 0, "cond_shape": (condition,)} if condition else {}
        for flow in flows:
            for _ in range(steps):
                flow.append(  # type: ignore[no-untyped-call]
                    AllInOneBlock,
                    **conditional,
                    subnet_constructor=dense_net,
                    affine_clamping=clamp,
                    permute_soft=soft,
                )

    def log_prob(self, layer: int, vectors: Tensor, positions: Tensor) -> Tensor:
        """Return the log-likelihood per channel of vectors (N, C) at positions (N,)."""
        channels, height, width = self.shapes[layer]
        codes = []
        if self.condition:
            code = positional_code(self.condition, height, width).to(vectors)
            codes = [code[:, positions // width, positions % width].T]
        z, log_det = self.flows[layer](vectors, codes)
        log_prob = channels * (-0.5 * math.log(2 * math.pi)) - 0.5 * torch.sum(z**2, dim=1) + log_det
        log_prob_per_channel: Tensor = log_prob / channels
        return log_prob_per_channel

    def loss(self, batch: Batch) -> Tensor:
        """Return the sum over the layers of the mean of minus log sigmoid of the log-likelihoods."""
        total = torch.zeros(())
        for layer, vectors, positions in batch:
            total = total - torch.mean(F.logsigmoid(self.log_prob(layer, vectors, positions)))
        return total

    def log_prob_map(self, layer: int, feature: Tensor) -> Tensor:
        """Return the log-likelihood per channel everywhere in a feature map, (B, C, h, w) -> (B, 1, h, w)."""
        batch, channels, height, width = feature.shape
        vectors = feature.permute(0, 2, 3, 1).reshape(-1, channels)
        positions = torch.arange(height * width).repeat(batch)
        return self.log_prob(layer, vectors, positions).reshape(batch, 1, height, width)

    def anomaly_map(self, features: Iterable[Tensor], size: tuple[int, int]) -> Tensor:
        """Return the maps (B, 1, H, W) of a set of images, with the maxima over this set as published."""
        total = torch.zeros(())
        for layer, feature in enumerate(features):
            log_prob = self.log_prob_map(layer, feature)
            likelihood = torch.exp(log_prob - log_prob.max())
            total = total + F.interpolate(likelihood, size=size, mode="bilinear", align_corners=True)
        return total.max() - total


def dense_net(inputs: int, outputs: int) -> nn.Module:
    """Make a network of one hidden layer that is twice as wide as its input."""
    return nn.Sequential(nn.Linear(inputs, 2 * inputs), nn.ReLU(), nn.Linear(2 * inputs, outputs))


def positional_code(length: int, height: int, width: int) -> Tensor:
    """Return the code of each position, (D, H, W): the first half encodes the column, the second the row."""
    half = length // 2
    frequencies = torch.exp(torch.arange(0.0, half, 2) * -(math.log(1e4) / half))
    code = torch.zeros(length, height, width)
    for k, frequency in enumerate(frequencies):
        columns, rows = torch.arange(width) * frequency, torch.arange(height) * frequency
        code[2 * k] = torch.sin(columns)[None, :]
        code[2 * k + 1] = torch.cos(columns)[None, :]
        code[half + 2 * k] = torch.sin(rows)[:, None]
        code[half + 2 * k + 1] = torch.cos(rows)[:, None]
    return code


@torch.no_grad()
def copy_weights(reference: FreiaCFlow, model: CFlow) -> None:
    """Give the reference the weights and permutations of our model."""
    for theirs, ours in matched_parameters(reference, model):
        theirs.copy_(ours.view_as(theirs))
    for block, step in matched_steps(reference, model):
        copy_permutation(block, step)


def matched_parameters(reference: FreiaCFlow, model: CFlow) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield each trained parameter of the reference with ours."""
    for block, step in matched_steps(reference, model):
        yield from matched_step(block, step)
