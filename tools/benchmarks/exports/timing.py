"""Time exported files in OpenVINO, all in one process."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from exports.settings import RUNS, Setting, timed

WARM_UP = 3
"""Turns that are not counted."""


def measure(names: Sequence[str], setting: Setting, folder: Path) -> None:
    """Time the exports of one model, and write the milliseconds of each inference to the folder."""
    import openvino as ov

    core = ov.Core()
    about = {"openvino": ov.__version__, "device": core.get_property("CPU", "FULL_DEVICE_NAME")}
    common = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": setting.threads}
    runs: dict[str, Any] = {}
    for run, (file, properties) in RUNS.items():
        paths = {name: folder / name / f"{file}.xml" for name in names}
        compiled = {name: core.compile_model(path, "CPU", common | properties) for name, path in paths.items()}
        precision = str(next(iter(compiled.values())).get_property("INFERENCE_PRECISION_HINT").to_string())
        requests = [make_request(model, setting.size) for model in compiled.values()]
        times = take_turns(requests, setting.repeats)
        runs[run] = {"precision": precision, "ms": dict(zip(compiled, times, strict=True))}
    (folder / "latencies.json").write_text(json.dumps({"about": about, "runs": runs}))


def make_request(compiled: Any, size: int) -> Any:
    """Make a request with an image, and exit unless all outputs of the model are finite."""
    import numpy as np
    import openvino as ov

    image = np.random.default_rng(0).integers(256, size=(1, size, size, 3), dtype=np.uint8)
    if compiled.input(0).get_element_type() == ov.Type.f32:
        image = np.ascontiguousarray(image.transpose(0, 3, 1, 2), dtype=np.float32) / np.float32(255)
    request = compiled.create_infer_request()
    request.set_input_tensor(ov.Tensor(image))
    request.infer()
    if not all(np.isfinite(tensor.data).all() for tensor in request.output_tensors):
        sys.exit("The output of an exported model has NaN or infinite values.")
    return request


def take_turns(requests: Sequence[Any], repeats: int) -> list[list[float]]:
    """Return the milliseconds of each request: one inference each per turn, in an order that is reversed every turn."""
    spent: list[list[float]] = [[] for _ in requests]
    for turn in range(WARM_UP + repeats):
        for i in range(len(requests))[:: -1 if turn % 2 else 1]:
            _, seconds = timed(partial(infer, requests[i]))
            spent[i].append(1000 * seconds)
    return [times[WARM_UP:] for times in spent]


def infer(request: Any) -> None:
    """Infer without copying the outputs."""
    request.start_async()
    request.wait()
