"""An OpenVINO model: read from its file, and compiled for a device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openvino as ov

from anomalib_flows.core.errors import InputError

VIRTUAL = ("AUTO", "BATCH", "HETERO", "MULTI")
"""Devices that choose among others, which may be named after a colon."""


def read_network(core: ov.Core, path: Path) -> ov.Model:
    """Read an OpenVINO model.

    Raises:
        InputError: If it is missing, damaged or none.
    """
    if not path.is_file():
        fault = "is a folder" if path.is_dir() else "does not exist"
        raise InputError(f"{path} {fault}: name an exported model (.xml).")
    with path.open("rb") as stream:
        if b"<net" not in stream.read(4096):
            raise InputError(f"{path} is no OpenVINO model: name the .xml file that 'anomalib-flows export' wrote.")
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        raise InputError(f"{weights} is missing: put it beside {path.name}, both are the model.")
    try:
        return core.read_model(path)
    except RuntimeError as error:
        raise InputError(
            f"{path} or {weights.name} is damaged ({reason(error)}): copy both anew, or export the model again."
        ) from error


def compile_network(
    core: ov.Core, model: ov.Model, path: Path, device: str, precisions: list[str], options: dict[str, Any]
) -> tuple[ov.CompiledModel, str]:
    """Compile a model for a device.

    Args:
        core: OpenVINO.
        model: What to compile.
        path: Its file.
        device: Name of the device in upper case.
        precisions: What to compute in; the first that the device supports is taken.
        options: Further properties of OpenVINO.

    Returns:
        The compiled model, and the precision that it computes in.

    Raises:
        InputError: If the device is not there, or none of the precisions will do.
    """
    require_device(core, device)
    for precision in precisions:
        try:
            compiled = core.compile_model(model, device, {"INFERENCE_PRECISION_HINT": precision, **options})
        except RuntimeError as error:
            fault = error
        else:
            return compiled, precision
    raise InputError(
        f"{path} cannot be compiled for {device} in {' or '.join(precisions)} ({reason(fault)}): choose another "
        "device or precision."
    ) from fault


def require_device(core: ov.Core, device: str) -> None:
    """Refuse a device that is not there.

    Raises:
        InputError: If it is not, with those that are.
    """
    available = core.available_devices
    kind, _, named = device.partition(":")
    wanted = [name.strip(" -") for name in named.split(",") if name] if kind in VIRTUAL else [device]
    for name in wanted:
        if (
            not any(name in (one, one.partition(".")[0]) for one in available)
            and name.partition("(")[0] not in available
        ):
            raise InputError(f"{name or 'A device without a name'} is not there; there are: {', '.join(available)}.")


@contextmanager
def explained(model: Path | str, device: str) -> Iterator[None]:
    """Say in one sentence why OpenVINO fails while it computes, such as that memory is full.

    Raises:
        InputError: If it does.
    """
    try:
        yield
    except RuntimeError as error:
        raise InputError(
            f"{model} fails on {device} ({reason(error)}): choose another device or smaller images."
        ) from error


def reason(error: Exception) -> str:
    """What OpenVINO says is wrong: the last line, below those that say where in its code."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".!") if lines else type(error).__name__
