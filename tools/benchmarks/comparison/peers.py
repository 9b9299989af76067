"""anomalib's models with any encoder of timm, any size of images and weights from a file. Needs anomalib."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import timm
from anomalib.models import Cflow, Fastflow
from anomalib.models.image.fastflow.torch_model import create_fast_flow_block
from torch import nn

from comparison.settings import KERNELS, STAGES, TIMM_ARGS

OWN = ("resnet18", "wide_resnet50_2")
"""Encoders that anomalib's FastFlow accepts; for others its parts are combined here in the same way."""


class TimmFastflow(Fastflow):
    """FastFlow with any encoder of timm."""

    def __init__(self, backbone: str, size: int = 256, weights: str = "random") -> None:
        only_3x3 = KERNELS[backbone] == (3,)
        resize = Fastflow.configure_pre_processor((size, size))
        known = backbone if backbone in OWN else "resnet18"
        super().__init__(known, pre_trained=False, conv3x3_only=only_3x3, pre_processor=resize)
        self.save_hyperparameters({"backbone": backbone, "size": size, "weights": weights})
        if known == backbone and weights == "random":
            return
        encoder = make_encoder(backbone, [1, 2, 3], weights)
        info = encoder.feature_info
        shapes = [[c, size // r, size // r] for c, r in zip(info.channels(), info.reduction(), strict=True)]
        self.model.feature_extractor = encoder
        self.model.norms = nn.ModuleList(nn.LayerNorm(shape) for shape in shapes)
        self.model.fast_flow_blocks = nn.ModuleList(
            create_fast_flow_block(shape, only_3x3, self.hidden_ratio, self.flow_steps) for shape in shapes
        )


class TimmCflow(Cflow):
    """CFLOW with any encoder of timm."""

    def __init__(self, backbone: str, size: int = 256, weights: str = "random") -> None:
        resize = Cflow.configure_pre_processor((size, size))
        named = [f"layer{i}" for i in STAGES[backbone]] if "resnet" in backbone else list(STAGES[backbone])
        super().__init__(backbone, named, pre_trained=False, pre_processor=resize)
        self.save_hyperparameters({"backbone": backbone, "size": size, "weights": weights})
        if weights != "random" or backbone in TIMM_ARGS:
            self.model.encoder.feature_extractor = make_encoder(backbone, STAGES[backbone], weights).eval()


def make_encoder(backbone: str, stages: Any, weights: str) -> Any:
    """Make timm's frozen model of feature maps."""
    given = {} if weights == "random" else {"pretrained": True, "pretrained_cfg_overlay": {"file": weights}}
    options = TIMM_ARGS.get(backbone, {})
    return timm.create_model(backbone, features_only=True, out_indices=stages, **options, **given).requires_grad_(False)


def without_trainer(module: Cflow) -> Any:
    """Let anomalib's CFLOW train without a trainer; its training step calls the optimizer itself."""
    optimizer = module.configure_optimizers()
    overridden: Any = module
    overridden.optimizers = lambda: optimizer
    overridden.manual_backward = lambda loss: loss.backward()
    overridden.log = lambda *_, **__: None
    return overridden


def batch_of(images: Any) -> Any:
    """Wrap images as input of anomalib's training step."""
    return SimpleNamespace(image=images)
