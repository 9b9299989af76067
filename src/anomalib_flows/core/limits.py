"""The largest sizes that options, configurations and received models may ask for, before anything is built."""

from __future__ import annotations

from anomalib_flows.core.errors import FieldError, require

LARGEST: dict[str, float] = {
    # Far beyond what is of use, and far below what fills a memory or takes for ever.
    "image.size": 4096,
    "input.size": 16384,
    "input.batch": 1024,
    "int8.images": 10**6,
    "loader.batch_size": 4096,
    "loader.workers": 256,
    "loader.max_megapixels": 10**4,
    "max_megapixels": 10**4,
    "trainer.devices": 1024,
    "trainer.max_steps": 10**9,
    "trainer.max_epochs": 10**6,
    "trainer.gradient_clip": 1e9,
    "trainer.cache_variants": 10**4,
    "pictures": 10**9,
    "max_missed": 10**9,
    "seconds": 3600,
    "streams": 1024,
    "steps": 256,
    "hidden_ratio": 16,
    "components": 2**16,
    "kernel_sizes": 31,
    "clamp": 20,
    "condition": 1024,
    "vectors_per_step": 2**20,
    "max_vectors": 2**30,
    "learning_rate": 1000,
    "weight_decay": 1000,
    "every": 10**6,
    "timm_args": 4096,
}
"""Largest values, by the names of arguments and fields."""


def require_size(field: str, value: float | None, least: float, note: str = "") -> None:
    """Raise a FieldError unless a number is None, or from ``least`` to the largest one of its name.

    Args:
        field: Name of the argument or field.
        value: The value that was given.
        least: Smallest value.
        note: What follows the smallest value in the error.
    """
    if value is not None:
        require(value >= least, field, value, f"at least {least:g}{note}")
        require_at_most(field, value)


def require_at_most(field: str, value: float) -> None:
    """Raise a FieldError if a number is above the largest one of its name."""
    most = LARGEST[field]
    if not value <= most:
        raise FieldError(field, value, f"at most {most:,.0f}")
