"""Images one after the other: of a folder, a pattern, a video or a camera."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from anomalib_flows.images import IMAGE_SUFFIXES, Pixels, image_files, matches, read_pixels, split_pattern
from anomalib_flows.types import InputError

CAMERAS = {"linux": ("/dev/video{}", "v4l2"), "darwin": ("{}", "avfoundation")}
"""How FFmpeg names a camera, and by what it reads it, by system."""


def frames(source: Path | str | int) -> Iterator[tuple[str, Pixels]]:
    """Yield names and images, of shape (h, w, 3), one after the other.

    Args:
        source: An image, a folder of images (with sub-folders, in natural order), a pattern such as
            ``photos/**/*.png``, a video, the number of a camera, or the address of a stream (``rtsp://...``).

    Yields:
        Path of the image, or of the video with the frame's number in the place of its suffix, ``line/cut-000001``; and
        the image.

    Raises:
        InputError: If there are no images, or one cannot be read.
    """
    if isinstance(source, int):
        yield from camera(source)
    elif "://" in str(source):
        yield from video(str(source), "stream")
    elif is_video(path := Path(source)):
        yield from video(str(path), str(path.with_suffix("")))
    else:
        yield from ((str(file), read_pixels(file)) for file in listed(path))


def is_video(path: Path) -> bool:
    """Whether a path is a file that is not called like an image."""
    return path.is_file() and path.suffix.lower() not in IMAGE_SUFFIXES


def listed(path: Path) -> list[Path]:
    """List the images that a file, a folder or a pattern names.

    Raises:
        InputError: If there are none.
    """
    if path.is_file():
        return [path]
    base, pattern = split_pattern(path)
    found = matches(base, pattern) if pattern else image_files(path, recursive=True)
    if not found:
        fault = "matches no images" if pattern else "holds no images" if path.is_dir() else "does not exist"
        raise InputError(f"{path} {fault}: give an image, a folder, a pattern like 'photos/*.png' or a video.")
    return found


def camera(number: int) -> Iterator[tuple[str, Pixels]]:
    """Yield what a camera sees, until it is taken away.

    Raises:
        InputError: If it cannot be opened.
    """
    if sys.platform not in CAMERAS:
        raise InputError(f"Cameras have no numbers on {sys.platform}: give the address of a stream (rtsp://...).")
    name, by = CAMERAS[sys.platform]
    yield from video(name.format(number), f"camera{number}", by)


def video(address: str, name: str, by: str | None = None) -> Iterator[tuple[str, Pixels]]:
    """Yield the frames of a video.

    Args:
        address: Path or address of the video.
        name: What the frames are called, before their number.
        by: FFmpeg's name of the format, if it cannot be told from the video.

    Raises:
        InputError: If it cannot be read.
    """
    try:
        import av  # an optional extra
    except ModuleNotFoundError as error:
        raise InputError("Videos take the module av: run pip install 'anomalib-flows[video]'.") from error

    try:
        with av.open(address, format=by) as container:
            for number, frame in enumerate(container.decode(video=0), start=1):
                turns = getattr(frame, "rotation", 0) // 90  # early versions of av do not tell
                yield f"{name}-{number:06}", np.rot90(frame.to_ndarray(format="rgb24"), turns)
    except (av.FFmpegError, IndexError) as error:  # IndexError: it has sound only
        raise InputError(f"{address} cannot be read as a video ({error}): replace it, or give images.") from error
