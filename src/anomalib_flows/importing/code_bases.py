"""Checkpoints of each code base, taken apart by the names of their tensors."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Literal

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.types import ImageSize
from anomalib_flows.importing import encoders, freia
from anomalib_flows.importing.freia import Flow, State
from anomalib_flows.importing.inert import Checkpoint
from anomalib_flows.importing.options import Source

CFLOW_AD_ENCODERS = r"resnet(18|34|50)|resnext50_32x4d|wide_resnet50_2|vit_base_patch16_(224|384)"
HALF = (0.5, 0.5, 0.5)


@dataclass
class Parts:
    """A trained model in parts.

    Args:
        model: ``fastflow`` or ``cflow``.
        encoder: Tensors of the encoder, by timm's names.
        flows: The flow of each feature map.
        norms: Tensors of the norms of the feature maps; empty if there are no norms.
        backbone: Name of the encoder in timm.
        layers: The feature maps, by timm's indices.
        image_size: Image size that the model was trained with; None if the file does not contain it.
        options: Further options of our model.
    """

    model: Literal["fastflow", "cflow"]
    encoder: State
    flows: list[Flow]
    backbone: str
    layers: list[int]
    norms: State = field(default_factory=dict)
    image_size: ImageSize | None = None
    options: dict[str, Any] = field(default_factory=dict)


def read_parts(checkpoint: Checkpoint, source: Source, backbone: str | None) -> Parts:
    """Take a checkpoint apart."""
    if not KEYS[source] <= checkpoint.content.keys():
        others = [name for name, keys in KEYS.items() if keys <= checkpoint.content.keys()]
        advice = f"it looks like one of {others[0]}, `from` {others[0]}" if others else "name another file"
        raise InputError(f"{checkpoint.file} is not a checkpoint of {source}: {advice}.")
    return READERS[source](checkpoint, backbone)


def gathierry_parts(checkpoint: Checkpoint, backbone: str | None) -> Parts:
    """Take apart a checkpoint of https://github.com/gathierry/FastFlow."""
    state = checkpoint.tensors(checkpoint.content["model_state_dict"])
    return fastflow_parts(checkpoint, state, "nf_flows.", backbone)


def anomalib_parts(checkpoint: Checkpoint, backbone: str | None) -> Parts:
    """Take apart a checkpoint of anomalib's FastFlow or CFLOW, which Lightning wrote.

    Thresholds are left out, since they come from labelled images.
    """
    weights = dict_entry(checkpoint.content, "state_dict")
    of_model = {k: v for k, v in weights.items() if str(k).startswith("model.")}
    state = freia.take_prefix(checkpoint.tensors(of_model), "model.")
    settings = dict_entry(checkpoint.content, "hyper_parameters")
    named = backbone or (name if isinstance(name := settings.get("backbone"), str) else None)
    if any(key.startswith("fast_flow_blocks.") for key in state):
        parts = fastflow_parts(checkpoint, state, "fast_flow_blocks.", named)
    elif any(key.startswith("decoders.") for key in state):
        parts = anomalib_cflow_parts(checkpoint, state, settings, named)
    else:
        raise InputError(f"{checkpoint.file} holds neither anomalib's FastFlow nor its CFLOW: name another file.")
    return with_transforms(parts, checkpoint)


def fastflow_parts(checkpoint: Checkpoint, state: State, prefix: str, backbone: str | None) -> Parts:
    """Take apart the state dict of a FastFlow; both code bases use the same feature maps."""
    encoder, norms = freia.take_prefix(state, "feature_extractor."), freia.take_prefix(state, "norms.")
    flows = freia.split_flows(freia.take_prefix(state, prefix))
    require_empty(checkpoint, state)
    backbone = backbone or encoders.identify_network(encoder)
    blocks = {"deit_base_distilled_patch16_384": [7], "cait_m48_448": [40]}  # FastFlow's table 6
    parts = Parts("fastflow", encoder, flows, backbone, blocks.get(backbone.partition(".")[0], [1, 2, 3]), norms)
    parts.image_size = encoders.position_size(encoder) or norm_size(norms, backbone)
    return parts


def norm_size(norms: State, backbone: str) -> ImageSize | None:
    """Return the image size that the first norm, (C, h, w), was made for."""
    first = norms.get("0.weight")
    if first is None or first.ndim != 3:
        return None
    stride = encoders.feature_infos(backbone)[1]["reduction"]
    return first.shape[1] * stride, first.shape[2] * stride


def anomalib_cflow_parts(checkpoint: Checkpoint, state: State, settings: dict[Any, Any], backbone: str | None) -> Parts:
    """Take apart the state dict of anomalib's CFLOW."""
    encoder = freia.take_prefix(state, "encoder.feature_extractor.")
    flows = freia.split_flows(freia.take_prefix(state, "decoders."))
    require_empty(checkpoint, state)
    if "pos_embed" in encoder:
        raise InputError(
            f"{checkpoint.file} holds a CFLOW with a transformer, whose blocks anomalib normalises and we do not: "
            "import one with a convolutional encoder."
        )
    backbone = backbone or encoders.identify_network(encoder)
    layers = find_layers(backbone, flows, settings.get("layers"))
    clamp = settings.get("clamp_alpha")
    options = {"clamp": clamp} if isinstance(clamp, int | float) else {}
    return Parts("cflow", encoder, flows, backbone, layers, options=options)


def find_layers(backbone: str, flows: list[Flow], names: Any) -> list[int]:
    """Find feature maps by their names, such as ``layer2``, or else by the channels of their flows."""
    infos = encoders.feature_infos(backbone)
    if isinstance(names, list | tuple):
        known = {info["module"]: i for i, info in enumerate(infos)} | {i: i for i in range(len(infos))}
        found = [known.get(name, -1) if isinstance(name, str | int) else -1 for name in names]
    else:  # the last of the maps with this number of channels, at the end of a stage
        known = {info["num_chs"]: i for i, info in enumerate(infos)}
        found = [known.get(freia.flow_channels(flow), -1) for flow in flows]
    if -1 in found or found != sorted(set(found)) or len(found) != len(flows):
        raise InputError(f"The flows in the file are not those of feature maps of {backbone}: name it as `backbone`.")
    return found


def with_transforms(parts: Parts, checkpoint: Checkpoint) -> Parts:
    """Add the preparation of images that anomalib records since version 2.7."""
    spec = dict_entry(dict_entry(checkpoint.content, "anomalib_pre_processor_config"), "transform")
    steps = dict_entry(spec, "init_args").get("transforms", [spec] if spec else [])
    for step in (s for s in steps if isinstance(s, dict)) if isinstance(steps, list) else ():
        name, arguments = str(step.get("class_path")).rpartition(".")[2], dict_entry(step, "init_args")
        if name == "Resize" and is_number_list(arguments.get("size"), 2, int):
            parts.image_size = parts.image_size or tuple(arguments["size"])
        elif name == "Normalize" and all(is_number_list(arguments.get(key), 3, float) for key in ("mean", "std")):
            parts.options |= {"mean": tuple(arguments["mean"]), "std": tuple(arguments["std"])}
        else:
            raise InputError(
                f"{checkpoint.file} prepares images by {name[:40]} in a way that cannot be imported: import a "
                "model whose images are only resized, to a height and a width, and normalised."
            )
    return parts


def dict_entry(mapping: dict[Any, Any], key: str) -> dict[Any, Any]:
    """Return the dictionary in a dictionary; an empty one if there is none."""
    value = mapping.get(key)
    return value if isinstance(value, dict) else {}


def is_number_list(value: Any, count: int, kind: type[int] | type[float]) -> bool:
    """Return whether a value is a list of ``count`` numbers."""
    return isinstance(value, list | tuple) and len(value) == count and all(isinstance(item, kind) for item in value)


def cflow_ad_parts(checkpoint: Checkpoint, backbone: str | None) -> Parts:
    """Take apart a checkpoint of https://github.com/gudovskiy/cflow-ad.

    Its ResNets reflect images at borders. With fewer flows it leaves out the first of the feature maps below.
    """
    decoders = checkpoint.content["decoder_state_dict"]
    if not isinstance(decoders, list):
        raise checkpoint.error("its decoders are not a list")
    encoder = checkpoint.tensors(checkpoint.content["encoder_state_dict"])
    states = enumerate(map(checkpoint.tensors, decoders))
    flows = freia.split_flows({f"{i}.{key}": tensor for i, state in states for key, tensor in state.items()})
    backbone = backbone or encoders.identify_network(encoder)
    if not re.fullmatch(CFLOW_AD_ENCODERS, backbone.partition(".")[0]):
        raise InputError(f"The encoder {backbone} of cflow-ad cannot be imported: only its ResNets and ViTs can be.")
    transformer = backbone.startswith("vit")
    layers = [10, 2, 6] if transformer else [2, 3, 4]
    if len(flows) > len(layers):
        raise InputError(f"{checkpoint.file} holds {len(flows)} decoders, where cflow-ad makes 1, 2 or 3.")
    order, ordered = zip(*sorted(zip(layers[-len(flows) :], flows, strict=True), key=itemgetter(0)), strict=True)
    parts = Parts("cflow", encoder, list(ordered), backbone, list(order))
    parts.image_size = encoders.position_size(encoder)
    parts.options = {"mean": HALF, "std": HALF} if transformer else {"padding": "reflect"}
    return parts


def require_empty(checkpoint: Checkpoint, state: State) -> None:
    """Raise an InputError if tensors are left that our models have no place for."""
    if state:
        raise InputError(f"{checkpoint.file} holds {min(state)}, which cannot be imported: name another file.")


KEYS: dict[Source, set[str]] = {
    "anomalib": {"state_dict", "pytorch-lightning_version"},
    "gathierry": {"model_state_dict"},
    "cflow-ad": {"encoder_state_dict", "decoder_state_dict"},
}
"""Keys by which the checkpoints of each code base are recognised."""

READERS: dict[Source, Callable[[Checkpoint, str | None], Parts]] = {
    "anomalib": anomalib_parts,
    "gathierry": gathierry_parts,
    "cflow-ad": cflow_ad_parts,
}
