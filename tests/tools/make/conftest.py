"""Fixtures of the tests of drawn images."""

import pytest
import torch

from pretraining.brush import Brush


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def brush() -> Brush:
    return Brush(torch.Generator().manual_seed(3), 4, 64, torch.tensor([True, True, False, False]), samples=3)
