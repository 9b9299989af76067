"""The whole pipeline as a program of ``torch.export``, which the formats torch and onnx are written from."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from anomalib_flows.core.errors import InputError, first_line
from anomalib_flows.export.network import DecisionHead, Network
from anomalib_flows.models.postprocess import Postprocess

MAX_SIDE = 16384
"""Largest height and width of the images that an exported program accepts."""


class DeployedPipeline(nn.Module):
    """From images to decisions."""

    def __init__(self, network: Network, postprocess: Postprocess) -> None:
        super().__init__()
        self.network, self.decision = network, DecisionHead(postprocess)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the fields of :class:`~anomalib_flows.export.network.GraphOutputs` for a batch of images."""
        return tuple(self.decision(self.network(image).maps))


def export_program(network: Network, postprocess: Postprocess) -> Any:
    """Export a pipeline by ``torch.export``."""
    deployed = DeployedPipeline(network, postprocess).eval()
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.export(deployed, (network.example(),), dynamic_shapes=dynamic_shapes(network))
    except Exception as error:  # the code of a plug-in may raise anything
        raise InputError(f"This model cannot be exported by torch.export: {first_line(error)}") from error


def dynamic_shapes(network: Network) -> tuple[dict[int, Any]]:
    """Return the dynamic axes of the input, by number."""
    axes: dict[int, Any] = {}
    if network.options.batch == 0:
        axes[0] = torch.export.Dim("batch", min=1, max=1024)
    first = 1 if network.channels_last else 2
    for axis, side, name in zip((first, first + 1), network.input_size, ("height", "width"), strict=True):
        if side == -1:
            axes[axis] = torch.export.Dim(name, min=2, max=MAX_SIDE)
    return (axes,)
