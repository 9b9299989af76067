"""Parts of an exported model. The name of each operation begins with the name of its part."""

from __future__ import annotations

PARTS = ("preprocess", "encoder", "whitening", "flow", "decision")


def part_of(*names: str) -> str:
    """Return the part that the first name with a part belongs to, or ``decision`` if no name has one.

    Args:
        names: Name of an operation, or names of the operations that a device fused into one.

    Example:
        >>> part_of("encoder/conv1"), part_of("Multiply_7", "flow/add"), part_of("Result_7")
        ('encoder', 'flow', 'decision')
    """
    beginnings = (name.partition("/")[0] for name in names)
    return next((part for part in beginnings if part in PARTS), "decision")
