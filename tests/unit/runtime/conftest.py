"""An exported model to predict with."""

from pathlib import Path

import pytest

from anomalib_flows.runtime.model_card import ModelCard
from tiny_export import CARD, write


@pytest.fixture
def card() -> ModelCard:
    return CARD


@pytest.fixture
def export(tmp_path: Path):
    """A function that writes the model, with some facts of its card replaced."""

    def export(name: str = "model.xml", **options) -> Path:
        return write(tmp_path / name, **options)

    return export
