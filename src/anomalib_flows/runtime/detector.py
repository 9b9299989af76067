"""Judge images with an exported model."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
from PIL import Image, ImageOps

from anomalib_flows.geometry import content_size
from anomalib_flows.images import Pixels, as_pixels, read_pixels
from anomalib_flows.runtime.card import Card, read_card
from anomalib_flows.runtime.network import compile_network, read_network
from anomalib_flows.runtime.prediction import Decision, Prediction
from anomalib_flows.types import ImageSize, InputError, first_line, require

Picture = Path | str | Image.Image | npt.NDArray[np.uint8]
"""A file, a Pillow image, or 8-bit values: RGB of shape (h, w, 3) or grey of shape (h, w)."""

OUTPUTS = ("pred_score", "pred_label", "anomaly_map", "pred_mask", "raw_score")


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
        self._input = input_size(network, self.card, path)
        self._decide = Decision(self.card, path, threshold, false_alarm_rate)
        options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        if requests and requests > 1:
            options = {"PERFORMANCE_HINT": "THROUGHPUT", "PERFORMANCE_HINT_NUM_REQUESTS": requests}
        if cache_dir:
            options["CACHE_DIR"] = str(cache_dir)
        precisions = [precision] if precision else list(dict.fromkeys([self.card.inference_precision, "f16"]))
        if not precision and self.device == "CPU":
            del precisions[1:]
        self._compiled, self.precision = compile_network(core, network, path, self.device, precisions, options)
        self.requests = requests or 2
        self._idle: deque[ov.InferRequest] = deque()

    def __call__(self, image: Picture) -> Prediction:
        """Judge one image.

        Raises:
            InputError: If it cannot be read, or has another shape or type than images have.
        """
        return self._finish(*self._start(image))

    def batch(self, images: Iterable[Picture]) -> list[Prediction]:
        """Judge images, of any sizes, each by itself.

        Raises:
            InputError: If one cannot be read.
        """
        return list(self.stream(images))

    def stream(self, images: Iterable[Picture]) -> Iterator[Prediction]:
        """Judge images as they come, and yield predictions in their order.

        No more than ``requests`` images are taken ahead. An error of the source is raised after the predictions of the
        images that came before it.

        Raises:
            InputError: If an image cannot be read.
        """
        started: deque[tuple[ov.InferRequest, ImageSize]] = deque()
        try:
            for image in images:
                started.append(self._start(image))
                if len(started) == self.requests:
                    yield self._finish(*started.popleft())
        except Exception:
            yield from (self._finish(*one) for one in started)
            raise
        yield from (self._finish(*one) for one in started)

    def _start(self, image: Picture) -> tuple[ov.InferRequest, ImageSize]:
        """Start computing; a request that nobody else uses is taken, or made."""
        pixels = to_pixels(image)
        height, width = pixels.shape[:2]
        if not all(of in (-1, is_) for of, is_ in zip(self._input, (height, width), strict=True)):
            wanted = " x ".join("any" if edge < 0 else str(edge) for edge in self._input)
            raise InputError(f"The image is {height} x {width} pixels high and wide, but the model takes {wanted}.")
        if self.card.channels == "BGR":
            pixels = pixels[..., ::-1]
        if self.card.input_layout == "NCHW":
            pixels = pixels.transpose(2, 0, 1)
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
        request.start_async({"image": np.ascontiguousarray(pixels)[None]})
        return request, content_size(height, width, self.card.image_size, self.card.resize)

    def _finish(self, request: ov.InferRequest, content: ImageSize) -> Prediction:
        """Wait for the outputs, decide, and let others have the request."""
        request.wait()
        prediction = self._decide({name: request.get_tensor(name).data for name in OUTPUTS}, content)
        self._idle.append(request)
        return prediction


def input_size(network: ov.Model, card: Card, path: Path) -> ImageSize:
    """Height and width that a model takes, -1 for any.

    Raises:
        InputError: If the model is for other runtimes, or takes several images at once only.
    """
    if card.interface != "native":
        raise InputError(f"{path} has the interface {card.interface}, for other runtimes: export it with native.")
    if card.resizes == "no":
        raise InputError(f"{path} takes images that were resized already: export it with --input.preprocessing true.")
    batch, *others = (axis.get_length() if axis.is_static else -1 for axis in network.input("image").partial_shape)
    if batch not in (1, -1):
        raise InputError(f"{path} takes {batch} images at once: export it for one, or for any number.")
    height, width = others[:2] if card.input_layout == "NHWC" else others[1:]
    return height, width


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
