"""Parts of an exported model, which the names of its operations begin with."""

from __future__ import annotations

PARTS = ("preprocess", "encoder", "whitening", "flow", "decision")


def part_of(*names: str) -> str:
    """Part that the first name which has one begins with; what has none was put in at the end.

    Args:
        names: Name of an operation, or names of those that a device made it of.

    Example:
        >>> part_of("encoder/conv1"), part_of("Multiply_7", "flow/add"), part_of("Result_7")
        ('encoder', 'flow', 'decision')
    """
    beginnings = (name.partition("/")[0] for name in names)
    return next((part for part in beginnings if part in PARTS), "decision")
