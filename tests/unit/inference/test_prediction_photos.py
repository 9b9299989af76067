"""Photos are decoded whole, in batches that fit into memory."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from anomalib_flows.core.images import read_pixels
from anomalib_flows.core.store import cache_folder
from anomalib_flows.core.types import Sample
from anomalib_flows.data.loading.loader import Loader
from anomalib_flows.inference import photos
from anomalib_flows.inference.photos import BATCH_PIXELS, fitting_batch_size, read_batches
from anomalib_flows.run.options import ImageOptions, LoaderOptions

IMAGE = ImageOptions(size=(32, 48), resize="pad")


def read(samples: list[Sample], **options: object) -> list:
    loader = LoaderOptions(**{"batch_size": 4, "workers": 2} | options)
    return list(read_batches(samples, IMAGE, loader, "Reading"))


@given(st.integers(1, 10**6), st.integers(1, 20_000), st.integers(1, 20_000))
def test_the_pixels_of_a_batch_are_bounded(batch_size: int, width: int, height: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(photos, "stored_size", lambda path: (height, width))
        found = fitting_batch_size([Sample(Path("1.png"), "test")], batch_size)
    assert 1 <= found <= batch_size
    assert found == 1 or found * width * height <= BATCH_PIXELS
    assert found == batch_size or (found + 1) * width * height > BATCH_PIXELS


def test_large_photos_make_small_batches(samples: list[Sample], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photos, "BATCH_PIXELS", 2 * 40 * 50)  # two of the first image
    assert [len(batch.samples) for batch in read(samples)] == [2, 2, 2, 1]
    monkeypatch.setattr(photos, "BATCH_PIXELS", 10)
    assert [len(batch.samples) for batch in read(samples)] == [1] * 7


def test_the_batch_size_stays_where_the_first_image_is_small_missing_or_damaged(
    samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fitting_batch_size(samples, 32) == 32
    assert fitting_batch_size([], 32) == 32
    samples[0].path.write_bytes(b"damaged")
    assert fitting_batch_size(samples, 32) == 32
    samples[0].path.unlink()
    assert fitting_batch_size(samples, 32) == 32
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert fitting_batch_size(samples[1:], 32) == 32


def test_batches_are_those_of_a_loader_with_the_decoded_files(samples: list[Sample]) -> None:
    expected = list(Loader(samples, IMAGE, LoaderOptions(batch_size=4)))
    for batch, other in zip(read(samples), expected, strict=True):
        assert torch.equal(batch.images, other.images)
        assert (batch.samples, batch.contents) == (other.samples, other.contents)
        assert all(map(torch.equal, batch.masks, other.masks))
        for sample, picture in zip(batch.samples, batch.pictures, strict=True):
            assert picture.dtype == np.uint8
            assert np.array_equal(picture, read_pixels(sample.path))


@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_images_that_are_read_once_are_not_cached(samples: list[Sample], cache: str) -> None:
    read(samples, cache=cache)
    assert not cache_folder("images").exists()


def test_no_image_has_no_batch() -> None:
    assert read([]) == []
