"""How much memory an exported model takes."""

from __future__ import annotations

import re
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import openvino as ov

from anomalib_flows.core.timing import WARM_UP
from anomalib_flows.core.types import ImageSize
from anomalib_flows.runtime.measuring import inference, open_subject
from anomalib_flows.runtime.network import require_device

STATUS = Path("/proc/self/status")
"""Where Linux tells how much memory a process has."""


@dataclass(frozen=True)
class Memory:
    """Mebibytes of a fresh process that loads a model and judges a few images.

    Args:
        peak_mib: The most that the process had.
        model_mib: What reading, compiling and the first inferences added to OpenVINO itself.
    """

    peak_mib: float
    model_mib: float


def memory(path: Path, device: str, precision: str, image_size: ImageSize) -> Memory | None:
    """Load a model in a fresh process and tell how much memory that takes; None where the system does not tell."""
    if not STATUS.exists():
        return None
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
        return fresh.submit(load_and_weigh, path, device, precision, image_size).result()


def load_and_weigh(path: Path, device: str, precision: str, image_size: ImageSize) -> Memory:
    """Load a model, judge a few images and tell what this took; alone in its process."""
    require_device(ov.Core(), device)  # loads what belongs to the device
    before = mebibytes("VmRSS")
    subject = open_subject(path, device, image_size=image_size)
    infer = inference(subject.compile(precision, PERFORMANCE_HINT="LATENCY").create_infer_request(), subject.tensors[0])
    for _ in range(WARM_UP):
        infer()
    return Memory(mebibytes("VmHWM"), mebibytes("VmRSS") - before)


def mebibytes(what: str) -> float:
    """Memory of this process: ``VmRSS`` now, ``VmHWM`` at most."""
    found = re.search(rf"{what}:\s*(\d+) kB", STATUS.read_text())
    return int(found[1]) / 1024 if found else 0.0
