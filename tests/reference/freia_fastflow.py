"""FastFlow in the plainest way, from FrEIA's blocks: what ours is compared with, in tests and in benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from FrEIA.framework import SequenceINN
from FrEIA.modules import AllInOneBlock
from torch import Tensor, nn

from anomalib_flows.flows import Subnet
from anomalib_flows.models.fastflow import FastFlow


class FreiaFastFlow(nn.Module):
    """A layer norm and a sequence of FrEIA's ``AllInOneBlock`` for each feature map.

    Loss and map as in https://github.com/gathierry/FastFlow.

    Args:
        encoder: Turns normalised images into feature maps (B, C, h, w); it stays its owner's.
        shapes: C, h and w of each feature map.
        steps: Blocks for each feature map.
        kernel_sizes: Kernel sizes of the blocks' convolutions, taken in turn.
        hidden_ratio: Hidden channels of a block's network, as a multiple of its input channels.
        clamp: Bound of the log-scale.
    """

    encode: Callable[[Tensor], list[Tensor]]

    def __init__(
        self,
        encoder: nn.Module,
        shapes: Iterable[tuple[int, int, int]],
        steps: int = 8,
        kernel_sizes: Sequence[int] = (3,),
        hidden_ratio: float = 1.0,
        clamp: float = 2.0,
    ) -> None:
        super().__init__()
        shapes = list(shapes)
        # A method and no submodule: who shares his encoder does not want its weights twice in a state dict.
        self.encode = encoder.forward
        self.norms = nn.ModuleList(nn.LayerNorm(shape) for shape in shapes)
        flows = [SequenceINN(*shape) for shape in shapes]
        self.flows = nn.ModuleList(flows)
        for flow in flows:
            for i in range(steps):
                flow.append(  # type: ignore[no-untyped-call]
                    AllInOneBlock,
                    subnet_constructor=_conv_net(kernel_sizes[i % len(kernel_sizes)], hidden_ratio),
                    affine_clamping=clamp,
                    permute_soft=False,
                )

    def forward(self, images: Tensor) -> Tensor:
        """Return the loss of normalised images."""
        return self.loss(self.encode(images))

    def transform(self, features: Iterable[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Return z and the log-determinant of each feature map."""
        return [flow(norm(x)) for norm, flow, x in zip(self.norms, self.flows, features, strict=True)]

    def loss(self, features: Iterable[Tensor]) -> Tensor:
        """Return the sum over the maps of the mean negative log-likelihood, up to a constant."""
        total = torch.zeros(())
        for z, log_det in self.transform(features):
            total = total + torch.mean(0.5 * torch.sum(z**2, dim=(1, 2, 3)) - log_det)
        return total

    def anomaly_map(self, features: Iterable[Tensor], size: tuple[int, int]) -> Tensor:
        """Return the mean over the feature maps of minus the likelihood, (B, 1, H, W)."""
        maps = []
        for z, _ in self.transform(features):
            likelihood = torch.exp(-0.5 * torch.mean(z**2, dim=1, keepdim=True))
            maps.append(F.interpolate(-likelihood, size=size, mode="bilinear", align_corners=False))
        return torch.mean(torch.stack(maps, dim=-1), dim=-1)


def _conv_net(kernel_size: int, hidden_ratio: float) -> Subnet:
    def make(inputs: int, outputs: int) -> nn.Module:
        hidden = int(inputs * hidden_ratio)
        return nn.Sequential(
            nn.Conv2d(inputs, hidden, kernel_size, padding=kernel_size // 2),
            nn.ReLU(),
            nn.Conv2d(hidden, outputs, kernel_size, padding=kernel_size // 2),
        )

    return make


@torch.no_grad()
def copy_weights(reference: FreiaFastFlow, model: FastFlow) -> None:
    """Give the reference the weights and permutations of our model."""
    for theirs, ours in matched_parameters(reference, model):
        theirs.copy_(ours.view_as(theirs))
    for block, step in matched_steps(reference, model):
        copy_permutation(block, step)


def matched_parameters(reference: FreiaFastFlow, model: FastFlow) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield each trained parameter of the reference with ours; a norm without weights has none."""
    for norm, ours in zip(reference.norms, model.norms, strict=True):
        yield from zip(norm.parameters(), ours.parameters(), strict=False)
    for block, step in matched_steps(reference, model):
        yield from matched_step(block, step)


def matched_steps(reference: Any, model: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each block of FrEIA with our flow step."""
    for flow, chain in zip(reference.flows, model.flows, strict=True):
        yield from zip(flow, chain.steps, strict=True)


def matched_step(block: Any, step: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield each trained parameter of a block of FrEIA with that of our flow step."""
    coupling, scaling, _ = step.steps
    yield from zip(block.subnet.parameters(), coupling.subnet.parameters(), strict=True)
    yield block.global_scale, scaling.scale_logits
    yield block.global_offset, scaling.offset


@torch.no_grad()
def copy_permutation(block: Any, step: Any) -> None:
    """Write our permutation, hard or soft, as FrEIA's matrix; its columns are the images of the unit vectors."""
    matrix = step.steps[2](torch.eye(block.in_channels, dtype=block.w_perm.dtype))[0].T
    block.w_perm.copy_(matrix.reshape(block.w_perm.shape))
    block.w_perm_inv.copy_(matrix.T.reshape(block.w_perm_inv.shape))
