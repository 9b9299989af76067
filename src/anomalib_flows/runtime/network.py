"""Read an OpenVINO model from its file, and compile it for a device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openvino as ov

from anomalib_flows.core.errors import InputError
from anomalib_flows.runtime.device import require_device


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
    try:
        return core.read_model(path)
    except RuntimeError as error:
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
