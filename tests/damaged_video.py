"""A video that FFmpeg opens, and of which it cannot decode some frames."""

from pathlib import Path

import numpy as np
import pytest


def write_damaged_video(path: Path) -> Path:
    """A video of 40 noisy frames, in the middle of which bytes are lost."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        for seed in range(40):
            pixels = np.random.default_rng(seed).integers(0, 256, (32, 64, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    content = bytearray(path.read_bytes())
    middle, lost = len(content) // 2, len(content) // 20
    content[middle : middle + lost] = bytes(lost)
    path.write_bytes(content)
    return path
