from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anomalib_flows.results.result import Result


@pytest.fixture
def make_result() -> Callable[..., Result]:
    """Result of a grey image with a square defect in the middle that the detector found."""

    def make(**changes: Any) -> Result:
        mask = np.zeros((64, 64), dtype=bool)
        mask[24:40, 24:40] = True
        values = {
            "path": Path("test/crack/000.png"),
            "image": np.full((96, 128, 3), 120, dtype=np.uint8),
            "map01": np.where(mask, 0.9, 0.1),
            "mask": mask,
            "ground_truth": mask,
            "score": 3.5,
            "threshold": 2.25,
            "p_value": 0.0123,
            "predicted": 1,
            "label": 1,
            "defect": "crack",
        }
        return Result(**(values | changes))

    return make
