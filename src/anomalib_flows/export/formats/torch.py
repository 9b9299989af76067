"""A program of ``torch.export``, which needs nothing but torch."""

from __future__ import annotations

import time
from pathlib import Path

import torch

from anomalib_flows.core.types import Interface, Precision
from anomalib_flows.export.exporter import INFERENCE_PRECISION, Exported, ExportJob
from anomalib_flows.export.options import FolderLayout
from anomalib_flows.export.predictors import program_predictor
from anomalib_flows.export.programs import export_program


class TorchExporter:
    """Write a file that ``torch.export.load`` reads."""

    suffix = ".pt2"
    precisions: tuple[Precision, ...] = ("fp32",)
    interfaces: tuple[Interface, ...] = ("native",)
    layouts: tuple[FolderLayout, ...] = ("folder",)
    modules: tuple[str, ...] = ()
    extra = ""

    def write(self, job: ExportJob, file: Path) -> Exported:
        """Write a program, and read it again."""
        start = time.perf_counter()
        torch.export.save(export_program(job.network, job.pipeline.postprocess), file)
        seconds = time.perf_counter() - start
        predict = program_predictor(torch.export.load(file), job.network, job.pipeline.postprocess)
        return Exported(predictors={INFERENCE_PRECISION: predict}, seconds=seconds)


EXPORTER = TorchExporter()
