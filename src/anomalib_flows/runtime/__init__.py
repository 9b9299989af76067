"""Predict with exported models. Only OpenVINO, numpy and Pillow are needed."""

from typing import NoReturn

from anomalib_flows.core.errors import InputError

try:
    import openvino  # noqa: F401 (an optional extra)
except ModuleNotFoundError as error:
    raise InputError("Exported models need openvino: run pip install openvino.") from error

from anomalib_flows.core.types import ImageResult
from anomalib_flows.runtime.device import DeviceOptions
from anomalib_flows.runtime.exported_model import ExportedModel
from anomalib_flows.runtime.frames import frames

__all__ = ["DeviceOptions", "ExportedModel", "ImageResult", "frames"]

RENAMED = {"Detector": "ExportedModel", "Prediction": "ImageResult"}


def __getattr__(name: str) -> NoReturn:
    if name in RENAMED:
        raise AttributeError(f"anomalib_flows.runtime.{name} is now anomalib_flows.runtime.{RENAMED[name]}.")
    raise AttributeError(f"anomalib_flows.runtime has no attribute {name!r}.")
