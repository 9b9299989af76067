"""Our own encoder: a small residual network, trained on drawn images only. Its weights come with the package.

``README.md`` in this folder is its model card. Importing this module registers the encoder with timm, which then
builds it like its own models.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from timm.layers.conv_bn_act import ConvNormAct
from timm.models import ByobNet, register_model
from timm.models._builder import build_model_with_cfg
from timm.models._registry import generate_default_cfgs
from timm.models.byobnet import ByoBlockCfg, ByoModelCfg
from torch import Tensor

DARK = 0.05
"""Added to brightness before the logarithm, so that noise in the dark stays small."""
WEIGHTS = Path(__file__).parent / "texture13.safetensors"

default_cfgs = generate_default_cfgs(
    {
        "texture13.drawn": {
            "file": str(WEIGHTS),
            "num_classes": 0,
            "input_size": (3, 256, 256),
            "fixed_input_size": False,
            "mean": (0.5, 0.5, 0.5),
            "std": (0.25, 0.25, 0.25),
            "first_conv": "stem.conv",
            "classifier": "head.fc",
            "license": "apache-2.0",
        }
    }
)

ARCHITECTURE = ByoModelCfg(
    blocks=(
        ByoBlockCfg(type="basic", d=2, c=32, s=2, br=1.0),
        ByoBlockCfg(type="basic", d=2, c=48, s=2, br=1.0),
        ByoBlockCfg(type="basic", d=2, c=96, s=2, br=1.0),
    ),
    stem_chs=24,
    stem_type="3x3",
    stem_pool="",
)


class LogStem(ConvNormAct):
    """A convolution of logarithms: brighter light adds the same to every pixel and leaves contrasts unchanged."""

    def forward(self, x: Tensor) -> Tensor:
        """Return features of images that were normalised by a mean of 0.5 and a deviation of 0.25."""
        brightness = (0.25 * x + 0.5).clamp(min=0)
        return super().forward(2 * (brightness + DARK).log() + 1.5)  # type: ignore[no-any-return, no-untyped-call]


class Texture13(ByobNet):
    """The network: residual blocks behind a stem that takes logarithms."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.stem = LogStem(self.stem.conv.in_channels, self.stem.conv.out_channels, 3, stride=2)


@register_model
def texture13(pretrained: bool = False, **arguments: Any) -> ByobNet:
    """Make the encoder: 13 convolutions of 3 x 3, maps of 32, 48 and 96 channels with strides 4, 8 and 16."""
    network: ByobNet = build_model_with_cfg(
        Texture13,
        "texture13",
        pretrained,
        model_cfg=ARCHITECTURE,
        feature_cfg={"flatten_sequential": True, "out_indices": (0, 1, 2, 3)},
        **{"num_classes": 0} | arguments,
    )
    return network
