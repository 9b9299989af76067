"""Encoders in checkpoints: the network of timm, and the tensors that our encoder needs."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from anomalib_flows.core.errors import InputError, first_line, require
from anomalib_flows.core.types import ImageSize
from anomalib_flows.encoders.weights import require_backbone, timm
from anomalib_flows.importing.freia import State

RESNETS = {
    # Blocks of each layer, and the shape of the second convolution's weights.
    "resnet18": ((2, 2, 2, 2), (64, 64)),
    "resnet34": ((3, 4, 6, 3), (64, 64)),
    "resnet50": ((3, 4, 6, 3), (64, 64)),
    "wide_resnet50_2": ((3, 4, 6, 3), (128, 128)),
    "resnext50_32x4d": ((3, 4, 6, 3), (128, 4)),
    "resnet101": ((3, 4, 23, 3), (64, 64)),
    "wide_resnet101_2": ((3, 4, 23, 3), (128, 128)),
}
BASIC_BLOCKS = {"resnet18", "resnet34"}
TRANSFORMERS = {
    # Positions, class tokens among them, and channels.
    "deit_base_distilled_patch16_384": (24 * 24 + 2, 768),
    "cait_m48_448": (28 * 28, 768),
    "vit_base_patch16_224": (14 * 14 + 1, 768),
    "vit_base_patch16_384": (24 * 24 + 1, 768),
}
PATCH = 16


def identify_network(state: State) -> str:
    """Return the name of an encoder's network, found by its weights.

    A file may lack the layers after the last one that was used; networks that differ only there are not told apart.
    """
    if "pos_embed" in state:
        shape = tuple(state["pos_embed"].shape[1:])
        found = next((name for name, known in TRANSFORMERS.items() if known == shape), None)
    else:
        found = next((name for name in RESNETS if is_resnet(name, state)), None)
    if found is None:
        raise InputError("The encoder in the file is not recognised by its weights: name it as `backbone`.")
    return found


def is_resnet(name: str, state: State) -> bool:
    """Return whether a state dict is that of a ResNet, or of its first layers."""
    blocks, width = RESNETS[name]
    counts = [len({key.split(".")[1] for key in state if key.startswith(f"layer{i}.")}) for i in range(1, 5)]
    used = [count for count in counts if count]
    basic = "layer1.0.conv3.weight" not in state
    second = state.get("layer1.0.conv2.weight")
    fits = counts == [*blocks[: len(used)], *[0] * (4 - len(used))] and basic == (name in BASIC_BLOCKS)
    return bool(used) and fits and second is not None and tuple(second.shape[:2]) == width


def position_size(state: State) -> ImageSize | None:
    """Return the image size of a transformer's embedding of positions; None for other networks."""
    if "pos_embed" not in state:
        return None
    side = PATCH * int(state["pos_embed"].shape[1] ** 0.5)  # one or two class tokens do not change the root
    return side, side


def feature_infos(backbone: str) -> list[dict[str, Any]]:
    """Return timm's description of each feature map of a network: channels, stride and module."""
    require_backbone(backbone)
    try:
        infos: list[dict[str, Any]] = timm().create_model(backbone, features_only=True).feature_info.info
    except (RuntimeError, AttributeError, AssertionError) as error:  # raised for networks without feature maps
        raise InputError(f"`backbone` {backbone} gives no feature maps ({first_line(error)}): name another.") from error
    require(len(infos) > 1, "backbone", backbone, "a network with several feature maps")
    return infos


def select_encoder(state: State, wanted: Collection[str]) -> State:
    """Rename an encoder's tensors to our names, and leave out the layers after the last one that is used.

    Args:
        state: Tensors of the file's encoder, by timm's names.
        wanted: Names in our encoder, which may begin with ``model.``, as a pruned transformer's do.
    """
    sources = {key: key if key in state else key.removeprefix("model.") for key in wanted}
    kept = set(sources.values())
    if left := sorted(key for key in state if key not in kept and not is_after(key, kept)):
        raise InputError(f"The encoder in the file is another one, since it also has {left[0]}: name it as `backbone`.")
    return {key: state[source] for key, source in sources.items() if source in state}


def is_after(key: str, kept: Collection[str]) -> bool:
    """Return whether a tensor belongs to a module after those that are kept: a later block, layer, or the head."""
    if (number := block_number(key)) is not None:
        return number > max((n for n in map(block_number, kept) if n is not None), default=-1)
    return key.partition(".")[0] not in {other.partition(".")[0] for other in kept}


def block_number(key: str) -> int | None:
    """Return the number of the top-level block that a tensor belongs to."""
    match = re.match(r"blocks\.(\d+)\.", key)
    return int(match[1]) if match else None
