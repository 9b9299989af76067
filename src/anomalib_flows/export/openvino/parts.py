"""Assign the operations of a graph to its parts, by the intermediate results that separate the parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import openvino as ov

from anomalib_flows.runtime.parts import PARTS, part_of


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


def sizes(model: ov.Model) -> dict[str, int]:
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
