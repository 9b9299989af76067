"""OpenVINO: a graph in ``.xml`` and its weights in ``.bin``, for Intel CPUs, GPUs and NPUs."""

from __future__ import annotations

from pathlib import Path

from anomalib_flows.export.exporter import Exported, Exporter, ExportJob


def write_graph(job: ExportJob, file: Path) -> Exported:
    """Write a graph."""
    from anomalib_flows.export.openvino.write import write_openvino  # an optional extra

    return write_openvino(job, file)


EXPORTER = Exporter(
    suffix=".xml",
    precisions=("fp16", "fp32", "int8"),
    write=write_graph,
    interfaces=("native", "model-api", "model-api-map", "anomalib"),
    layouts=("folder", "ovms"),
    modules=("openvino",),
)
