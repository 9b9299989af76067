"""Detectors for export: flows are folded where that is possible, and upsampling becomes products of matrices."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from anomalib_flows.core.types import ImageSize
from anomalib_flows.export.folded_flow import FoldedFlow
from anomalib_flows.flows import (
    AffineCoupling,
    Chain,
    DenseSubnet,
    GlobalAffine,
    Parallel,
    Permutation,
    SoftPermutation,
)
from anomalib_flows.models.base import Detector
from anomalib_flows.models.components.positions import PositionFlow
from anomalib_flows.models.flow_detector import FlowDetector, Upsample


def deployable(detector: Detector) -> Detector:
    """Return a detector for inference only that gives the same maps; the given one is not changed.

    The flows of a :class:`~anomalib_flows.models.flow_detector.FlowDetector` are folded and its upsampling is replaced
    by products of matrices. Other detectors decide by themselves, see
    :meth:`~anomalib_flows.models.base.Detector.deployable`.
    """
    leaner = detector.deployable()
    if not isinstance(leaner, FlowDetector):
        return leaner
    flows = nn.ModuleList(fold_flow(flow) for flow in leaner.flows)
    return leaner.with_parts(flows=flows, upsample=exportable_upsample(leaner.upsample))


def fold_flow(flow: nn.Module, *, ordered: bool = False) -> nn.Module:
    """Fold the chains of steps in a flow. Everything else stays, and a flow without such chains is returned itself.

    Args:
        flow: The flow.
        ordered: Whether the channels of z must keep their order; likelihoods do not depend on it.
    """
    if isinstance(flow, PositionFlow) and all(_is_step(step, DenseSubnet) for step in flow.steps):
        return FoldedFlow(flow, flow.code, ordered=ordered)
    if type(flow) is Chain and all(_is_step(step, nn.Sequential) for step in flow.steps):
        return FoldedFlow(flow, ordered=ordered)
    if type(flow) is Chain:  # only the last flow may change the order of the channels
        last = len(flow.steps) - 1
        steps = [fold_flow(step, ordered=ordered or i < last) for i, step in enumerate(flow.steps)]
        return _with_members(flow, "steps", steps)
    if type(flow) is Parallel:
        return _with_members(flow, "flows", [fold_flow(f, ordered=ordered) for f in flow.flows])
    return flow


def _with_members(flow: nn.Module, name: str, members: list[nn.Module]) -> nn.Module:
    """Return a copy of a flow with other members, or the flow itself if they are the same."""
    if all(new is old for new, old in zip(members, getattr(flow, name), strict=True)):
        return flow
    other = copy.copy(flow)
    other._modules = {**flow._modules, name: nn.ModuleList(members)}  # noqa: SLF001 (copy.copy would share it)
    return other


def _is_step(step: nn.Module, network: type[nn.Module]) -> bool:
    """Return whether a flow is coupling, scaling and permutation, with a network that can be folded."""
    if type(step) is not Chain or len(step.steps) != 3:
        return False
    coupling, scaling, permutation = step.steps
    subnet = getattr(coupling, "subnet", None)
    return (
        type(coupling) is AffineCoupling
        and type(scaling) is GlobalAffine
        and type(permutation) in (Permutation, SoftPermutation)
        and type(subnet) is network
        and (network is DenseSubnet or _is_convolutional(subnet))
    )


def _is_convolutional(subnet: Any) -> bool:
    """Return whether a sequence is two convolutions, each with a bias, and a ReLU between them."""
    kinds = [type(layer) for layer in subnet]
    return kinds == [nn.Conv2d, nn.ReLU, nn.Conv2d] and all(b is not None for b in (subnet[0].bias, subnet[2].bias))


class MatrixUpsample(nn.Module):
    """Upsample maps linearly by products of matrices, one for the rows and one for the columns.

    Three maps to 256 x 256 take OpenVINO 1 ms on a core, its interpolation 10 ms.

    Args:
        size: Height H and width W of the result.
        aligned: Whether the centres of the outer pixels are aligned.

    Example:
        >>> MatrixUpsample((1, 3), aligned=True)(torch.tensor([[[[0.0, 1.0]]]])).tolist()
        [[[[0.0, 0.5, 1.0]]]]
    """

    def __init__(self, size: ImageSize, aligned: bool) -> None:
        super().__init__()
        self.size, self.aligned = size, aligned

    def forward(self, maps: Tensor) -> Tensor:
        """Upsample maps of shape (B, M, h, w) to (B, M, H, W); the matrices are constants of a traced graph."""
        height, width = (int(length) for length in maps.shape[-2:])
        rows = interpolation_matrix(height, self.size[0], self.aligned).to(maps)
        columns = interpolation_matrix(width, self.size[1], self.aligned).to(maps)
        return rows @ maps @ columns.T


def interpolation_matrix(old: int, new: int, aligned: bool) -> Tensor:
    """Return the share of each old pixel in each new one by linear interpolation, (new, old).

    Example:
        >>> interpolation_matrix(2, 3, aligned=True).tolist()
        [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]
    """
    places = np.arange(new)
    centres = places * (old - 1) / max(new - 1, 1) if aligned else (places + 0.5) * old / new - 0.5
    distances = np.abs(centres.clip(0, old - 1)[:, None] - np.arange(old))
    return torch.from_numpy((1 - distances).clip(0).astype(np.float32))


def exportable_upsample(upsample: nn.Module) -> nn.Module:
    """Return a module of the same values that is fast in exported graphs; the module itself if there is none."""
    if type(upsample) is Upsample and upsample.mode in ("bilinear", "bilinear-aligned"):
        return MatrixUpsample(upsample.size, upsample.mode == "bilinear-aligned")
    return upsample
