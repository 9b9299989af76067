import numpy as np
import pytest
import torch
from PIL import Image

from anomalib_flows.core import preprocess
from anomalib_flows.core.preprocess import Preprocess, resize
from anomalib_flows.core.types import content_size

SHAPES = [(100, 75), (33, 61), (256, 256), (31, 200), (5, 3)]
SIZES = [(64, 64), (33, 47), (128, 97)]


def pillow(image: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Resize each channel by Pillow, in floating point, so without rounding to grey levels."""
    channels = [Image.fromarray(channel) for channel in image.float().numpy()]
    resized = [np.asarray(channel.resize(size[::-1], Image.Resampling.BILINEAR)) for channel in channels]
    return torch.from_numpy(np.stack(resized))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", SIZES)
def test_resize_agrees_with_pillow(shape, size):
    image = torch.randint(0, 256, (3, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(resize(image, size), pillow(image, size), atol=2e-3, rtol=0)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", SIZES)
def test_padding_keeps_the_aspect_ratio_and_repeats_the_border(shape, size):
    image = torch.randint(0, 256, (3, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    h, w = content_size(*shape, size, "pad")
    padded = resize(image, size, "pad")
    assert padded.shape == (3, *size)
    assert (h == size[0] and w <= size[1]) or (w == size[1] and h <= size[0])
    assert abs(h * shape[1] - w * shape[0]) <= max(shape)
    torch.testing.assert_close(padded[:, :h, :w], pillow(image, (h, w)), atol=2e-3, rtol=0)
    assert (padded[:, h:] == padded[:, h - 1 : h]).all()
    assert (padded[:, :, w:] == padded[:, :, w - 1 : w]).all()


def test_batch_is_resized_image_by_image_and_memory_layout_does_not_matter():
    images = torch.randint(0, 256, (4, 3, 50, 40), dtype=torch.uint8)
    each = torch.stack([resize(image, (32, 24), "pad") for image in images])
    torch.testing.assert_close(resize(images, (32, 24), "pad"), each)
    layout = images.to(memory_format=torch.channels_last)
    torch.testing.assert_close(resize(layout, (32, 24), "pad"), each, atol=1e-3, rtol=0)


def test_normalise():
    preprocess = Preprocess((8, 8), "stretch", (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    grey = torch.full((2, 3, 20, 30), 51, dtype=torch.uint8)  # 0.2 of white
    expected = torch.tensor([-1.5, -2 / 3, -0.25]).view(1, 3, 1, 1).expand(2, 3, 8, 8)
    torch.testing.assert_close(preprocess(grey), expected)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("layout", ["decoded", "planes", "batch"])
@pytest.mark.parametrize("size", [*SIZES, (200, 7), (1, 1)])
@pytest.mark.parametrize("mode", ["stretch", "pad"])
def test_strips_give_the_same_values_bit_for_bit(monkeypatch, threads, layout, size, mode):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for shape in (*SHAPES, (301, 199)):
            image = torch.randint(0, 256, (*shape, 3), dtype=torch.uint8).permute(2, 0, 1)
            image = {"decoded": image, "planes": image.contiguous(), "batch": image.repeat(2, 1, 1, 1)}[layout]
            monkeypatch.setattr(preprocess, "STRIP", 10**9)
            whole = resize(image, size, mode)
            for strip in (1, 500, 4000):
                monkeypatch.setattr(preprocess, "STRIP", strip)
                assert torch.equal(resize(image, size, mode), whole)
    finally:
        torch.set_num_threads(before)
