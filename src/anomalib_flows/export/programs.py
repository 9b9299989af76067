"""The whole pipeline in formats other than OpenVINO's."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from anomalib_flows.core.errors import InputError, first_line
from anomalib_flows.export.exported import INFERENCE_PRECISION, Exported, Format
from anomalib_flows.export.judging import by_openvino, by_torch, compiled
from anomalib_flows.export.network import Decision, Decisions, Network
from anomalib_flows.models.postprocess import Postprocess

LARGEST = 16384
"""Most pixels of an image's edge that an exported program is asked to take."""


def write_program(network: Network, postprocess: Postprocess, file: Path, format: Format) -> Exported:
    """Write a pipeline as ONNX or as a program of ``torch.export``, and read it again."""
    start = time.perf_counter()
    program = export_program(DeployedPipeline(network, postprocess))
    (save_onnx if format == "onnx" else save_torch)(program, file)
    seconds = time.perf_counter() - start
    if format == "onnx":
        judge = by_openvino(compiled(file, INFERENCE_PRECISION), network, postprocess)
    else:
        judge = by_torch(torch.export.load(file), network, Decisions._fields)
    return Exported(judges={INFERENCE_PRECISION: judge}, sizes={}, seconds=seconds, postprocess=postprocess)


class DeployedPipeline(nn.Module):
    """From images to decisions.

    Args:
        network: From images to raw maps.
        postprocess: Calibrated constants.
    """

    def __init__(self, network: Network, postprocess: Postprocess) -> None:
        super().__init__()
        self.network, self.decision = network, Decision(postprocess)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Decide on images; in the order of :class:`~anomalib_flows.export.network.Decisions`."""
        return tuple(self.decision(self.network(image).map))


def export_program(deployed: DeployedPipeline) -> Any:
    """Export a module by ``torch.export``.

    Raises:
        InputError: If it cannot be exported.
    """
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.export(
                deployed.eval(), (deployed.network.example(),), dynamic_shapes=varying(deployed.network)
            )
    except Exception as error:  # of tracing a plug-in's code: any kind
        raise InputError(f"This model cannot be exported by torch.export: {first_line(error)}") from error


def varying(network: Network) -> tuple[dict[int, Any]]:
    """Name the dimensions of the input that may vary."""
    axes: dict[int, Any] = {}
    if network.options.batch == 0:
        axes[0] = torch.export.Dim("batch", min=1, max=1024)
    first = 1 if network.channels_last else 2
    for axis, edge, called in zip((first, first + 1), network.input_size, ("height", "width"), strict=True):
        if edge == -1:
            axes[axis] = torch.export.Dim(called, min=2, max=LARGEST)
    return (axes,)


def save_torch(program: Any, file: Path) -> None:
    """Write a program to a file that ``torch.export.load`` reads."""
    torch.export.save(program, file)


def save_onnx(program: Any, file: Path) -> None:
    """Write a program as ONNX.

    Raises:
        InputError: If packages are missing for that, or it cannot be done.
    """
    try:
        import onnxscript  # noqa: F401 - what torch writes ONNX with
    except ImportError as error:
        raise InputError("--format onnx needs onnx and onnxscript: pip install 'anomalib-flows[onnx]'.") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                program,
                f=str(file),
                dynamo=True,
                verbose=False,
                external_data=False,
                output_names=list(Decisions._fields),
            )
    except Exception as error:
        raise InputError(f"This model cannot be written as ONNX: {first_line(error)}") from error
