"""An assertion that says what is wrong, also where Python runs without assertions."""

from __future__ import annotations


def require(condition: bool, otherwise: str) -> None:
    """Go on only if a condition holds.

    Raises:
        AssertionError: If it does not, with what is wrong instead.
    """
    if not condition:
        raise AssertionError(otherwise)
