"""Flows made of FrEIA's ``AllInOneBlock``, of which all three code bases make theirs."""

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


def take(state: State, prefix: str) -> State:
    """Remove the tensors with a prefix from a state dict, and return them without it."""
    return {key.removeprefix(prefix): state.pop(key) for key in list(state) if key.startswith(prefix)}


def numbered(state: State, what: str) -> list[State]:
    """Split ``0.a``, ``0.b``, ``1.a``, ... by number.

    Raises:
        InputError: If there are none, or the numbers are not 0, 1, 2, ...
    """
    parts: dict[str, State] = {}
    for key, tensor in state.items():
        number, _, rest = key.partition(".")
        parts.setdefault(number, {})[rest] = tensor
    order = [str(i) for i in range(len(parts))]
    if not parts or set(order) != parts.keys():
        raise InputError(f"The {what} in the file are not numbered 0, 1, 2, ..., or there are none.")
    return [parts[number] for number in order]


def flows(state: State) -> list[Flow]:
    """Split the state dict of a list of flows, ``FrEIA.framework.SequenceINN``, into flows and blocks.

    Raises:
        InputError: If they are not made of the blocks that ours can take the place of.
    """
    found: list[Flow] = []
    for i, flow in enumerate(numbered(state, "flows")):
        blocks = numbered(take(flow, "module_list."), f"blocks of flow {i}")
        for k, block in enumerate(blocks):
            require_block(block, f"Block {k} of flow {i}")
        if flow or len(blocks) != len(found[0] if found else blocks):
            raise InputError(f"Flow {i} of the file holds more than blocks, or not as many as the others.")
        found.append(blocks)
    return found


def require_block(block: State, where: str) -> None:
    """Refuse a block that is no plain ``AllInOneBlock`` with a network of two layers."""
    if block.keys() != BLOCK:
        lacking, more = sorted(BLOCK - block.keys()), sorted(block.keys() - BLOCK)
        detail = f"it lacks {', '.join(lacking)}" if lacking else f"{', '.join(more)} cannot be taken over"
        raise InputError(
            f"{where} of the file is not one of FrEIA's AllInOneBlock as FastFlow and CFLOW use it: {detail}."
        )
    C = block["global_scale"].numel()
    weight = block["subnet.0.weight"]
    if C < 2 or block["w_perm"].numel() != C * C or weight.ndim not in (2, 4) or weight.shape[1] < C - C // 2:
        raise InputError(f"{where} of the file holds tensors whose shapes do not fit together.")


def channels(flow: Flow) -> int:
    """Channels C that a flow takes."""
    return flow[0]["global_scale"].numel()


def condition(flow: Flow) -> int:
    """Length of the condition that a flow's networks take beside the first part of the channels."""
    C = channels(flow)
    return flow[0]["subnet.0.weight"].shape[1] - (C - C // 2)


def kernel_sizes(flow: Flow) -> list[int]:
    """Kernel sizes of the convolutions, as the shortest list that repeats.

    Example:
        >>> import torch
        >>> kernel_sizes([{"subnet.0.weight": torch.empty(4, 2, k, k)} for k in (3, 1, 3, 1, 3)])
        [3, 1]
    """
    sizes = [block["subnet.0.weight"].shape[-1] for block in flow]
    lengths = range(1, len(sizes) + 1)
    return next(sizes[:n] for n in lengths if all(size == sizes[i % n] for i, size in enumerate(sizes)))


def hidden_ratio(found: list[Flow]) -> float:
    """Hidden channels as a multiple of the inputs: the roundest ratio r that gives those of all flows, int(r n).

    Raises:
        InputError: If there is none.

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


def permutation(found: list[Flow]) -> str:
    """Tell whether channels are permuted, ``hard``, or rotated, ``soft``."""
    return "hard" if all(is_permutation(matrix(block)) for flow in found for block in flow) else "soft"


def matrix(block: State) -> Tensor:
    """Matrix of a block that mixes channels, (C, C): z = W y."""
    size = block["global_scale"].numel()
    return block["w_perm"].reshape(size, size)


def is_permutation(weights: Tensor) -> bool:
    """Whether there is a single one in each row and column, and zeros elsewhere."""
    ones = weights == 1
    return bool(((weights == 0) | ones).all() and (ones.sum(0) == 1).all() and (ones.sum(1) == 1).all())


def translate(found: list[Flow], layers: tuple[str, str]) -> State:
    """Give the tensors of flows the names that they have in our models.

    Args:
        found: The flows.
        layers: What our network calls its two layers.
    """
    kind = permutation(found)
    return {
        f"flows.{i}.steps.{k}.steps.{name}": tensor
        for i, flow in enumerate(found)
        for k, block in enumerate(flow)
        for name, tensor in step(block, kind, layers)
    }


def step(block: State, kind: str, layers: tuple[str, str]) -> Iterator[tuple[str, Any]]:
    """Yield the tensors of a block by their names in a step of ours: coupling, scaling, permutation."""
    for layer, name in zip(("0", "2"), layers, strict=True):
        yield f"0.subnet.{name}.weight", block[f"subnet.{layer}.weight"]
        yield f"0.subnet.{name}.bias", block[f"subnet.{layer}.bias"]
    yield "1.scale_logits", block["global_scale"].flatten()
    yield "1.offset", block["global_offset"].flatten()
    yield ("2.order", matrix(block).argmax(1)) if kind == "hard" else ("2.rotation", matrix(block))
