"""The networks of timm, together with ours."""

from __future__ import annotations

from functools import cache
from typing import Any


@cache
def timm() -> Any:
    """Import timm when it is first needed, since it takes seconds, and register our encoder with it."""
    import timm

    from anomalib_flows.encoders import texture13  # noqa: F401 - registers our encoder with timm

    return timm


def backbone_names() -> list[str]:
    """Return the names of timm's models; nearly all give feature maps."""
    return timm().list_models()  # type: ignore[no-any-return]
