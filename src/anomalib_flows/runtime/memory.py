"""Memory that an exported model needs."""

from __future__ import annotations

import re
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import openvino as ov

from anomalib_flows.core.timing import WARM_UP
from anomalib_flows.core.types import ImageSize
from anomalib_flows.runtime.device import require_device
from anomalib_flows.runtime.measuring import inference, open_subject

STATUS = Path("/proc/self/status")
"""File with the memory of a process, on Linux."""


@dataclass(frozen=True)
class Memory:
    """Mebibytes of a new process that loads a model and runs it a few times.

    Args:
        peak_mib: Peak memory of the process.
        model_mib: Memory for reading, compiling and the first inferences, without that of OpenVINO itself.
    """

    peak_mib: float
    model_mib: float


def memory(path: Path, device: str, precision: str, image_size: ImageSize) -> Memory | None:
    """Measure the memory of a new process that loads a model; None where the system does not report it."""
    if not STATUS.exists():
        return None
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
        return fresh.submit(load_and_measure, path, device, precision, image_size).result()


def load_and_measure(path: Path, device: str, precision: str, image_size: ImageSize) -> Memory:
    """Load a model in this process, run it a few times and return the memory that was added."""
    require_device(ov.Core(), device)  # loads the libraries of the device
    before = mebibytes("VmRSS")
    subject = open_subject(path, device, image_size=image_size)
    infer = inference(subject.compile(precision, PERFORMANCE_HINT="LATENCY").create_infer_request(), subject.tensors[0])
    for _ in range(WARM_UP):
        infer()
    return Memory(mebibytes("VmHWM"), mebibytes("VmRSS") - before)


def mebibytes(name: str) -> float:
    """Return the memory of this process: ``VmRSS`` at this moment, ``VmHWM`` at its peak."""
    found = re.search(rf"{name}:\s*(\d+) kB", STATUS.read_text())
    return int(found[1]) / 1024 if found else 0.0
