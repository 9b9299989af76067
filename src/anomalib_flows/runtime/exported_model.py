"""Predict with an exported model."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NoReturn

import numpy as np
import numpy.typing as npt
import openvino as ov
from PIL import Image, ImageOps

from anomalib_flows.core.errors import InputError, first_line, require
from anomalib_flows.core.images import MAX_MEGAPIXELS, Pixels, as_pixels, read_pixels
from anomalib_flows.core.types import ImageResult, ImageSize, Sample, content_size
from anomalib_flows.runtime.decision import DecisionRule
from anomalib_flows.runtime.device import DeviceOptions
from anomalib_flows.runtime.model_card import ModelCard, read_card
from anomalib_flows.runtime.network import Requests, compile_network, read_network
from anomalib_flows.runtime.ports import ANY, OUTPUTS, ImageInput

ImageSource = Path | str | Image.Image | npt.NDArray[np.uint8]
"""A file, a Pillow image, or values from 0 to 255: RGB of shape (h, w, 3) or grey of shape (h, w)."""


class ExportedModel:
    """Exported model that predicts for images of any size.

    The model contains every step from resizing to the decision. Several threads may use it.

    Args:
        model: The .xml file of the exported model; its .bin file lies next to it.
        device: Name of the device, or :class:`~anomalib_flows.runtime.DeviceOptions` to set its precision as well.
        threshold: Normalised score or value above which an image or a pixel is anomalous, at least 0 and below 1. By
            default the calibrated threshold, 0.5.
        false_alarm_rate: Share of normal images that may be called anomalous, in place of a threshold.
        requests: Number of images that :meth:`batch` and :meth:`stream` compute at the same time. By default one image
            uses all cores while the next one is read. With more requests each image takes longer, but all of them may
            take less time.
        max_megapixels: Limit of the pixels of an image file, in millions; larger ones raise an InputError.

    Attributes:
        card: Facts about the model.
        input: Images that it accepts.
        device: Name of the device in upper case.
        precision: Inference precision.
        requests: Largest number of images that are computed at the same time.

    Raises:
        InputError: If the file is missing or invalid, the device is not available, or an argument is invalid.

    Example:
        >>> model = ExportedModel("model.xml", false_alarm_rate=0.05)  # doctest: +SKIP
        >>> model("photo.png").label  # doctest: +SKIP
        1
    """

    card: ModelCard
    input: ImageInput
    device: str
    precision: str
    requests: int

    def __init__(
        self,
        model: Path | str,
        device: str | DeviceOptions = "CPU",
        *,
        threshold: float | None = None,
        false_alarm_rate: float | None = None,
        requests: int | None = None,
        max_megapixels: float = MAX_MEGAPIXELS,
    ) -> None:
        require(requests is None or requests >= 1, "requests", requests, "at least 1")
        require(max_megapixels > 0, "max_megapixels", max_megapixels, "above 0, in millions of pixels")
        self._max_megapixels = max_megapixels
        core, self._path = ov.Core(), Path(model)
        network = read_network(core, self._path)
        self.card = read_card(network, self._path)
        self.input = ImageInput.of(network, self.card.input_layout)
        require_single_images(self.card, self.input, self._path)
        self._decide = DecisionRule(self.card, self._path, threshold, false_alarm_rate)
        target = DeviceOptions(device) if isinstance(device, str) else device
        self.device, self.requests = target.name, requests or 2
        precisions, properties = target.precisions(self.card.inference_precision), target.properties(requests)
        self._compile = partial(compile_network, core, network, self._path, self.device, precisions, properties)
        compiled, self.precision = self._compile()
        self._requests = Requests(compiled, self._path, self.device)

    def __call__(self, image: ImageSource) -> ImageResult:
        """Predict for one image.

        Raises:
            InputError: If the image cannot be read, has an invalid shape or type, or the device fails.
        """
        return self._start(image)()

    def batch(self, images: Iterable[ImageSource]) -> list[ImageResult]:
        """Predict for images of any sizes, each by itself.

        Raises:
            InputError: If an image cannot be read, or the device fails.
        """
        return list(self.stream(images))

    def stream(self, images: Iterable[ImageSource]) -> Iterator[ImageResult]:
        """Predict for images as they come, and yield results in the order of the images.

        At most ``requests`` images are in progress. If an image fails, the results of the images before it are yielded
        first. The error is raised after them and ends the stream.

        Raises:
            InputError: If an image cannot be read, or the device fails.
        """
        pending: deque[Callable[[], ImageResult]] = deque()
        try:
            for finish in self._started(images):
                pending.append(finish)
                if len(pending) == self.requests:
                    yield pending.popleft()()
            while pending:
                yield pending.popleft()()
        finally:
            for finish in pending:  # the caller stopped early; the next stream needs a model that works
                with suppress(Exception):
                    finish()

    def _started(self, images: Iterable[ImageSource]) -> Iterator[Callable[[], ImageResult]]:
        """Start inference for images as they come; an error becomes an item that raises it in its turn."""
        try:
            for image in images:
                yield self._start(image)
        except Exception as error:
            yield partial(fail, error)

    def _start(self, image: ImageSource) -> Callable[[], ImageResult]:
        """Start inference; return a function that waits for the end and decides."""
        pixels = to_pixels(image, self._max_megapixels)
        path = Path(image) if isinstance(image, str | Path) else None
        tensor = self.input.arrange(pixels[..., ::-1] if self.card.channels == "BGR" else pixels, path or "An image")
        if self._requests.failed:
            self._requests = Requests(self._compile()[0], self._path, self.device)
        requests, (height, width) = self._requests, pixels.shape[:2]
        content = content_size(height, width, self.card.image_size, self.card.resize)
        finish = partial(self._finish, requests, requests.start(tensor), content)
        sample = None if path is None else Sample(path, "test")
        return lambda: replace(finish(), picture=pixels, sample=sample)

    def _finish(self, requests: Requests, request: ov.InferRequest, content: ImageSize) -> ImageResult:
        requests.wait(request)
        result = self._decide({name: request.get_tensor(name).data for name in OUTPUTS}, content)
        requests.release(request)
        return result


def fail(error: Exception) -> NoReturn:
    """Raise an error."""
    raise error


def require_single_images(card: ModelCard, input: ImageInput, path: Path) -> None:
    """Raise an InputError if a model is meant for other programs, does not resize, or needs batches of fixed size."""
    if card.interface != "native":
        raise InputError(f"{path} has the interface {card.interface}, for other programs: export it with native.")
    if card.resizes == "no":
        raise InputError(f"{path} does not resize images: export it with preprocessing.")
    if input.batch not in (1, ANY):
        raise InputError(f"{path} accepts batches of {input.batch} images only: export it for 1, or for any number.")


def to_pixels(image: ImageSource, max_megapixels: float = MAX_MEGAPIXELS) -> Pixels:
    """Convert an image to 8-bit RGB of shape (h, w, 3)."""
    if isinstance(image, str | Path):
        return read_pixels(Path(image), max_megapixels)
    if isinstance(image, Image.Image):
        try:
            return as_pixels(ImageOps.exif_transpose(image))
        except (OSError, SyntaxError) as error:  # Pillow decodes at the last moment
            raise InputError(f"The image is damaged ({first_line(error)}): replace it.") from error
    if not isinstance(image, np.ndarray):
        raise InputError(f"An image cannot be a {type(image).__name__}: give a path, a Pillow image or a numpy array.")
    if image.dtype != np.uint8:
        raise InputError(f"An image cannot be of {image.dtype}: give values from 0 to 255 as uint8.")
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=2)
    if image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise InputError(f"An image cannot have the shape {image.shape}: give (h, w, 3) in RGB, or (h, w) in grey.")
    return image
