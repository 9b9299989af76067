"""An exported model to judge with."""

from pathlib import Path

import pytest

from anomalib_flows.runtime.card import Card
from tiny_export import CARD, write


@pytest.fixture
def card() -> Card:
    return CARD


@pytest.fixture
def export(tmp_path: Path):
    """A function that writes the model, with some facts of its card replaced."""

    def export(name: str = "model.xml", **options) -> Path:
        return write(tmp_path / name, **options)

    return export
