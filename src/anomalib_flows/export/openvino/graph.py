"""The whole pipeline as one graph of OpenVINO, from an image of any size to decisions."""

from __future__ import annotations

import warnings

import openvino as ov
import torch
from openvino import opset13 as ops
from torch import Tensor, nn

from anomalib_flows.core.errors import InputError, first_line
from anomalib_flows.core.types import Interface
from anomalib_flows.export.network import Decision, Decisions, Network
from anomalib_flows.export.openvino.parts import label
from anomalib_flows.models.postprocess import Postprocess
from anomalib_flows.runtime.ports import ANY, lengths

OUTPUTS: dict[Interface, tuple[str, ...]] = {
    "native": Decisions._fields,
    "model-api": Decisions._fields[:4],
    "model-api-map": ("raw_map",),
    "anomalib": Decisions._fields[:4],
}
RAW = OUTPUTS["model-api-map"]


def build_network(network: Network) -> ov.Model:
    """Build the graph from images to raw maps; operations are named by the part they belong to.

    Raises:
        InputError: If the model cannot be converted, or not for any number of images.
    """
    example, (height, width) = network.example(), network.input_size
    batch = network.options.batch or -1
    shape = [batch, height, width, 3] if network.channels_last else [batch, 3, height, width]
    traceable = TraceableNetwork(network)
    converted = convert(traceable, example, shape)
    maps, *marks = [result.input_value(0) for result in converted.get_results()]
    images = converted.get_parameters()[0]
    images.set_layout(ov.Layout("NHWC" if network.channels_last else "NCHW"))
    name(images.output(0), "image")
    model = ov.Model([name_output(maps, RAW[0])], [images], "anomalib_flows")
    label(model, traceable.ends([mark.get_node() for mark in marks]), rest="decision")
    return model


class TraceableNetwork(nn.Module):
    """A network with its maps and marks in one tuple, as tracing wants them."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network, self.features = network, 0

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map images."""
        marked = self.network(images)
        self.features = len(marked.features)
        return (marked.map, marked.unsmoothed, marked.normalised, *marked.features, *marked.whitened)

    def ends(self, marks: list[ov.Node]) -> dict[str, list[ov.Node]]:
        """Name the last operations of each part, given those of all marks."""
        unsmoothed, normalised, *others = marks
        features, whitened = others[: self.features], others[self.features :]
        return {"preprocess": [normalised], "encoder": features, "whitening": whitened, "flow": [unsmoothed]}


def decide(network: ov.Model, postprocess: Postprocess, interface: Interface) -> ov.Model:
    """Let a graph that gives raw maps go on to decisions, by the constants of a calibrated postprocess."""
    if OUTPUTS[interface] == RAW:
        return network
    maps = network.get_results()[0].input_value(0)
    before = {node.get_friendly_name() for node in network.get_ops()}
    shape = lengths(maps)
    decision = convert(Decision(postprocess), torch.rand([2 if length == ANY else length for length in shape]), shape)
    for node in decision.get_ops():
        for value in node.outputs():  # else devices that merge operations give outputs these names as well
            value.get_tensor().set_names(set())
    outputs = [result.input_value(0) for result in decision.get_results()]
    decision.get_parameters()[0].output(0).replace(maps)
    results = [name_output(*pair) for pair in zip(outputs, OUTPUTS[interface], strict=False)]
    model = ov.Model(results, network.get_parameters(), network.get_friendly_name())
    for node in model.get_ops():
        if node.get_friendly_name() not in before and node not in results:
            node.set_friendly_name(f"decision/{node.get_friendly_name()}")
    return model


def convert(module: nn.Module, example: Tensor, shape: list[int]) -> ov.Model:
    """Convert a module of one input, of which dimensions of -1 may vary.

    Raises:
        InputError: If that cannot be done.
    """
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns of every shape that becomes a constant
        try:
            traced = torch.jit.trace(module.eval(), example, check_trace=False)  # type: ignore[no-untyped-call]
            return ov.convert_model(traced, input=[shape])
        except Exception as error:  # of tracing, of converting, of the plug-in's own code: any kind
            raise InputError(f"This model cannot be converted to OpenVINO: {first_line(error)}") from error


def name_output(value: ov.Output, called: str) -> ov.Node:
    """Make an output of a name."""
    name(value, called)
    made = ops.result(value)
    made.set_friendly_name(called)
    return made


def name(value: ov.Output, called: str) -> None:
    """Name a value, which tracing gave the names of variables."""
    value.get_tensor().set_names({called})
