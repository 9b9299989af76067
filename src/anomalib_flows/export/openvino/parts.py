"""Which part of a graph an operation belongs to: told by what lies between marked tensors, not by luck with names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import openvino as ov

from anomalib_flows.runtime.parts import PARTS, part_of


def ancestors(nodes: Iterable[ov.Node]) -> set[str]:
    """Names of nodes and of all that they are computed from."""
    found: set[str] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if node.get_friendly_name() not in found:
            found.add(node.get_friendly_name())
            waiting += [value.get_node() for value in node.input_values()]
    return found


def label(model: ov.Model, ends: Mapping[str, Iterable[ov.Node]], rest: str) -> None:
    """Begin the name of each operation with its part.

    Args:
        model: The graph.
        ends: The last operations of each part, in the order of the parts: what both come from is of the earlier one.
        rest: The part of all others.
    """
    within = {part: ancestors(nodes) for part, nodes in ends.items()}
    for node in model.get_ops():
        name = node.get_friendly_name()
        part = next((part for part, names in within.items() if name in names), rest)
        node.set_friendly_name(f"{part}/{name}")


def sizes(model: ov.Model) -> dict[str, int]:
    """Bytes of the constants of each part; a constant is of the part that uses it."""
    total = dict.fromkeys(PARTS, 0)
    for node in model.get_ops():
        if node.get_type_name() == "Constant":
            total[part_of(first_named(node).get_friendly_name())] += node.get_byte_size()
    return total


def first_named(node: ov.Node) -> ov.Node:
    """Follow what an operation is used for until the name says the part; weights of INT8 have new names."""
    while node.get_friendly_name().partition("/")[0] not in PARTS:
        users = node.output(0).get_target_inputs() if node.get_output_size() else ()
        if not users:
            break
        node = next(iter(users)).get_node()
    return node
