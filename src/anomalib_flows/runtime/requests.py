"""Inferences that are under way."""

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
from anomalib_flows.runtime.network import explained
from anomalib_flows.runtime.ports import INPUT


class Requests:
    """Requests of a compiled model, each with one image at a time; may be used by several threads.

    Once one has failed, the others are of no use: OpenVINO 2026.4 computes later images on the CPU with what it had
    begun to prepare for the one that failed, and says nothing. So each waits for those that were started before it,
    whether or not somebody else still does.

    Args:
        compiled: The model.
        path: Its file, for errors.
        device: What it computes on, for errors.

    Attributes:
        failed: Whether one has failed.
    """

    failed: bool

    def __init__(self, compiled: ov.CompiledModel, path: Path, device: str) -> None:
        self._compiled, self._path, self._device, self.failed = compiled, path, device, False
        self._idle: deque[ov.InferRequest] = deque()
        self._started: list[ov.InferRequest] = []  # and not released, in their order
        self._lock = Lock()

    def start(self, images: npt.NDArray[Any]) -> ov.InferRequest:
        """Start to compute, by a request that is idle or a new one.

        Raises:
            InputError: If the device fails.
        """
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
        """Wait until the outputs are there, which stay until the request is released.

        Raises:
            InputError: If the device fails, or has failed on another image meanwhile.
        """
        with self._lock:
            older = self._started[: self._started.index(request)]
        for one in older:
            with suppress(InputError), self._watched():
                one.wait()
        with self._watched():
            request.wait()
        if self.failed:
            raise InputError(f"{self._path} failed on another image meanwhile: judge this one again.")

    def release(self, request: ov.InferRequest) -> None:
        """Let others have a request."""
        with self._lock:
            self._started.remove(request)
        self._idle.append(request)

    @contextmanager
    def _watched(self) -> Iterator[None]:
        try:
            with explained(self._path, self._device):
                yield
        except InputError:
            self.failed = True
            raise
