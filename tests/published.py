"""Archives as the makers of datasets publish them, but tiny."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from anomalib_flows.data.datasets.cifar10 import BATCHES

Content = dict[str, bytes]


def pack(path: Path, files: Content) -> Path:
    """Write a tar.gz file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def image(value: int = 100, size: tuple[int, int] = (6, 8), suffix: str = "PNG") -> bytes:
    """Encode an image of one grey value."""
    stream = io.BytesIO()
    Image.fromarray(np.full(size, value, np.uint8)).save(stream, suffix)
    return stream.getvalue()


def array(values: object) -> bytes:
    """Encode an array as NumPy does."""
    stream = io.BytesIO()
    np.save(stream, np.asarray(values))
    return stream.getvalue()


def cifar10_records(per_file: int = 3) -> dict[str, np.ndarray]:
    """Records of CIFAR-10's binary version, of random pixels; the classes take turns."""
    rng = np.random.default_rng(0)
    names = [name for names in BATCHES.values() for name in names]
    records = {name: rng.integers(0, 256, (per_file, 3073), np.uint8) for name in names}
    for place, batch in enumerate(records.values()):
        batch[:, 0] = (np.arange(per_file) + place * per_file) % 10
    return records


def cifar10(path: Path, per_file: int = 3) -> Path:
    """Write CIFAR-10's binary version with a few images."""
    files = {f"cifar-10-batches-bin/{name}": batch.tobytes() for name, batch in cifar10_records(per_file).items()}
    return pack(path, files | {"cifar-10-batches-bin/batches.meta.txt": b"airplane\n"})


def avi(path: Path, frames: list[np.ndarray]) -> bytes:
    """Encode a video without loss."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=24)
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], "bgr0"
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(format="bgr0")))
        container.mux(stream.encode())
    return path.read_bytes()


def stc_frames(count: int, size: tuple[int, int] = (12, 16)) -> list[np.ndarray]:
    """Frames of one colour each, which differ."""
    return [np.full((*size, 3), 20 + 30 * i, np.uint8) for i in range(count)]


def stc(folder: Path) -> Content:
    """Files of ShanghaiTech Campus: two training videos of scene 01, one of 02, and a test video of each."""
    files = {}
    for name, count in {"01_001": 5, "01_002": 3, "02_001": 2}.items():
        files[f"shanghaitech/training/videos/{name}.avi"] = avi(folder / f"{name}.avi", stc_frames(count))
    for name in ("01_0014", "02_0128"):
        masks = np.zeros((4, 12, 16), np.uint8)
        masks[1:3, 2:5, 3:9] = 1
        labels = np.array([0, 1, 1, 0], np.int8)
        files |= {f"shanghaitech/testing/frames/{name}/{i:03}.jpg": image(40 * i, (12, 16), "JPEG") for i in range(4)}
        files[f"shanghaitech/testing/test_frame_mask/{name}.npy"] = array(labels)
        files[f"shanghaitech/testing/test_pixel_mask/{name}.npy"] = array(masks)
    return files
