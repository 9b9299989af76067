"""From a trained pipeline to a file that decides the same without torch."""

from anomalib_flows.types import InputError

try:
    import openvino  # noqa: F401 - an optional extra
except ImportError as error:
    raise InputError("Exporting takes the module openvino: run pip install 'anomalib-flows[openvino]'.") from error
