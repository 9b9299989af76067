"""Asynchronous inference requests."""

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
from anomalib_flows.runtime.network import inference_errors
from anomalib_flows.runtime.ports import INPUT


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
