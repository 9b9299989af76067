"""Flows made of FrEIA's ``AllInOneBlock``, which all three code bases use."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from anomalib_flows.core.errors import InputError

State = dict[str, Tensor]
Flow = list[State]
"""The tensors of each block of a flow, by their names in the block."""

SUBNET = ("subnet.0.weight", "subnet.0.bias", "subnet.2.weight", "subnet.2.bias")
BLOCK = {"global_scale", "global_offset", "w_perm", "w_perm_inv", *SUBNET}


def take_prefix(state: State, prefix: str) -> State:
    """Remove the tensors with a prefix from a state dict, and return them without it."""
    return {key.removeprefix(prefix): state.pop(key) for key in list(state) if key.startswith(prefix)}


def split_numbered(state: State, what: str) -> list[State]:
    """Split ``0.a``, ``0.b``, ``1.a``, ... by number."""
    parts: dict[str, State] = {}
    for key, tensor in state.items():
        number, _, rest = key.partition(".")
        parts.setdefault(number, {})[rest] = tensor
    order = [str(i) for i in range(len(parts))]
    if not parts or set(order) != parts.keys():
        raise InputError(f"The {what} in the file are not numbered 0, 1, 2, ..., or there are none.")
    return [parts[number] for number in order]


def split_flows(state: State) -> list[Flow]:
    """Split the state dict of a list of flows, ``FrEIA.framework.SequenceINN``, into flows and blocks."""
    found: list[Flow] = []
    for i, flow in enumerate(split_numbered(state, "flows")):
        blocks = split_numbered(take_prefix(flow, "module_list."), f"blocks of flow {i}")
        for k, block in enumerate(blocks):
            require_block(block, f"Block {k} of flow {i}")
        if flow or len(blocks) != len(found[0] if found else blocks):
            raise InputError(f"Flow {i} of the file holds more than blocks, or not as many as the others.")
        found.append(blocks)
    return found


def require_block(block: State, where: str) -> None:
    """Raise an InputError unless a block is a plain ``AllInOneBlock`` with a network of two layers."""
    if block.keys() != BLOCK:
        lacking, more = sorted(BLOCK - block.keys()), sorted(block.keys() - BLOCK)
        detail = f"it lacks {', '.join(lacking)}" if lacking else f"{', '.join(more)} cannot be imported"
        raise InputError(
            f"{where} of the file is not one of FrEIA's AllInOneBlock as FastFlow and CFLOW use it: {detail}."
        )
    C = block["global_scale"].numel()
    weight = block["subnet.0.weight"]
    if C < 2 or block["w_perm"].numel() != C * C or weight.ndim not in (2, 4) or weight.shape[1] < C - C // 2:
        raise InputError(f"{where} of the file holds tensors whose shapes do not fit together.")


def flow_channels(flow: Flow) -> int:
    """Return the number of channels C of a flow."""
    return flow[0]["global_scale"].numel()


def condition_length(flow: Flow) -> int:
    """Return the length of the condition that a flow's networks take with the first part of the channels."""
    C = flow_channels(flow)
    return flow[0]["subnet.0.weight"].shape[1] - (C - C // 2)


def kernel_sizes(flow: Flow) -> list[int]:
    """Return the kernel sizes of the convolutions as the shortest list that repeats.

    Example:
        >>> import torch
        >>> kernel_sizes([{"subnet.0.weight": torch.empty(4, 2, k, k)} for k in (3, 1, 3, 1, 3)])
        [3, 1]
    """
    sizes = [block["subnet.0.weight"].shape[-1] for block in flow]
    lengths = range(1, len(sizes) + 1)
    return next(sizes[:n] for n in lengths if all(size == sizes[i % n] for i, size in enumerate(sizes)))


def hidden_ratio(found: list[Flow]) -> float:
    """Return the ratio r with the fewest digits that gives the hidden channels int(r n) of all flows with n inputs.

    Example:
        >>> import torch
        >>> widths = {128: 20, 256: 40, 512: 81}
        >>> hidden_ratio([[{"subnet.0.weight": torch.empty(h, n, 1, 1)}] for n, h in widths.items()])
        0.16
    """
    shapes = {(flow[0]["subnet.0.weight"].shape[1], len(flow[0]["subnet.0.weight"])) for flow in found}
    least = max(hidden / inputs for inputs, hidden in shapes)
    for digits in range(8):
        ratio: float = math.ceil(least * 10**digits) / 10**digits
        if all(int(inputs * ratio) == hidden for inputs, hidden in shapes):
            return ratio
    raise InputError("The networks of the file's flows are not all of one hidden ratio.")


def permutation_kind(found: list[Flow]) -> str:
    """Return ``hard`` if channels are permuted, ``soft`` if they are rotated."""
    return "hard" if all(is_permutation(mixing_matrix(block)) for flow in found for block in flow) else "soft"


def mixing_matrix(block: State) -> Tensor:
    """Return the matrix W (C, C) of a block that mixes channels, z = W y."""
    return block["w_perm"].reshape([block["global_scale"].numel()] * 2)


def is_permutation(weights: Tensor) -> bool:
    """Return whether a matrix has a single one in each row and column, and zeros elsewhere."""
    ones = weights == 1
    return bool(((weights == 0) | ones).all() and (ones.sum(0) == 1).all() and (ones.sum(1) == 1).all())


def translate_flows(found: list[Flow], layers: tuple[str, str]) -> State:
    """Rename the tensors of flows to those of our models, whose networks have two layers of these names."""
    kind = permutation_kind(found)
    return {
        f"flows.{i}.steps.{k}.steps.{name}": tensor
        for i, flow in enumerate(found)
        for k, block in enumerate(flow)
        for name, tensor in translate_block(block, kind, layers)
    }


def translate_block(block: State, kind: str, layers: tuple[str, str]) -> Iterator[tuple[str, Any]]:
    """Yield the tensors of a block with their names in our step: coupling, scaling, permutation."""
    for layer, name in zip(("0", "2"), layers, strict=True):
        yield f"0.subnet.{name}.weight", block[f"subnet.{layer}.weight"]
        yield f"0.subnet.{name}.bias", block[f"subnet.{layer}.bias"]
    yield "1.scale_logits", block["global_scale"].flatten()
    yield "1.offset", block["global_offset"].flatten()
    yield ("2.order", mixing_matrix(block).argmax(1)) if kind == "hard" else ("2.rotation", mixing_matrix(block))
