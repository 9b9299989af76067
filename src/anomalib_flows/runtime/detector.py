"""Judge images with an exported model."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import openvino as ov
from PIL import Image, ImageOps

from anomalib_flows.core.errors import InputError, first_line, require
from anomalib_flows.core.geometry import content_size
from anomalib_flows.core.images import Pixels, as_pixels, read_pixels
from anomalib_flows.core.types import ImageSize
from anomalib_flows.runtime.card import Card, read_card
from anomalib_flows.runtime.network import compile_network, read_network
from anomalib_flows.runtime.ports import ANY, OUTPUTS, ImageInput
from anomalib_flows.runtime.prediction import Decision, Prediction
from anomalib_flows.runtime.requests import Requests

Picture = Path | str | Image.Image | npt.NDArray[np.uint8]
"""A file, a Pillow image, or 8-bit values: RGB of shape (h, w, 3) or grey of shape (h, w)."""


class Detector:
    """An exported model that judges images.

    Everything from resizing to deciding happens in the model; images may have any size. May be used by several threads.

    Args:
        model: The .xml file that ``anomalib-flows export`` wrote; its .bin file lies beside it.
        device: What OpenVINO computes on: ``CPU``, ``GPU``, ``NPU``, ``AUTO`` ...
        threshold: Normalised score or value above which an image or a pixel is anomalous, below 1, where both end. 0.5
            by default, which is what the model was calibrated to.
        false_alarm_rate: Another rate of false alarms to decide by, instead of a threshold.
        precision: What to compute in: ``f32``, ``f16`` or ``bf16``. By default what the model asks for, or ``f16``
            where the device does not have that.
        cache_dir: Folder where OpenVINO keeps what it compiled, for the next start.
        requests: How many images :meth:`batch` and :meth:`stream` compute at the same time. By default one image has
            all cores, and the next one is read meanwhile; with more, each takes longer and all of them may take less.

    Attributes:
        card: What the model says of itself.
        input: What images it takes.
        device: What was asked for, in upper case.
        precision: What is computed in.
        requests: How many images are on their way at most.

    Raises:
        InputError: If the file cannot be used, the device is not there, or an option is of no use.

    Example:
        >>> detector = Detector("model.xml", false_alarm_rate=0.05)  # doctest: +SKIP
        >>> detector("photo.png").label  # doctest: +SKIP
        1
    """

    card: Card
    input: ImageInput
    device: str
    precision: str
    requests: int

    def __init__(
        self,
        model: Path | str,
        device: str = "CPU",
        *,
        threshold: float | None = None,
        false_alarm_rate: float | None = None,
        precision: str | None = None,
        cache_dir: Path | None = None,
        requests: int | None = None,
    ) -> None:
        require(requests is None or requests >= 1, "requests", requests, "at least 1")
        core, path = ov.Core(), Path(model)
        network = read_network(core, path)
        self.card, self.device = read_card(network, path), device.upper()
        self.input = ImageInput.of(network, self.card.input_layout)
        require_single_images(self.card, self.input, path)
        self._decide = Decision(self.card, path, threshold, false_alarm_rate)
        options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        if requests and requests > 1:
            options = {"PERFORMANCE_HINT": "THROUGHPUT", "PERFORMANCE_HINT_NUM_REQUESTS": requests}
        if cache_dir:
            require_writable(cache_dir)
            options["CACHE_DIR"] = str(cache_dir)
        precisions = [precision] if precision else list(dict.fromkeys([self.card.inference_precision, "f16"]))
        if not precision and self.device == "CPU":
            del precisions[1:]
        self._compile = partial(compile_network, core, network, path, self.device, precisions, options)
        compiled, self.precision = self._compile()
        self._requests = Requests(compiled, path, self.device)
        self.requests, self._path = requests or 2, path

    def __call__(self, image: Picture) -> Prediction:
        """Judge one image.

        Raises:
            InputError: If it cannot be read, has another shape or type than images have, or the device fails.
        """
        return self._start(image)()

    def batch(self, images: Iterable[Picture]) -> list[Prediction]:
        """Judge images, of any sizes, each by itself.

        Raises:
            InputError: If one cannot be read, or the device fails.
        """
        return list(self.stream(images))

    def stream(self, images: Iterable[Picture]) -> Iterator[Prediction]:
        """Judge images as they come, and yield predictions in their order.

        No more than ``requests`` images are under way. An error is raised in the place of the image that it belongs
        to, after the predictions of those before it, and ends the stream.

        Raises:
            InputError: If an image cannot be read, or the device fails.
        """
        pending: deque[Callable[[], Prediction]] = deque()
        try:
            for finish in self._started(images):
                pending.append(finish)
                if len(pending) == self.requests:
                    yield pending.popleft()()
            while pending:
                yield pending.popleft()()
        finally:
            for finish in pending:  # of a stream that is left early; the next one starts from a model that works
                with suppress(Exception):
                    finish()

    def _started(self, images: Iterable[Picture]) -> Iterator[Callable[[], Prediction]]:
        """Start computing images as they come; an error takes its turn among them."""
        try:
            for image in images:
                yield self._start(image)
        except Exception as error:
            yield partial(fail, error)

    def _start(self, image: Picture) -> Callable[[], Prediction]:
        """Start computing; what is returned waits for the end, and decides."""
        pixels = to_pixels(image)
        height, width = pixels.shape[:2]
        name = image if isinstance(image, str | Path) else "An image"
        tensor = self.input.arrange(pixels[..., ::-1] if self.card.channels == "BGR" else pixels, name)
        if self._requests.failed:
            self._requests = Requests(self._compile()[0], self._path, self.device)
        requests, content = self._requests, content_size(height, width, self.card.image_size, self.card.resize)
        return partial(self._finish, requests, requests.start(tensor), content)

    def _finish(self, requests: Requests, request: ov.InferRequest, content: ImageSize) -> Prediction:
        requests.wait(request)
        prediction = self._decide({name: request.get_tensor(name).data for name in OUTPUTS}, content)
        requests.release(request)
        return prediction


def fail(error: Exception) -> NoReturn:
    """Raise an error that came before its turn."""
    raise error


def require_single_images(card: Card, input: ImageInput, path: Path) -> None:
    """Refuse a model that is for other runtimes, or takes several images at once only.

    Raises:
        InputError: If it is one of these.
    """
    if card.interface != "native":
        raise InputError(f"{path} has the interface {card.interface}, for other runtimes: export it with native.")
    if card.resizes == "no":
        raise InputError(f"{path} takes images that were resized already: export it with --input.preprocessing true.")
    if input.batch not in (1, ANY):
        raise InputError(f"{path} takes {input.batch} images at once: export it for one, or for any number.")


def require_writable(cache_dir: Path | str) -> None:
    """Make a folder if need be, and refuse one that cannot be written to.

    Raises:
        InputError: If it cannot be.
    """
    try:
        Path(cache_dir).mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=cache_dir):
            pass
    except OSError as error:
        raise InputError(
            f"cache_dir {cache_dir} cannot be written to ({error.strerror}): name another folder."
        ) from error


def to_pixels(image: Picture) -> Pixels:
    """Turn what may be judged into 8-bit RGB of shape (h, w, 3).

    Raises:
        InputError: If it cannot be read, or has another shape or type.
    """
    if isinstance(image, str | Path):
        return read_pixels(Path(image))
    if isinstance(image, Image.Image):
        try:
            return as_pixels(ImageOps.exif_transpose(image))
        except (OSError, SyntaxError) as error:  # Pillow decodes when it must
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
