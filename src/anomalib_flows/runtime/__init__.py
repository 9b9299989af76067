"""Judge images with an exported model: OpenVINO, numpy and Pillow are all it takes."""

from anomalib_flows.core.errors import InputError

try:
    import openvino  # noqa: F401 (an optional extra)
except ModuleNotFoundError as error:
    raise InputError("Exported models take the module openvino: run pip install 'anomalib-flows[openvino]'.") from error

from anomalib_flows.runtime.detector import Detector
from anomalib_flows.runtime.prediction import Prediction
from anomalib_flows.runtime.sources import frames

__all__ = ["Detector", "Prediction", "frames"]
