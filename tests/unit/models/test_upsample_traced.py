"""Upsampling in deployed graphs gives what it gives in training."""

import pytest
import torch

from anomalib_flows.models.components.upsample import upsample


@pytest.mark.filterwarnings("ignore")  # of tracing: that sizes become constants
@pytest.mark.parametrize("mode", ["bilinear", "bilinear-aligned", "bicubic", "nearest"])
@pytest.mark.parametrize("size", [(20, 35), (64, 56), (3, 1)])
def test_tracing_changes_no_values(mode: str, size: tuple[int, int]) -> None:
    maps = torch.randn(2, 1, 5, 7)
    traced = torch.jit.trace(lambda x: upsample(x, size, mode), torch.zeros_like(maps), check_trace=False)
    assert torch.allclose(traced(maps), upsample(maps, size, mode), atol=1e-6)
    interpolates = any("upsample" in node.kind() for node in traced.graph.nodes())
    assert interpolates == (mode in ("bicubic", "nearest"))
