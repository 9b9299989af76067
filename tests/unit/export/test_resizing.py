"""The resizing of deployed graphs is that of training, for images of any size."""

from fractions import Fraction

import numpy as np
import openvino as ov
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn

from anomalib_flows.core import preprocess, types
from anomalib_flows.export.openvino.graph import convert
from anomalib_flows.export.resizing import traced_content_size, traced_hide_padding, traced_resize
from anomalib_flows.models import pipeline

GREY_LEVELS = 5e-3
"""What single precision may change of values up to 255: PyTorch has places in an image in it, up to 200 pixels here."""

EDGES = st.integers(1, 200)
MODES = st.sampled_from(["stretch", "pad"])
SIZE = (48, 64)
PHOTOS = [(48, 64), (49, 66), (37, 201), (480, 640), (1024, 1024), (23, 5), (1, 1), (3, 1500)]


def photo(height: int, width: int, seed: int = 0) -> Tensor:
    """Noise, which has an edge at every pixel, of shape (1, h, w, 3)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (1, height, width, 3), dtype=torch.uint8, generator=generator)


def channels_first(images: Tensor) -> Tensor:
    return images.permute(0, 3, 1, 2)


@settings(max_examples=60, deadline=None)
@given(EDGES, EDGES, EDGES, EDGES, MODES)
def test_resizing_is_that_of_training(h: int, w: int, height: int, width: int, mode) -> None:
    images = photo(h, w)
    resized, content = traced_resize(images, (height, width), mode)
    assume(int(content[1]) > 1)  # torch itself is wrong there, see below
    assert tuple(map(int, content)) == types.content_size(h, w, (height, width), mode)
    expected = preprocess.resize(channels_first(images), (height, width), mode)
    torch.testing.assert_close(resized, expected, atol=GREY_LEVELS, rtol=0)


@pytest.mark.parametrize("shape", [(2, 1), (5, 1), (7, 3), (60, 1)])
def test_images_that_become_one_pixel_wide_are_those_of_pillow(shape: tuple[int, int]) -> None:
    """PyTorch's antialiasing takes their first row for all of them."""
    images = photo(*shape)
    resized, _ = traced_resize(images, (13, 1), "stretch")
    for found, colour in zip(resized[0], images[0].permute(2, 0, 1), strict=True):
        expected = Image.fromarray(colour.float().numpy()).resize((1, 13), Image.Resampling.BILINEAR)
        np.testing.assert_allclose(found, np.asarray(expected), atol=GREY_LEVELS)


def test_each_image_of_a_batch_is_its_own() -> None:
    images = torch.cat([photo(30, 40, seed) for seed in range(3)])
    together, _ = traced_resize(images, SIZE, "pad")
    torch.testing.assert_close(together, torch.cat([traced_resize(image[None], SIZE, "pad")[0] for image in images]))


@given(st.integers(1, 10**5), st.integers(1, 10**5), st.integers(1, 4096), st.integers(1, 4096))
def test_content_is_that_of_training(h: int, w: int, height: int, width: int) -> None:
    found = traced_content_size(torch.tensor(h), torch.tensor(w), (height, width), "pad")
    assert tuple(map(int, found)) == types.content_size(h, w, (height, width), "pad")


@given(st.integers(1, 500), st.integers(0, 500))
def test_halves_go_to_even_numbers(half: int, whole: int) -> None:
    """An image of 2 n x (2 m + 1) pixels that is made n high is m + 1/2 pixels wide, which is rounded."""
    height, width = 2 * half, 2 * min(whole, half - 1) + 1
    expected = max(1, round(Fraction(width, 2)))
    found = traced_content_size(torch.tensor(height), torch.tensor(width), (half, half), "pad")
    assert tuple(map(int, found)) == (half, expected)
    sideways = traced_content_size(torch.tensor(width), torch.tensor(height), (half, half), "pad")
    assert tuple(map(int, sideways)) == (expected, half)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**16))
def test_padding_is_hidden_as_in_training(height: int, width: int, seed: int) -> None:
    maps = torch.randn(2, 1, 40, 40, generator=torch.Generator().manual_seed(seed))
    hidden = traced_hide_padding(maps, (torch.tensor(height), torch.tensor(width)), (40, 40))
    assert torch.equal(hidden, pipeline.hide_padding(maps, [(height, width)] * 2))


class Resize(nn.Module):
    """Resizing as a graph."""

    def __init__(self, mode) -> None:
        super().__init__()
        self.mode = mode

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        resized, content = traced_resize(images, SIZE, self.mode)
        return resized, *content


@pytest.fixture(scope="module")
def graph():
    """Graphs of resizing, which were traced with one size and take all, compiled in a precision."""
    made: dict[str, ov.Model] = {}

    def compiled(mode: str, precision: str) -> ov.CompiledModel:
        if mode not in made:
            made[mode] = convert(Resize(mode), photo(50, 61), [-1, -1, -1, 3])
        return ov.Core().compile_model(made[mode], "CPU", {"INFERENCE_PRECISION_HINT": precision})

    return compiled


@pytest.mark.parametrize("mode", ["stretch", "pad"])
@pytest.mark.parametrize(("precision", "tolerance"), [("f32", 3e-3), ("bf16", 3.0)])
def test_a_graph_takes_images_of_any_size(graph, mode, precision: str, tolerance: float) -> None:
    """In bfloat16 values are off by a grey level or two; places that are not whole numbers were off by whole pixels."""
    if precision == "bf16" and "BF16" not in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU has no bfloat16")
    compiled = graph(mode, precision)
    for number, (h, w) in enumerate(PHOTOS):
        images = photo(h, w, seed=number)
        resized, *content = (compiled({0: images.numpy()})[i] for i in range(3))
        assert tuple(map(int, content)) == types.content_size(h, w, SIZE, mode)
        expected = preprocess.resize(channels_first(images), SIZE, mode).numpy()
        np.testing.assert_allclose(resized, expected, atol=tolerance, rtol=0, err_msg=f"{h} x {w}")
