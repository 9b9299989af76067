"""Images of a folder, a pattern, a video or a camera, one after the other."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count, dropwhile, islice
from pathlib import Path
from typing import Any

import numpy as np

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.finding import IMAGE_SUFFIXES, find_images, matches, split_pattern, warn_of_left_out
from anomalib_flows.core.images import MAX_MEGAPIXELS, Pixels, opened_image, read_pixels

CAMERAS = {"linux": ("/dev/video{}", "v4l2"), "darwin": ("{}", "avfoundation")}
"""FFmpeg's name of a camera and of its format, by operating system."""

OnFault = Callable[[InputError], object] | None
"""Function that is called with the error for an image or frame, which is then skipped; None to raise the error."""


def frames(
    source: Path | str | int, on_fault: OnFault = None, max_megapixels: float = MAX_MEGAPIXELS, after: str = ""
) -> Iterator[tuple[str, Pixels]]:
    """Yield names and images, of shape (h, w, 3), one after the other.

    Args:
        source: An image, a folder of images (with sub-folders, in natural order), a pattern such as
            ``photos/**/*.png``, a video, the number of a camera, or the address of a stream (``rtsp://...``).
        on_fault: Called with the error if an image or a frame cannot be read; it is then skipped. By default the error
            is raised.
        max_megapixels: Limit of the pixels of an image, in millions.
        after: Name of an image or a frame of a video file; those up to this one are left out.

    Yields:
        Path of the image, and the image. For videos the number of the frame replaces the suffix, as in
        ``line/cut-000001``.

    Raises:
        InputError: If there are no images, or one cannot be read.
    """
    if isinstance(source, int):
        yield from camera(source, on_fault)
    elif "://" in str(source):
        yield from video(str(source), "stream", on_fault)
    elif is_video(path := Path(source)):
        found = video(str(path), str(path.with_suffix("")), on_fault)
        yield from islice(dropwhile(lambda frame: frame[0] != after, found), 1, None) if after else found
    else:
        files = listed(path)
        for file in files[files.index(Path(after)) + 1 if after else 0 :]:
            try:
                pixels = read_pixels(file, max_megapixels)
            except InputError as fault:
                skip_or_raise(fault, on_fault)
            else:
                yield str(file), pixels


def skip_or_raise(fault: InputError, on_fault: OnFault) -> None:
    """Call ``on_fault`` with an error, or raise the error if there is no such function."""
    if on_fault is None:
        raise fault
    on_fault(fault)


def is_video(path: Path) -> bool:
    """Return whether a path is a video, and not an image, a folder or a pattern."""
    if not path.is_file() or path.suffix.lower() in IMAGE_SUFFIXES or is_still(path):
        return False
    with opened(str(path)):
        return True


def is_still(path: Path) -> bool:
    """Return whether a file is a single image that Pillow can read, whatever its name."""
    try:
        with opened_image(path) as image:
            return image.format != "MPEG" and not getattr(image, "is_animated", False)  # it cannot decode MPEG
    except OSError:
        return False


def listed(path: Path) -> list[Path]:
    """List the images of a file, a folder or a pattern."""
    if path.is_file():
        return [path]
    base, pattern = split_pattern(path)
    found = matches(base, pattern) if pattern else find_images(path)
    if not found.images:
        fault = "matches no images" if pattern else "contains no images" if path.is_dir() else "does not exist"
        raise InputError(f"{path} {fault}: give an image, a folder, a pattern like 'photos/*.png' or a video.")
    warn_of_left_out(path, found)
    return found.images


def camera(number: int, on_fault: OnFault = None) -> Iterator[tuple[str, Pixels]]:
    """Yield the frames of a camera until it is disconnected."""
    if sys.platform not in CAMERAS:
        raise InputError(f"Cameras have no numbers on {sys.platform}: give the address of a stream (rtsp://...).")
    name, file_format = CAMERAS[sys.platform]
    yield from video(name.format(number), f"camera{number}", on_fault, file_format)


def video(
    address: str, name: str, on_fault: OnFault = None, file_format: str | None = None
) -> Iterator[tuple[str, Pixels]]:
    """Yield the frames of a video, named by number after ``name``; by default FFmpeg detects the format."""
    numbers = count(1)
    with opened(address, file_format) as container:
        for packet in container.demux(video=0):
            try:
                decoded = packet.decode()
            except av_module().FFmpegError as error:
                fault = f"Frame {next(numbers)} of {address} is damaged ({error.strerror}): replace the video."
                skip_or_raise(InputError(fault), on_fault)
                continue
            for frame in decoded:
                turns = getattr(frame, "rotation", 0) // 90  # missing in early versions of av
                yield f"{name}-{next(numbers):06}", np.rot90(frame.to_ndarray(format="rgb24"), turns)
    if next(numbers) == 1:
        raise InputError(f"{address} contains no frames: replace it, or give images.")


@contextmanager
def opened(address: str, file_format: str | None = None) -> Iterator[Any]:
    """Open a video that contains pictures."""
    av = av_module()
    try:
        with av.open(address, format=file_format) as container:
            if not container.streams.video or container.format.name == "tty":  # FFmpeg renders text as a terminal
                raise InputError(unreadable(address, "it contains no pictures"))
            yield container
    except av.FFmpegError as error:
        raise InputError(unreadable(address, error.strerror)) from error


def unreadable(address: str, reason: str) -> str:
    """Return the message for a file that is not a video."""
    return f"{address} cannot be read as a video ({reason}): replace it, or give images."


def av_module() -> Any:
    """Import av."""
    try:
        import av  # an optional extra
    except ModuleNotFoundError as error:
        raise InputError("Videos need the module av: run pip install av.") from error
    return av
