"""The whole pipeline as one graph of OpenVINO, from an image of any size to decisions."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal

import openvino as ov
import torch
from openvino import opset13 as ops
from torch import Tensor, nn

from anomalib_flows.deployment.network import Decision, Decisions, Network
from anomalib_flows.deployment.parts import label
from anomalib_flows.deployment.resizing import hide_padding, resize
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.types import ImageSize, InputError, first_line

Interface = Literal["native", "model-api", "model-api-map", "anomalib"]

OUTPUTS: dict[Interface, tuple[str, ...]] = {
    "native": Decisions._fields,
    "model-api": Decisions._fields[:4],
    "model-api-map": ("raw_map",),
    "anomalib": Decisions._fields[:4],
}


@dataclass(frozen=True, kw_only=True)
class GraphOptions:
    """What goes into a graph and comes out of it.

    Args:
        interface: Who reads it: ``native`` our runtime; ``model-api`` OpenVINO Model API in Python; ``model-api-map``
            its C++ side, a raw map only; ``anomalib`` its OpenVINOInferencer.
        input_layout: Order of an image's axes, of ``native``.
        channels: Order of its colours, of ``native``.
        input_size: Height and width of the images, if all have one; devices without dynamic shapes need it.
        batch: Images at once: 1, a fixed number, or 0 for any.
        preprocessing: Whether resizing is in the graph; else it takes RGB values from 0 to 255 of the model's size as
            floats, NCHW.
    """

    interface: Interface = "native"
    input_layout: Literal["NHWC", "NCHW"] = "NHWC"
    channels: Literal["RGB", "BGR"] = "RGB"
    input_size: ImageSize | None = None
    batch: int = 1
    preprocessing: bool = True


def build_graph(pipeline: Pipeline, options: GraphOptions) -> ov.Model:
    """Build the graph of a calibrated pipeline; operations are named by the part they belong to.

    Raises:
        InputError: If the model cannot be traced, or not for any number of images.
    """
    size, batch = pipeline.detector.image_size, options.batch or -1
    images, pixels = make_input(options, size)
    inner = None
    if options.preprocessing:
        pixels, inner = resize(pixels, size, pipeline.preprocess.mode)
    maps, ends = connect_network(pipeline, pixels, [batch, 3, *size])
    if inner is not None:
        maps = hide_padding(maps, inner, size)
    raw_only = options.interface == "model-api-map"
    outputs = [maps] if raw_only else connect(Decision(pipeline.postprocess), maps, [batch, 1, *size])
    names = OUTPUTS[options.interface]
    model = ov.Model([result(*pair) for pair in zip(outputs, names, strict=False)], [images], "anomalib_flows")
    label(model, ends, rest="decision")
    model.validate_nodes_and_infer_types()
    return model


def make_input(options: GraphOptions, size: ImageSize) -> tuple[ov.Node, ov.Output]:
    """Make the input, and float RGB values from 0 to 255, (N, 3, h, w), of it."""
    if not options.preprocessing:
        images = ops.parameter([options.batch or -1, 3, *size], ov.Type.f32, name="image")
        return images, images.output(0)
    floats = options.interface == "anomalib"
    height, width = options.input_size or (-1, -1)
    last = options.input_layout == "NHWC" and not floats
    shape = [height, width, 3] if last else [3, height, width]
    images = ops.parameter([options.batch or -1, *shape], ov.Type.f32 if floats else ov.Type.u8, name="image")
    images.set_layout(ov.Layout("NHWC" if last else "NCHW"))
    images.output(0).set_names({"image"})
    pixels = images if floats else ops.convert(images, "f32")
    if last:
        pixels = ops.transpose(pixels, ops.constant([0, 3, 1, 2], ov.Type.i64))
    if floats:
        pixels = ops.multiply(pixels, ops.constant(255.0, ov.Type.f32))
    if options.channels == "BGR":
        pixels = ops.gather(pixels, ops.constant([2, 1, 0], ov.Type.i64), ops.constant(1, ov.Type.i64))
    return images, pixels.output(0)


def connect_network(
    pipeline: Pipeline, pixels: ov.Output, shape: list[int]
) -> tuple[ov.Output, dict[str, list[ov.Node]]]:
    """Let the network go on from pixels; return its maps, and the last operations of each part."""
    maps, unsmoothed, normalised, *others = connect(flat := Flat(Network(pipeline)), pixels, shape)
    features, whitened = others[: flat.features], others[flat.features :]
    marked = {"preprocess": [normalised], "encoder": features, "whitening": whitened, "flow": [unsmoothed]}
    return maps, {part: [value.get_node() for value in values] for part, values in marked.items()}


class Flat(nn.Module):
    """A network with its maps and marks in one tuple, as tracing wants them."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network, self.features = network, 0

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map images of the right size."""
        marked = self.network(images)
        self.features = len(marked.features)
        return (marked.map, marked.unsmoothed, marked.normalised, *marked.features, *marked.whitened)


def connect(module: nn.Module, value: ov.Output, shape: list[int]) -> list[ov.Output]:
    """Let a module go on from a value of the graph; return what it answers."""
    converted = convert(module, shape)
    outputs = [result.input_value(0) for result in converted.get_results()]
    converted.get_parameters()[0].output(0).replace(value)
    return outputs


def convert(module: nn.Module, shape: list[int]) -> ov.Model:
    """Convert a module of one input, of which the first dimension may be -1."""
    example = torch.rand(2 if shape[0] == -1 else shape[0], *shape[1:])
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing, that shapes become constants
        try:
            traced = torch.jit.trace(module.eval(), example, check_trace=False)
            return ov.convert_model(traced, input=[shape])
        except Exception as error:
            raise InputError(f"This model cannot be converted to OpenVINO: {first_line(error)}") from error


def result(value: ov.Output, name: str) -> ov.Node:
    """Make an output of a name."""
    value.set_names({name})
    made = ops.result(value)
    made.set_friendly_name(name)
    return made
