"""OpenVINO: a graph in ``.xml`` and its weights in ``.bin``, for Intel CPUs, GPUs and NPUs."""

from __future__ import annotations

from pathlib import Path

from anomalib_flows.core.types import Interface, Precision
from anomalib_flows.export.exporter import Exported, ExportJob
from anomalib_flows.export.options import FolderLayout


class OpenVINOExporter:
    """Write a graph of OpenVINO."""

    suffix = ".xml"
    precisions: tuple[Precision, ...] = ("fp16", "fp32", "int8")
    interfaces: tuple[Interface, ...] = ("native", "model-api", "model-api-map", "anomalib")
    layouts: tuple[FolderLayout, ...] = ("folder", "ovms")
    modules: tuple[str, ...] = ("openvino",)
    extra = "openvino"

    def write(self, job: ExportJob, file: Path) -> Exported:
        """Write a graph."""
        from anomalib_flows.export.openvino.write import write_openvino  # an optional extra

        return write_openvino(job, file)


EXPORTER = OpenVINOExporter()
