"""Judge images with an exported model: OpenVINO, numpy and Pillow are all it takes."""

from anomalib_flows.types import InputError

try:
    import openvino  # noqa: F401 (an optional extra)
except ModuleNotFoundError as error:
    raise InputError("Exported models take the module openvino: run pip install 'anomalib-flows[openvino]'.") from error
