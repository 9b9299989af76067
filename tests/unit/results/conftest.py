from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anomalib_flows.core.types import ImageResult, Sample

GREY = np.full((96, 128, 3), 120, dtype=np.uint8)


@pytest.fixture
def make_sample() -> Callable[..., Sample]:
    """A defective test image."""

    def make(path: str | Path = "test/crack/000.png", label: int = 1, defect: str = "crack") -> Sample:
        return Sample(Path(path), "test", label, defect)

    return make


@pytest.fixture
def make_result(make_sample: Callable[..., Sample]) -> Callable[..., ImageResult]:
    """Result of a grey image with a square defect in the middle that the detector found."""

    def make(**changes: Any) -> ImageResult:
        mask = np.zeros((64, 64), dtype=bool)
        mask[24:40, 24:40] = True
        values = {
            "sample": make_sample(),
            "picture": GREY,
            "anomaly_map": np.where(mask, 0.9, 0.1).astype(np.float32),
            "mask": mask,
            "ground_truth": mask,
            "score": 0.8,
            "raw_score": 3.5,
            "p_value": 0.0123,
            "label": 1,
        }
        return ImageResult(**(values | changes))

    return make
