from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Write an image of one grey value, or the pixels given, to a path in the test's folder."""

    def write(name: str, pixels: object = 100, size: tuple[int, int] = (6, 8)) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        values = np.full(size, pixels, np.uint8) if isinstance(pixels, int) else np.asarray(pixels)
        Image.fromarray(values).save(path)
        return path

    return write
