"""Read an OpenVINO model from its file, compile it for a device, and run it with asynchronous requests."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Any

import numpy.typing as npt
import openvino as ov

from anomalib_flows.core.errors import InputError
from anomalib_flows.runtime.device import require_device
from anomalib_flows.runtime.digest import require_intact
from anomalib_flows.runtime.ports import INPUT


def read_network(core: ov.Core, path: Path) -> ov.Model:
    """Read an OpenVINO model."""
    if not path.is_file():
        fault = "is a folder" if path.is_dir() else "does not exist"
        raise InputError(f"{path} {fault}: give the .xml file of an exported model.")
    with path.open("rb") as stream:
        if b"<net" not in stream.read(4096):
            raise InputError(f"{path} is not an OpenVINO model: give the .xml file of an exported model.")
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        raise InputError(f"{weights} is missing: copy it next to {path.name}, a model consists of both files.")
    require_intact(path)
    try:
        return core.read_model(path)
    except (RuntimeError, UnicodeDecodeError) as error:  # the latter for OpenVINO's message, which cites the file
        raise InputError(
            f"{path} or {weights.name} is damaged ({reason(error)}): copy both again, or export the model again."
        ) from error


def compile_network(
    core: ov.Core, model: ov.Model, path: Path, device: str, precisions: list[str], properties: dict[str, Any]
) -> tuple[ov.CompiledModel, str]:
    """Compile a model for a device, in the first of the precisions that it supports; return that precision too."""
    require_device(core, device)
    for precision in precisions:
        try:
            compiled = core.compile_model(model, device, {"INFERENCE_PRECISION_HINT": precision, **properties})
        except RuntimeError as error:
            fault = error
        else:
            return compiled, precision
    raise InputError(
        f"{path} cannot be compiled for {device} in {' or '.join(precisions)} ({reason(fault)}): choose another "
        "device or precision."
    ) from fault


@contextmanager
def inference_errors(model: Path | str, device: str) -> Iterator[None]:
    """Turn errors of OpenVINO during inference, such as full memory, into an InputError of one sentence."""
    try:
        yield
    except RuntimeError as error:
        raise InputError(
            f"{model} fails on {device} ({reason(error)}): choose another device or smaller images."
        ) from error


def reason(error: Exception) -> str:
    """Return the last line of an error of OpenVINO, which says what is wrong; those above say where in its code."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".!") if lines else type(error).__name__


class Requests:
    """Requests of a compiled model, one image each. Several threads may use them.

    After one request has failed, the others are invalid. OpenVINO 2026.4 computes later images on the CPU with what it
    had prepared for the image that failed, and reports no error. So each request waits for those that were started
    before it, whether or not somebody else still waits for them.
    """

    def __init__(self, compiled: ov.CompiledModel, path: Path, device: str) -> None:
        self._compiled, self._path, self._device, self.failed = compiled, path, device, False
        self._idle: deque[ov.InferRequest] = deque()
        self._started: list[ov.InferRequest] = []  # and not released, in their order
        self._lock = Lock()

    def start(self, images: npt.NDArray[Any]) -> ov.InferRequest:
        """Start inference with an idle request, or a new one."""
        with self._watched():
            try:
                request = self._idle.pop()
            except IndexError:
                request = self._compiled.create_infer_request()
            with self._lock:
                self._started.append(request)
                request.start_async({INPUT: images})
        return request

    def wait(self, request: ov.InferRequest) -> None:
        """Wait for the outputs of a request. They are valid until it is released."""
        with self._lock:
            older = self._started[: self._started.index(request)]
        for one in older:
            with suppress(InputError), self._watched():
                one.wait()
        with self._watched():
            request.wait()
        if self.failed:
            raise InputError(f"{self._path} failed on another image in the meantime: predict this one again.")

    def release(self, request: ov.InferRequest) -> None:
        """Make a request idle."""
        with self._lock:
            self._started.remove(request)
        self._idle.append(request)

    @contextmanager
    def _watched(self) -> Iterator[None]:
        try:
            with inference_errors(self._path, self._device):
                yield
        except InputError:
            self.failed = True
            raise
