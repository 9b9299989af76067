"""An assertion with a message that also works if Python runs without assertions."""

from __future__ import annotations


def ensure(condition: bool, otherwise: str) -> None:
    """Raise an AssertionError with a message unless a condition holds.

    Args:
        condition: The condition.
        otherwise: The message.

    Raises:
        AssertionError: If the condition does not hold.
    """
    if not condition:
        raise AssertionError(otherwise)
