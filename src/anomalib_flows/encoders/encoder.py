"""Frozen timm encoders: an image becomes a few feature maps."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from anomalib_flows.core.cuda import is_out_of_memory
from anomalib_flows.core.errors import InputError, first_line
from anomalib_flows.core.types import ImageSize
from anomalib_flows.encoders import DEFAULT_BACKBONE, Triple
from anomalib_flows.encoders.layers import LayerChoice, Padding, TokenMaps, is_transformer, pad_convolutions
from anomalib_flows.encoders.weights import (
    Weights,
    create_network,
    marked,
    require_backbone,
    require_complete,
    timm,
    weight_arguments,
)

RESERVED = {
    "pretrained",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
    "checkpoint_path",
    "features_only",
    "out_indices",
}
"""Arguments of ``timm.create_model`` that the encoder sets by itself."""


class Encoder(nn.Module):
    """Extract feature maps with a frozen network of timm.

    Transformers give the tokens of a block as a map.

    Args:
        image_size: Height H and width W of the images.
        backbone: Name of a model of timm.
        weights: ``pretrained`` (an installed package, timm's cache, or its hub), ``random``, or a file with a state
            dict of that model.
        layers: Indices of timm's feature maps, or of blocks for transformers.
        timm_args: Further arguments of ``timm.create_model``, such as ``pad_type``.
        mean: Mean of each channel for the normalisation, in [0, 1]; by default timm's.
        std: Standard deviation of each channel for the normalisation; by default timm's.
        strides: Strides of the maps that are taken if no layers are given.
        depths: Blocks of a transformer that are taken if no layers are given, as shares of its depth.
        final_norm: Whether a transformer's final norm is applied to the tokens of each block.
        padding: What convolutions see beyond the border: ``zeros``, or the image by ``reflect``.

    Raises:
        InputError: If the model is unknown, the weights cannot be loaded or do not fit, or a layer does not exist.

    Example:
        >>> encoder = Encoder((64, 96), "resnet18", weights="random")
        >>> [tuple(feature.shape) for feature in encoder(torch.zeros(1, 3, 64, 96))]
        [(1, 64, 16, 24), (1, 128, 8, 12), (1, 256, 4, 6)]
    """

    network: Any  # timm's networks are not typed

    def __init__(
        self,
        image_size: ImageSize,
        backbone: str = DEFAULT_BACKBONE,
        weights: Weights = "pretrained",
        layers: Sequence[int] | None = None,
        timm_args: dict[str, Any] | None = None,
        mean: Triple | None = None,
        std: Triple | None = None,
        *,
        strides: Sequence[int] = (4, 8, 16),
        depths: Sequence[float] = (2 / 3,),
        final_norm: bool = True,
        padding: Padding = "zeros",
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.choices = backbone, image_size, sorted((timm_args or {}).items())
        choice = LayerChoice(layers=layers, strides=strides, depths=depths, final_norm=final_norm)
        network = extractor(backbone, weights, image_size, timm_args or {}, choice)
        network = pad_convolutions(network, padding).eval().requires_grad_(False)
        self.network = network.to(memory_format=torch.channels_last)  # once, or each call would reorder the weights
        self.channels_last = getattr(self.network, "output_fmt", "NCHW") == "NHWC"
        self.mean: Triple = mean or self.network.default_cfg["mean"]
        self.std: Triple = std or self.network.default_cfg["std"]
        self.shapes = self._shapes(image_size)
        self._quick: tuple[Any, Any] = (None, None)

    def train(self, mode: bool = True) -> Encoder:
        """Stay in evaluation mode: a frozen encoder's batch statistics never change."""
        del mode
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the feature maps of normalised images (B, 3, H, W), each of shape (B, C, h, w)."""
        exporting = torch.jit.is_tracing() or torch.compiler.is_exporting()  # type: ignore[attr-defined, no-untyped-call]
        return self._maps(self.network if exporting else self._quick_network(images), images)

    def fingerprint(self) -> str:
        """Return a name for everything that features depend on: weights, architecture, and how it is used."""
        layers = getattr(self.network, "indices", None) or self.network.feature_info.out_indices
        digest = sha256(repr((timm().__version__, self.choices, layers, str(self.network))).encode())
        for name, tensor in sorted(self.network.state_dict().items()):
            values = tensor.detach().cpu().contiguous().flatten()
            digest.update(repr((name, tensor.shape, tensor.dtype)).encode())
            digest.update(memoryview(values.view(torch.uint8).numpy()))
        return digest.hexdigest()

    def _maps(self, network: Any, images: Tensor) -> list[Tensor]:
        """Return a network's feature maps, channels in the second place."""
        features = network(images)
        return [rearrange(f, "b h w c -> b c h w") for f in features] if self.channels_last else list(features)

    def _quick_network(self, images: Tensor) -> Any:
        """Return the network with folded batch norms, folded again when its weights have changed."""
        from anomalib_flows.encoders.batch_norm import without_batch_norms

        if not self._tracked():
            return self.network
        state = self._state()
        if self._quick[0] != state:
            self._quick = (state, [without_batch_norms(self.network, images)])  # in a list: not a part of this module
        return self._quick[1][0]

    def _tracked(self) -> bool:
        """Return whether weights have versions that show a change; those made in inference mode have none."""
        return not any(tensor.is_inference() for tensor in self.network.state_dict().values())

    def _state(self) -> list[tuple[Any, ...]]:
        """Return what differs when a weight has changed, or has another type."""
        tensors = self.network.state_dict().values()
        return [(t.data_ptr(), t._version, t.dtype) for t in tensors]  # noqa: SLF001 (there is no public one)

    def _apply(self, fn: Any, recurse: bool = True) -> Encoder:
        """Convert the modules; a network with folded batch norms moves along, since folding takes seconds."""
        state, folded = self._quick
        current = state is not None and folded[0] is not self.network and self._tracked() and state == self._state()
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if current and self._tracked() and [dtype for *_, dtype in state] == [dtype for *_, dtype in self._state()]:
            self._quick = (self._state(), [folded[0]._apply(fn)])  # noqa: SLF001
        return self

    def _shapes(self, image_size: ImageSize) -> list[tuple[int, int, int]]:
        """Find channels, height and width of each feature map by encoding one black image."""
        image = torch.zeros(1, 3, *image_size)
        try:
            return [(f.shape[1], f.shape[2], f.shape[3]) for f in self._maps(self.network, image)]
        except (AssertionError, RuntimeError) as error:
            size = ",".join(map(str, image_size))
            if is_out_of_memory(error):
                raise InputError(
                    f"`image.size` {size} needs more memory than there is: choose a smaller one."
                ) from error
            raise InputError(
                f"`image.size` {size} does not suit the backbone {self.backbone}: {first_line(error)}"
            ) from error


def extractor(name: str, weights: Weights, size: ImageSize, args: dict[str, Any], choice: LayerChoice) -> Any:
    """Build a feature extractor of the chosen layers with its weights."""
    require_backbone(name)
    if reserved := sorted(RESERVED & set(args)):
        raise InputError(f"`timm_args` {reserved} are set by `weights` and `layers`: leave them out.")
    source = weight_arguments(weights, name)
    network = create_network(name, size, args | marked(source) | {"features_only": True})  # with all its feature maps
    require_complete(network, source, name)
    indices = choice.indices(name, network)
    if is_transformer(network):
        stride = max(network.feature_info.reduction())
        whole = (-(-size[0] // stride) * stride, -(-size[1] // stride) * stride)
        return TokenMaps(create_network(name, whole, args | source), indices, whole, choice.final_norm)
    return create_network(name, size, args | source | {"features_only": True, "out_indices": indices})
