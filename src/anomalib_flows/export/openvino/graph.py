"""The whole pipeline as one graph of OpenVINO, from images of any size to decisions; its weights in half precision."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping

import numpy as np
import openvino as ov
import torch
from openvino import opset13 as ops
from torch import Tensor, nn

from anomalib_flows.core.errors import InputError, first_line
from anomalib_flows.core.types import Interface
from anomalib_flows.export.network import DecisionHead, GraphOutputs, Network
from anomalib_flows.models.postprocess import Postprocess
from anomalib_flows.runtime.ports import ANY, PARTS, lengths, part_of

OUTPUTS: dict[Interface, tuple[str, ...]] = {
    "native": GraphOutputs._fields,
    "model-api": GraphOutputs._fields[:4],
    "model-api-map": ("raw_map",),
    "anomalib": GraphOutputs._fields[:4],
}
"""Outputs of each interface. Model API in Python and anomalib read the score that the graph computes; the reader of
``model-api-map`` computes it from the map."""
RAW = OUTPUTS["model-api-map"]
CONVOLUTIONS = ("Convolution", "GroupConvolution")
LARGEST = float(np.finfo(np.float16).max)


def build_network(network: Network) -> ov.Model:
    """Return the graph from images to raw maps, with each operation named by its part."""
    example, (height, width) = network.example(), network.input_size
    batch = network.options.batch or -1
    shape = [batch, height, width, 3] if network.channels_last else [batch, 3, height, width]
    traceable = TraceableNetwork(network)
    converted = convert(traceable, example, shape)
    maps, *marks = [result.input_value(0) for result in converted.get_results()]
    images = converted.get_parameters()[0]
    images.set_layout(ov.Layout("NHWC" if network.channels_last else "NCHW"))
    set_name(images.output(0), "image")
    model = ov.Model([named_output(maps, RAW[0])], [images], "anomalib_flows")
    label(model, traceable.ends([mark.get_node() for mark in marks]), rest="decision")
    return model


class TraceableNetwork(nn.Module):
    """A network that returns all its outputs in one tuple, as tracing requires."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network, self.features = network, 0

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return raw maps and intermediate results."""
        output = self.network(images)
        self.features = len(output.features)
        return (output.maps, output.unsmoothed, output.normalised, *output.features, *output.whitened)

    def ends(self, marks: list[ov.Node]) -> dict[str, list[ov.Node]]:
        """Return the last operations of each part, given those of all intermediate results."""
        unsmoothed, normalised, *others = marks
        features, whitened = others[: self.features], others[self.features :]
        return {"preprocess": [normalised], "encoder": features, "whitening": whitened, "flow": [unsmoothed]}


def decide(network: ov.Model, postprocess: Postprocess, interface: Interface) -> ov.Model:
    """Append the decision to a graph that returns raw maps; the graph may be changed."""
    maps = network.get_results()[0].input_value(0)
    if OUTPUTS[interface] == RAW:
        return network
    before = {node.get_friendly_name() for node in network.get_ops()}
    decision = convert_decision(postprocess, lengths(maps))
    outputs = [result.input_value(0) for result in decision.get_results()]
    decision.get_parameters()[0].output(0).replace(maps)
    results = [named_output(*pair) for pair in zip(outputs, OUTPUTS[interface], strict=False)]
    model = ov.Model(results, network.get_parameters(), network.get_friendly_name())
    for node in model.get_ops():
        if node.get_friendly_name() not in before and node not in results:
            node.set_friendly_name(f"decision/{node.get_friendly_name()}")
    return model


def convert_decision(postprocess: Postprocess, shape: list[int]) -> ov.Model:
    """Return the graph from raw maps of a shape to decisions, whose values have no names.

    Otherwise devices that merge operations give these names to the outputs as well.
    """
    example = torch.rand([2 if length == ANY else length for length in shape])
    decision = convert(DecisionHead(postprocess), example, shape)
    for node in decision.get_ops():
        for value in node.outputs():
            value.get_tensor().set_names(set())
    return decision


def convert(module: nn.Module, example: Tensor, shape: list[int]) -> ov.Model:
    """Convert a module with one input, whose shape has -1 for dynamic axes."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns of every shape that becomes a constant
        try:
            traced = torch.jit.trace(module.eval(), example, check_trace=False)  # type: ignore[no-untyped-call]
            return ov.convert_model(traced, input=[shape])
        except Exception as error:  # the code of a plug-in may raise anything
            raise InputError(f"This model cannot be converted to OpenVINO: {first_line(error)}") from error


def named_output(value: ov.Output, name: str) -> ov.Node:
    """Return an output with a name."""
    set_name(value, name)
    result = ops.result(value)
    result.set_friendly_name(name)
    return result


def set_name(value: ov.Output, name: str) -> None:
    """Name a value; tracing gives it the names of variables."""
    value.get_tensor().set_names({name})


def ancestors(nodes: Iterable[ov.Node]) -> set[str]:
    """Return the names of operations and of all operations that they depend on."""
    found: set[str] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if node.get_friendly_name() not in found:
            found.add(node.get_friendly_name())
            waiting += [value.get_node() for value in node.input_values()]
    return found


def label(model: ov.Model, ends: Mapping[str, Iterable[ov.Node]], rest: str) -> None:
    """Prefix the name of each operation with its part.

    Args:
        model: The graph.
        ends: Last operations of each part, in the order of the parts. An operation that several parts depend on belongs
            to the first of them.
        rest: Part of all other operations.
    """
    within = {part: ancestors(nodes) for part, nodes in ends.items()}
    for node in model.get_ops():
        name = node.get_friendly_name()
        part = next((part for part, names in within.items() if name in names), rest)
        node.set_friendly_name(f"{part}/{name}")


def part_bytes(model: ov.Model) -> dict[str, int]:
    """Return the bytes of the constants of each part; a constant belongs to the part that uses it."""
    total = dict.fromkeys(PARTS, 0)
    for node in model.get_ops():
        if node.get_type_name() == "Constant":
            total[part_of(first_labelled(node).get_friendly_name())] += node.get_byte_size()
    return total


def first_labelled(node: ov.Node) -> ov.Node:
    """Return the first operation, among an operation and its users, with a part in its name; INT8 weights have none."""
    while node.get_friendly_name().partition("/")[0] not in PARTS:
        users = node.output(0).get_target_inputs() if node.get_output_size() else ()
        if not users:
            break
        node = next(iter(users)).get_node()
    return node


def compress_to_fp16(model: ov.Model) -> None:
    """Store the weights of layers as float16, in place, unless their values exceed its range.

    All other constants, such as thresholds, means and positional codes, stay in float32: they are small, and decisions
    depend on them.
    """
    for constant in {id(c): c for node in model.get_ops() for c in weights_of(node)}.values():
        values = constant.data
        if np.abs(values).max(initial=0.0) <= LARGEST:
            name, users = constant.get_friendly_name(), constant.output(0).get_target_inputs()
            half = ops.constant(values.astype(np.float16), dtype=ov.Type.f16, name=name)
            whole = ops.convert(half, "f32", name=f"{name}/decompressed")
            whole.get_rt_info()["decompression_0"] = ""
            for user in users:
                user.replace_source_output(whole.output(0))


def is_layer(node: ov.Node) -> bool:
    """Return whether an operation multiplies by learned weights, which take most of the file and of the time.

    Matrix products are layers in an encoder; those of a flow upsample its likelihoods.
    """
    kind, part = node.get_type_name(), part_of(node.get_friendly_name())
    return (kind in CONVOLUTIONS and part in ("encoder", "whitening", "flow")) or (
        kind == "MatMul" and part == "encoder"
    )


def weights_of(node: ov.Node) -> list[ov.Node]:
    """Return the float constants that a layer multiplies by."""
    if not is_layer(node):
        return []
    sources = [value.get_node() for value in node.input_values()]
    return [s for s in sources if s.get_type_name() == "Constant" and s.get_element_type() == ov.Type.f32]
