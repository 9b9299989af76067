"""Devices that exported models run on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import openvino as ov

from anomalib_flows.core.errors import InputError

VIRTUAL = ("AUTO", "BATCH", "HETERO", "MULTI")
"""Devices that select among others, whose names may follow after a colon."""


@dataclass(frozen=True)
class DeviceOptions:
    """Name of a device, and how OpenVINO uses it.

    Args:
        name: ``CPU``, ``GPU``, ``NPU``, ``AUTO`` or another name that OpenVINO knows.
        precision: Inference precision: ``f32``, ``f16`` or ``bf16``. By default the precision that the model asks for,
            or ``f16`` on devices that do not support it.
        cache_dir: Folder in which OpenVINO caches compiled models, so that the next start is faster.

    Example:
        >>> DeviceOptions("gpu").precisions("f32")
        ['f32', 'f16']
    """

    name: str = "CPU"
    precision: str | None = None
    cache_dir: Path | str | None = None

    def __post_init__(self) -> None:
        """Write the name in upper case, as OpenVINO does."""
        object.__setattr__(self, "name", self.name.upper())

    def precisions(self, preferred: str) -> list[str]:
        """Return the precisions to try, in this order."""
        if self.precision:
            return [self.precision]
        return [preferred] if self.name == "CPU" else list(dict.fromkeys([preferred, "f16"]))

    def properties(self, requests: int | None) -> dict[str, Any]:
        """Return the properties to compile a model with."""
        properties: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        if requests and requests > 1:
            properties = {"PERFORMANCE_HINT": "THROUGHPUT", "PERFORMANCE_HINT_NUM_REQUESTS": requests}
        if self.cache_dir:
            require_writable(self.cache_dir)
            properties["CACHE_DIR"] = str(self.cache_dir)
        return properties


def require_device(core: ov.Core, device: str) -> None:
    """Raise an InputError unless a device is available."""
    available = core.available_devices
    kind, _, listed = device.partition(":")
    names = [name.strip(" -") for name in listed.split(",") if name] if kind in VIRTUAL else [device]
    for name in names:
        if not any(name in (other, other.partition(".")[0]) for other in available) and (
            name.partition("(")[0] not in available
        ):
            raise InputError(
                f"{name or 'A device without a name'} is not available: choose one of {', '.join(available)}."
            )


def require_writable(cache_dir: Path | str) -> None:
    """Create a folder if it does not exist, and raise an InputError if it is not writable."""
    try:
        Path(cache_dir).mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=cache_dir):
            pass
    except OSError as error:
        raise InputError(
            f"`cache_dir` {cache_dir} is not writable ({error.strerror}): choose another folder."
        ) from error
