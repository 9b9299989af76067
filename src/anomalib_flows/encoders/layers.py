"""Layers of an encoder: which of them give the feature maps, and how their convolutions see the border."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.types import ImageSize

Padding = Literal["zeros", "reflect"]
"""What convolutions see beyond the border of an image."""


@dataclass(frozen=True, kw_only=True)
class LayerChoice:
    """Layers whose outputs are the feature maps, by the arguments of ``Encoder``."""

    layers: Sequence[int] | None
    strides: Sequence[int]
    depths: Sequence[float]
    final_norm: bool

    def indices(self, name: str, network: Any) -> list[int]:
        """Return the indices of the layers in a network with all its feature maps; the name is for errors."""
        infos = network.feature_info.info
        depth = len(infos)
        if is_transformer(network):
            default = sorted({max(0, round(share * depth) - 1) for share in self.depths})
        else:
            default = [i for i, info in enumerate(infos) if info["reduction"] in self.strides] or list(range(depth))
        chosen = default if self.layers is None else list(self.layers)
        if not chosen:
            raise InputError("`layers` is empty: name some layers, or leave it out.")
        if missing := [i for i in chosen if i not in range(depth)]:
            raise InputError(f"`layers` {missing} do not exist in {name}: it has layers 0 to {depth - 1}.")
        if len({*chosen}) < len(chosen):
            raise InputError(f"`layers` {chosen} name a layer twice: name each once.")
        return chosen


def is_transformer(network: nn.Module) -> bool:
    """Return whether timm gives the features of a network block by block, all of one size."""
    return hasattr(getattr(network, "model", None), "forward_intermediates")


def pad_convolutions(network: Any, padding: Padding) -> Any:
    """Set what the convolutions of a network see beyond the border, in place, and return the network."""
    wide = [m for m in network.modules() if isinstance(m, nn.Conv2d) and max(m.kernel_size) > 1]
    if padding != "zeros" and any(type(m) is not nn.Conv2d for m in wide):
        raise InputError(
            f"`padding` {padding} does not go with convolutions that pad by themselves: choose `padding` zeros, "
            "or leave out pad_type."
        )
    for module in wide:
        module.padding_mode = padding
    return network


class TokenMaps(nn.Module):
    """Return the tokens of some blocks of a transformer as maps, without the later blocks.

    Images whose sides are not multiples of the patch are stretched by the few pixels that they lack to ``size``.
    """

    model: Any

    def __init__(self, model: Any, indices: list[int], size: ImageSize, final_norm: bool) -> None:
        super().__init__()
        self.default_cfg = model.default_cfg
        self.size, self.final_norm = size, final_norm
        self.indices = model.prune_intermediate_layers(indices, prune_norm=not final_norm, prune_head=True)
        self.model = model

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return a map (B, C, h, w) of each block for images (B, 3, H, W)."""
        if images.shape[-2:] != self.size:
            images = F.interpolate(images, self.size, mode="bilinear", align_corners=False)
        features: list[Tensor] = self.model.forward_intermediates(
            images, indices=self.indices, norm=self.final_norm, output_fmt="NCHW", intermediates_only=True
        )
        return features
