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
from anomalib_flows.deployment.resizing import Sides, hide_padding, integer, real, resize, vector
from anomalib_flows.geometry import ResizeMode
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.models.postprocess import Postprocess
from anomalib_flows.runtime.card import Interface
from anomalib_flows.types import ImageSize, InputError, first_line, require

OUTPUTS: dict[Interface, tuple[str, ...]] = {
    "native": Decisions._fields,
    "model-api": Decisions._fields[:4],
    "model-api-map": ("raw_map",),
    "anomalib": Decisions._fields[:4],
}
RAW = OUTPUTS["model-api-map"]


@dataclass(frozen=True, kw_only=True)
class InputOptions:
    """What a graph takes.

    Args:
        layout: Order of an image's axes.
        channels: Order of its colours.
        size: Height and width of the images, if all have one; devices without dynamic shapes need it.
        batch: Images at once: 1, another number, or 0 for any.
        preprocessing: Whether resizing is in the graph; else it takes RGB values from 0 to 255 of the model's size as
            floats, NCHW.
    """

    layout: Literal["NHWC", "NCHW"] = "NHWC"
    channels: Literal["RGB", "BGR"] = "RGB"
    size: ImageSize | None = None
    batch: int = 1
    preprocessing: bool = True

    def __post_init__(self) -> None:
        """Refuse numbers of no use when they are given."""
        require(self.batch >= 0, "--input.batch", self.batch, "at least 1, or 0 for any number")
        require(self.size is None or min(self.size) > 0, "--input.size", self.size, "height,width in pixels")


def build_network(pipeline: Pipeline, options: InputOptions, *, unit_floats: bool = False) -> ov.Model:
    """Build the graph from images to raw maps; operations are named by the part they belong to.

    Args:
        pipeline: What is deployed.
        options: What the graph takes.
        unit_floats: Whether images are floats from 0 to 1.

    Raises:
        InputError: If the model cannot be converted, or not for any number of images.
    """
    size, batch = pipeline.detector.image_size, options.batch or -1
    images = make_input(options, size, unit_floats)
    pixels, inner = make_pixels(images, options, size, pipeline.preprocess.mode, unit_floats)
    maps, ends = connect_network(pipeline, pixels, [batch, 3, *size])
    if inner is not None:
        maps = hide_padding(maps, inner, size)
    model = ov.Model([output(maps, RAW[0])], [images], "anomalib_flows")
    label(model, ends, rest="decision")
    return model


def decide(network: ov.Model, postprocess: Postprocess, interface: Interface) -> ov.Model:
    """Let a graph that gives raw maps go on to decisions, by the constants of a calibrated postprocess."""
    if OUTPUTS[interface] == RAW:
        return network
    maps = network.get_results()[0].input_value(0)
    before = {node.get_friendly_name() for node in network.get_ops()}
    shape = maps.get_partial_shape()
    decided = connect(Decision(postprocess), maps, [-1 if d.is_dynamic else d.get_length() for d in shape])
    pairs = zip(decided, OUTPUTS[interface], strict=False)
    model = ov.Model([output(*pair) for pair in pairs], network.get_parameters(), network.get_friendly_name())
    for node in model.get_ops():
        if node.get_friendly_name() not in before:
            node.set_friendly_name(f"decision/{node.get_friendly_name()}")
    return model


def make_input(options: InputOptions, size: ImageSize, unit_floats: bool) -> ov.Node:
    """Make the input."""
    batch, (height, width) = options.batch or -1, options.size or (-1, -1)
    if not options.preprocessing:
        height, width = size
    last = options.layout == "NHWC" and options.preprocessing
    kind = ov.Type.u8 if options.preprocessing and not unit_floats else ov.Type.f32
    images = ops.parameter([batch, height, width, 3] if last else [batch, 3, height, width], kind, name="image")
    images.set_layout(ov.Layout("NHWC" if last else "NCHW"))
    images.output(0).set_names({"image"})
    return images


def make_pixels(
    images: ov.Node, options: InputOptions, size: ImageSize, mode: ResizeMode, unit_floats: bool
) -> tuple[ov.Output, Sides | None]:
    """Make RGB values from 0 to 255 of the model's size, (N, 3, H, W), and say what is no padding."""
    if not options.preprocessing:
        return images.output(0), None
    values = ops.multiply(images, real(255.0)) if unit_floats else ops.convert(images, "f32")
    pixels, inner = resize(values.output(0), size, mode, channels_last=options.layout == "NHWC")
    if options.channels == "BGR":
        pixels = ops.gather(pixels, vector(2, 1, 0), integer(1)).output(0)
    return pixels, inner


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


def output(value: ov.Output, name: str) -> ov.Node:
    """Make an output of a name."""
    value.set_names({name})
    made = ops.result(value)
    made.set_friendly_name(name)
    return made
