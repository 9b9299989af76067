"""Positional codes are those of the formula, and conditions add what the written-out codes would."""

import math

import pytest
import torch
from torch import Tensor

from anomalib_flows.core.errors import InputError
from anomalib_flows.flows import condition_on
from anomalib_flows.models.components.positions import PositionalCode
from reference.freia_cflow import positional_code

SIZES = [(8, 2, 3), (4, 5, 1), (12, 1, 7), (128, 9, 6)]
every_size = pytest.mark.parametrize(("length", "height", "width"), SIZES)


def entry(length: int, y: int, x: int, i: int) -> float:
    """Entry i of the code at row y and column x."""
    half = length // 2
    number, place = (x, i) if i < half else (y, i - half)
    angle = number * 10_000 ** -(place // 2 * 2 / half)
    return math.cos(angle) if place % 2 else math.sin(angle)


@every_size
def test_codes_are_those_of_the_formula(length, height, width) -> None:
    codes = PositionalCode(length, height, width).codes(torch.arange(height * width))
    expected = [[entry(length, p // width, p % width, i) for i in range(length)] for p in range(height * width)]
    torch.testing.assert_close(codes, torch.tensor(expected), rtol=0, atol=2e-6)
    torch.testing.assert_close(codes, positional_code(length, height, width).flatten(1).T, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("length", "height", "width"), [(4, 60, 50), (128, 32, 32)])
def test_every_position_has_a_code_of_its_own(length, height, width) -> None:
    codes = PositionalCode(length, height, width).codes(torch.arange(height * width)).double()
    distances = torch.cdist(codes, codes) + torch.eye(len(codes)) * 9
    assert float(distances.min()) > 0.01
    torch.testing.assert_close(codes.square().sum(1), torch.full((len(codes),), length / 2).double())


@pytest.fixture
def inputs() -> tuple[Tensor, Tensor]:
    """Hidden units of 3 images at 7 positions, and a weight for codes of length 8."""
    torch.manual_seed(0)
    return torch.randn(3 * 7, 5).double(), torch.randn(5, 8).double()


def test_a_condition_adds_the_image_of_the_codes_to_each_image(inputs) -> None:
    (hidden, weight), positions = inputs, torch.tensor([11, 0, 3, 3, 8, 4, 7])
    code = PositionalCode(8, 4, 3).double()
    written_out = condition_on(code.codes(positions).repeat(3, 1))(hidden, weight)
    torch.testing.assert_close(code.at(positions)(hidden.clone(), weight), written_out, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("height", "width"), [(7, 1), (1, 7)])
def test_a_condition_everywhere_is_the_one_at_all_positions(inputs, height, width) -> None:
    hidden, weight = inputs
    code = PositionalCode(8, height, width).double()
    expected = code.at(torch.arange(7))(hidden.clone(), weight)
    torch.testing.assert_close(code.everywhere()(hidden.clone(), weight), expected, rtol=1e-12, atol=1e-12)


def test_everywhere_is_everywhere_in_an_oblong_map() -> None:
    torch.manual_seed(0)
    code, hidden, weight = PositionalCode(12, 4, 6), torch.zeros(2 * 24, 5), torch.randn(5, 12)
    expected = torch.einsum("dyx,kd->yxk", positional_code(12, 4, 6), weight).expand(2, -1, -1, -1)
    torch.testing.assert_close(code.everywhere()(hidden, weight).view(2, 4, 6, 5), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("everywhere", [True, False])
def test_gradients_reach_hidden_units_and_weight(inputs, everywhere) -> None:
    hidden, weight = (t.requires_grad_() for t in inputs)
    code = PositionalCode(8, 7, 1).double()
    condition = code.everywhere() if everywhere else code.at(torch.arange(7))
    written_out = condition_on(code.codes(torch.arange(7)).repeat(3, 1))
    # A leaf cannot be changed in place; hidden units are no leaf.
    mine = torch.autograd.grad(condition(hidden * 1, weight).sin().sum(), (hidden, weight))
    expected = torch.autograd.grad(written_out(hidden * 1, weight).sin().sum(), (hidden, weight))
    for gradient, wanted in zip(mine, expected, strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=1e-12, atol=1e-12)


def test_codes_are_not_saved() -> None:
    assert not PositionalCode(8, 4, 3).state_dict()


@pytest.mark.parametrize("length", [0, 2, 6, -8])
def test_lengths_that_are_no_multiple_of_four_are_refused(length) -> None:
    with pytest.raises(InputError, match=rf"`condition` cannot be {length}: it must be a multiple of 4"):
        PositionalCode(length, 2, 2)
