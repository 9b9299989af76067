"""Upsampling in exported graphs gives what it gives in training."""

import pytest
import torch
from torch import nn

from anomalib_flows.export.folding import exportable_upsample
from anomalib_flows.models.flow_detector import Upsample


@pytest.mark.filterwarnings("ignore")  # of tracing: that sizes become constants
@pytest.mark.parametrize("mode", ["bilinear", "bilinear-aligned", "bicubic", "nearest"])
@pytest.mark.parametrize("size", [(20, 35), (64, 56), (3, 1)])
def test_exporting_changes_no_values(mode: str, size: tuple[int, int]) -> None:
    maps = torch.randn(2, 1, 5, 7)
    upsample = Upsample(size, mode)
    traced = torch.jit.trace(exportable_upsample(upsample), torch.zeros_like(maps), check_trace=False)
    assert torch.allclose(traced(maps), upsample(maps), atol=1e-6)
    interpolates = any("upsample" in node.kind() for node in traced.graph.nodes())
    assert interpolates == (mode in ("bicubic", "nearest"))


class OtherUpsample(Upsample):
    """Of a plug-in, which may do anything."""


@pytest.mark.parametrize("module", [nn.Identity(), OtherUpsample((4, 4), "bilinear"), Upsample((4, 4), "bicubic")])
def test_other_upsampling_stays(module: nn.Module) -> None:
    assert exportable_upsample(module) is module
