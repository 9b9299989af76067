"""Parts of training batches for several processes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from anomalib_flows.core.errors import InputError
from anomalib_flows.models.base import Detector


@pytest.mark.parametrize("other", [torch.zeros(2), torch.tensor(1.0)], ids=["shorter", "scalar"])
def test_a_batch_of_different_lengths_needs_a_method_of_its_own(other: torch.Tensor) -> None:
    detector: Any = object()
    part, weight = Detector.part(detector, {"images": torch.arange(5)}, 1, 2)
    assert part["images"].tolist() == [2, 3, 4]
    assert weight == 1.2
    with pytest.raises(InputError, match="override `part` in the model"):
        Detector.part(detector, (torch.zeros(5), other), 0, 2)
