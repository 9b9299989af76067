"""A program of ``torch.export``, which needs nothing but torch."""

from __future__ import annotations

import time
from io import BytesIO
from pathlib import Path

import torch

from anomalib_flows.export.exporter import INFERENCE_PRECISION, Exported, Exporter, ExportJob
from anomalib_flows.export.network import export_program
from anomalib_flows.export.predictors import program_predictor


def write_program(job: ExportJob, file: Path) -> Exported:
    """Write a file that ``torch.export.load`` reads, and read it again."""
    start = time.perf_counter()
    content = BytesIO()  # torch would end the process if the disk is full
    torch.export.save(export_program(job.network, job.pipeline.postprocess), content)
    file.write_bytes(content.getbuffer())
    seconds = time.perf_counter() - start
    predict = program_predictor(torch.export.load(file), job.network, job.pipeline.postprocess)
    return Exported(predictors={INFERENCE_PRECISION: predict}, seconds=seconds)


EXPORTER = Exporter(suffix=".pt2", precisions=("fp32",), write=write_program)
