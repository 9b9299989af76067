"""The models of other code bases in the plainest way, from FrEIA's blocks and timm's encoders.

Their tensors have the names that they have there, and their maps are those of the published formulas.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import timm
import torch
import torch.nn.functional as F
from FrEIA.framework import SequenceINN
from FrEIA.modules import AllInOneBlock
from torch import Tensor, nn


def sequence(shape: Sequence[int], steps: int, subnets: Callable[[int], Any], clamp: float, condition: int = 0) -> Any:
    """Make a sequence of blocks, conditioned if there is a condition."""
    flow = SequenceINN(*shape)
    conditioned = {"cond": 0, "cond_shape": (condition,)} if condition else {}
    for k in range(steps):
        flow.append(AllInOneBlock, subnet_constructor=subnets(k), affine_clamping=clamp, **conditioned)  # type: ignore[no-untyped-call]
    return flow


class FastFlow(nn.Module):
    """FastFlow as in gathierry/FastFlow and in anomalib, which differ in the name of the flows."""

    def __init__(
        self, encoder: Any, shapes: Any, steps: int, kernels: Sequence[int], ratio: float, name: str, *, norms: bool
    ) -> None:
        super().__init__()
        self.feature_extractor = encoder.eval()
        if norms:
            self.norms = nn.ModuleList(nn.LayerNorm(shape) for shape in shapes)
        self.name = name

        def subnets(k: int) -> Any:
            size = kernels[k % len(kernels)]

            def make(inputs: int, outputs: int) -> nn.Module:
                hidden = int(inputs * ratio)
                return nn.Sequential(
                    nn.Conv2d(inputs, hidden, size, padding="same"),
                    nn.ReLU(),
                    nn.Conv2d(hidden, outputs, size, padding="same"),
                )

            return make

        setattr(self, name, nn.ModuleList(sequence(shape, steps, subnets, 2.0) for shape in shapes))

    def features(self, images: Tensor) -> list[Tensor]:
        """Return the feature maps with their norms."""
        if hasattr(self, "norms"):
            return [norm(x) for norm, x in zip(self.norms, self.feature_extractor(images), strict=True)]
        return [transformer_map(self.feature_extractor, images)]

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Return the anomaly map of normalised images."""
        maps = []
        for flow, x in zip(getattr(self, self.name), self.features(images), strict=True):
            z, _ = flow(x)
            likelihood = torch.exp(-0.5 * (z**2).mean(1, keepdim=True))
            maps.append(F.interpolate(-likelihood, images.shape[-2:], mode="bilinear", align_corners=False))
        return torch.stack(maps).mean(0)


def transformer_map(model: Any, images: Tensor) -> Tensor:
    """Run the blocks of DeiT up to number 7, or of CaiT up to number 40, and the final norm, by hand."""
    x = model.patch_embed(images)
    distilled = getattr(model, "dist_token", None) is not None
    if distilled:
        tokens = torch.cat((model.cls_token, model.dist_token), dim=1).expand(len(x), -1, -1)
        x = torch.cat((tokens, x), dim=1)
    x = x + model.pos_embed
    for block in model.blocks[: 8 if distilled else 41]:
        x = block(x)
    x = model.norm(x)[:, 2 if distilled else 0 :]
    side = math.isqrt(x.shape[1])
    return x.transpose(1, 2).unflatten(2, (side, side))


class CFlow(nn.Module):
    """CFLOW's decoders over the feature maps that a function returns."""

    def __init__(
        self,
        features: Callable[[Tensor], list[Tensor]],
        channels: Sequence[int],
        steps: int,
        condition: int,
        soft: bool,
    ) -> None:
        super().__init__()
        self.features = features
        self.condition = condition

        def subnets(_: int) -> Any:
            def make(inputs: int, outputs: int) -> nn.Module:
                return nn.Sequential(nn.Linear(inputs, 2 * inputs), nn.ReLU(), nn.Linear(2 * inputs, outputs))

            return make

        self.decoders = nn.ModuleList(sequence([c], steps, subnets, 1.9, condition) for c in channels)
        for block in self.modules():
            if soft and isinstance(block, AllInOneBlock):  # FrEIA's own draw of rotations takes seconds
                rotation = torch.linalg.qr(torch.randn(block.in_channels, block.in_channels))[0]
                block.w_perm.data, block.w_perm_inv.data = rotation, rotation.T.contiguous()

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Return the anomaly map, with the maxima over these images for constants."""
        total: Any = 0
        for decoder, x in zip(self.decoders, self.features(images), strict=True):
            B, C, H, W = x.shape
            vectors = x.permute(0, 2, 3, 1).reshape(-1, C)
            code = [positions(self.condition, H, W).repeat(B, 1)] if self.condition else []
            z, log_det = decoder(vectors, code)
            log_prob = ((-0.5 * math.log(2 * math.pi) * C - 0.5 * (z**2).sum(1) + log_det) / C).double()
            likelihood = torch.exp(log_prob - log_prob.max()).view(B, 1, H, W)
            total = total + F.interpolate(likelihood, images.shape[-2:], mode="bilinear", align_corners=True)
        result: Tensor = total.max() - total
        return result


def positions(length: int, height: int, width: int) -> Tensor:
    """Code of each position, one number after the other, (height * width, length)."""
    codes = torch.zeros(height, width, length)
    half = length // 2
    for y in range(height):
        for x in range(width):
            for i in range(half // 2):
                frequency = math.exp(-2 * i * math.log(1e4) / half)
                codes[y, x, 2 * i], codes[y, x, 2 * i + 1] = math.sin(x * frequency), math.cos(x * frequency)
                codes[y, x, half + 2 * i] = math.sin(y * frequency)
                codes[y, x, half + 2 * i + 1] = math.cos(y * frequency)
    return codes.view(-1, length)


def gathierry(backbone: str = "resnet18", size: int = 64, steps: int = 2, **options: Any) -> FastFlow:
    """Make a FastFlow of gathierry/FastFlow."""
    return _fastflow("nf_flows", backbone, size, steps, **options)


def anomalib_fastflow(backbone: str = "resnet18", size: int = 64, steps: int = 2, **options: Any) -> FastFlow:
    """Make a FastFlow of anomalib."""
    return _fastflow("fast_flow_blocks", backbone, size, steps, **options)


def _fastflow(
    name: str, backbone: str, size: int, steps: int, kernels: Sequence[int] = (3,), ratio: float = 1.0
) -> FastFlow:
    if "resnet" not in backbone:
        encoder: Any = timm.create_model(backbone)
        return FastFlow(encoder, [(768, size // 16, size // 16)], steps, kernels, ratio, name, norms=False)
    encoder = timm.create_model(backbone, features_only=True, out_indices=[1, 2, 3])
    infos = [encoder.feature_info.info[i] for i in (1, 2, 3)]
    shapes = [(info["num_chs"], size // info["reduction"], size // info["reduction"]) for info in infos]
    return FastFlow(encoder, shapes, steps, kernels, ratio, name, norms=True)


def anomalib_cflow(layers: Sequence[int] = (2, 3), soft: bool = False, steps: int = 2, condition: int = 128) -> CFlow:
    """Make a CFLOW of anomalib with a ResNet-18."""
    encoder: Any = timm.create_model("resnet18", features_only=True, out_indices=list(layers)).eval()
    model = CFlow(encoder, encoder.feature_info.channels(), steps, condition, soft)
    model.encoder = nn.Module()
    model.encoder.feature_extractor = encoder
    del model._modules["features"]
    model.features = encoder.forward
    return model


def cflow_ad(backbone: str = "resnet18", layers: int = 3, condition: int = 128, steps: int = 2) -> tuple[Any, CFlow]:
    """Make an encoder and the decoders of gudovskiy/cflow-ad."""
    encoder: Any = timm.create_model(backbone, num_classes=1000 if "vit" in backbone else 0).eval()
    seen: dict[str, Tensor] = {}
    if "vit" in backbone:
        hooked = [encoder.blocks[i] for i in (10, 2, 6)][-layers:]
        channels = [768] * layers
    else:
        for module in encoder.modules():
            if isinstance(module, nn.Conv2d) and module.kernel_size in ((3, 3), (7, 7)):
                width = module.padding[0]
                module.padding = (0, 0)
                module.register_forward_pre_hook(
                    lambda _, inputs, width=width: (F.pad(inputs[0], [width] * 4, mode="reflect"),)
                )
        hooked = [encoder.layer2, encoder.layer3, encoder.layer4][-layers:]
        channels = [stage[-1].bn2.num_features for stage in hooked]
    for i, module in enumerate(hooked):
        module.register_forward_hook(lambda _, __, output, i=i: seen.__setitem__(str(i), output))

    def features(images: Tensor) -> list[Tensor]:
        encoder(images)
        outputs = [seen[str(i)] for i in range(layers)]
        if "vit" in backbone:
            side = math.isqrt(outputs[0].shape[1] - 1)
            outputs = [x[:, 1:].transpose(1, 2).unflatten(2, (side, side)) for x in outputs]
        return outputs

    return encoder, CFlow(features, channels, steps, condition, soft=True)
