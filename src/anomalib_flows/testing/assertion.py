"""An assertion with a message that also works if Python runs without assertions."""

from __future__ import annotations


def ensure(condition: bool, otherwise: str) -> None:
    """Raise an AssertionError with a message unless a condition holds."""
    if not condition:
        raise AssertionError(otherwise)
