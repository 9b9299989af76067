"""The reference lists everything that is public."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest

import anomalib_flows
from anomalib_flows import flows, metrics, runtime, testing

API = (Path(__file__).parents[2] / "docs/reference/api.md").read_text(encoding="utf-8")


def public(package: ModuleType) -> set[str]:
    """Return the classes and functions that a package offers."""
    return {
        name for name in package.__all__ if inspect.isroutine(one := getattr(package, name)) or inspect.isclass(one)
    }


@pytest.mark.parametrize(
    "package", [anomalib_flows, flows, metrics, runtime, testing], ids=lambda package: package.__name__
)
def test_every_public_name_is_in_the_api_reference(package: ModuleType) -> None:
    listed = set(re.findall(r"^   (?:~\S+\.)?(\w+)$", API, re.MULTILINE))
    assert not public(package) - listed
    assert len(public(package)) >= 3
