"""Images of many pixels: the limit, Pillow's own limit, and conversion in strips."""

import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, features

from anomalib_flows.core import images
from anomalib_flows.core.errors import InputError
from anomalib_flows.core.images import as_pixels, describe_file, read_pixels, stored_size

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (40, 30, 3), dtype=np.uint8)
FORMATS = ["png", "bmp", "tif"] + ["webp"] * features.check("webp")


@pytest.fixture
def pillow_limit(monkeypatch):
    """Set a limit of Pillow that each image of this file exceeds."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    monkeypatch.setattr(images, "_PILLOW_LIMIT", 10)
    monkeypatch.setattr(images, "STRIP", 10**6)  # or strips of ten pixels would be needed


@pytest.mark.parametrize("suffix", FORMATS)
def test_our_limit_replaces_that_of_pillow_without_a_warning(tmp_path, pillow_limit, suffix):
    file = tmp_path / f"photo.{suffix}"
    Image.fromarray(PIXELS).save(file, lossless=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(read_pixels(file), PIXELS)
        assert np.array_equal(read_pixels(file, 0.0012), PIXELS)
        assert stored_size(file) == (40, 30)
        assert "colour, 8 bits" in describe_file(file)
        with pytest.raises(
            InputError, match="photo.* has 0.0012 million pixels, but `max_megapixels` is 0.0011: raise"
        ):
            read_pixels(file, 0.0011)
    assert Image.MAX_IMAGE_PIXELS == 10


def test_pillows_limit_is_restored_after_errors_and_in_threads(tmp_path, pillow_limit):
    Image.fromarray(PIXELS).save(tmp_path / "sound.png")
    (tmp_path / "damaged.png").write_bytes((tmp_path / "sound.png").read_bytes()[:900])
    (tmp_path / "text.png").write_text("no image")

    def read(number: int) -> object:
        try:
            return read_pixels(tmp_path / ("sound.png", "damaged.png", "text.png")[number % 3]).shape
        except InputError as error:
            return "damaged (" in str(error) or "not an image" in str(error)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(read, range(90))) == [PIXELS.shape, True, True] * 30
    assert Image.MAX_IMAGE_PIXELS == 10
    with pytest.raises(Image.DecompressionBombError):
        Image.open(tmp_path / "sound.png")


def test_the_advice_says_what_memory_it_takes(tmp_path):
    Image.new("1", (20000, 10000)).save(tmp_path / "large.png")
    with pytest.raises(InputError) as raised:
        read_pixels(tmp_path / "large.png")
    assert str(raised.value).endswith(
        "large.png has 200 million pixels, but `max_megapixels` is 80: raise it if memory suffices (5 GB), or cut the "
        "image into smaller ones."
    )


def made(mode: str) -> Image.Image:
    """Make an image of a mode that has values of its whole range."""
    if mode == "F":
        return Image.fromarray(RANDOM.random((40, 30), dtype=np.float32))
    if mode.startswith("I"):
        return Image.fromarray(RANDOM.integers(0, 65536, (40, 30)).astype(np.int32 if mode == "I" else np.uint16))
    return Image.fromarray(PIXELS).convert(mode)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I", "I;16", "F"])
@pytest.mark.parametrize("strip", [1, 70, 1000])
def test_strips_change_nothing(monkeypatch, mode, strip):
    image = made(mode)
    assert image.mode == mode
    whole = as_pixels(image)
    if mode in ("I", "I;16", "F"):
        grey = np.asarray(image, np.float32)
        expected = np.rint(grey * (255 if mode == "F" else 255 / 65535)).astype(np.uint8)[..., None].repeat(3, 2)
    else:
        expected = np.asarray((image.convert("RGBA") if mode == "P" else image).convert("RGB"))
    assert np.array_equal(whole, expected)
    monkeypatch.setattr(images, "STRIP", strip)
    assert np.array_equal(as_pixels(image), whole)
    assert whole.flags.c_contiguous
    assert whole.flags.writeable


def test_a_value_out_of_range_is_found_in_any_strip(monkeypatch):
    monkeypatch.setattr(images, "STRIP", 60)
    values = RANDOM.random((40, 30), dtype=np.float32)
    for wrong, words in ((7, "to 7, not"), (-3, "from -3 to"), (np.nan, "from nan to nan")):
        values[20, 5] = wrong
        with pytest.raises(InputError, match=words):
            as_pixels(Image.fromarray(values))
