import struct
import warnings
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.types import Sample
from anomalib_flows.data.loading.reading import read_image, read_mask, read_sample

RANDOM = np.random.default_rng(0)
RGB = RANDOM.integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY = RANDOM.integers(0, 256, (5, 7), dtype=np.uint8)
ALPHA = RANDOM.integers(0, 256, (5, 7), dtype=np.uint8)
DEEP = RANDOM.integers(0, 65536, (5, 7), dtype=np.uint16)
DEEP[0, :4] = 0, 65535, 255, 256
UPRIGHT = {  # what EXIF's orientations say has to be done to the stored pixels
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a.swapaxes(0, 1), 2),
    8: np.rot90,
}


def pixels(path: Path) -> np.ndarray:
    image = read_image(path)
    assert image.dtype == torch.uint8
    assert image.shape[0] == 3
    return image.permute(1, 2, 0).numpy()


def grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None], 3, axis=2)


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".bmp", ".tif", ".TIFF"])
def test_rgb_and_grey_are_read_exactly(tmp_path, suffix):
    path = tmp_path / f"image{suffix}"
    Image.fromarray(RGB).save(path)
    np.testing.assert_array_equal(pixels(path), RGB)
    Image.fromarray(GREY).save(path)
    np.testing.assert_array_equal(pixels(path), grey(GREY))


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".webp"])
def test_lossy_formats_come_close(tmp_path, suffix):
    path = tmp_path / f"image{suffix}"
    smooth = np.stack(np.broadcast_arrays(np.arange(48)[:, None] * 4, np.arange(32)[None] * 6, 90), 2).astype(np.uint8)
    Image.fromarray(smooth).save(path, quality=95)
    assert np.abs(pixels(path).astype(int) - smooth).max() < 16


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path, suffix):
    path = tmp_path / f"deep{suffix}"
    Image.fromarray(DEEP).save(path)
    np.testing.assert_array_equal(pixels(path), grey(np.round(DEEP / 257).astype(np.uint8)))


def test_sixteen_bits_big_endian(tmp_path):
    path = tmp_path / "deep.tif"
    path.write_bytes(tiff(DEEP.astype(">u2").tobytes(), DEEP.shape, bits=16, order=">"))
    with Image.open(path) as image:
        assert image.mode == "I;16B"
    np.testing.assert_array_equal(pixels(path), grey(np.round(DEEP / 257).astype(np.uint8)))


def test_twelve_bits_use_the_full_range(tmp_path):
    path = tmp_path / "deep.tif"
    values = [0, 4095, 2048, 100]  # two pixels in three bytes
    packed = b"".join(((a << 12) | b).to_bytes(3, "big") for a, b in zip(values[::2], values[1::2], strict=True))
    path.write_bytes(tiff(packed, (1, 4), bits=12, order="<"))
    assert pixels(path)[0, :, 0].tolist() == [0, 255, 128, 6]


def test_sixteen_bit_colours_keep_their_high_byte(tmp_path):
    path = tmp_path / "deep.png"
    values = RANDOM.integers(0, 65536, (5, 7, 3), dtype=np.uint16)
    path.write_bytes(png(values.astype(">u2"), bits=16, colour=2))
    assert np.abs(pixels(path) - values / 257).max() <= 1


@pytest.mark.parametrize(("values", "fits"), [(DEEP, True), (DEEP * 2.0, False), (DEEP - 1.0, False)])
def test_thirty_two_bit_integers_hold_sixteen(tmp_path, values, fits):
    path = tmp_path / "deep.tif"
    Image.fromarray(values.astype(np.int32)).save(path)
    if fits:
        np.testing.assert_array_equal(pixels(path), grey(np.round(DEEP / 257).astype(np.uint8)))
    else:
        with pytest.raises(InputError, match=r"deep.tif has values from .* not from 0 to 65535: save it"):
            read_image(path)


def test_floats_go_from_zero_to_one(tmp_path):
    path = tmp_path / "float.tif"
    values = np.linspace(0, 1, 35, dtype=np.float32).reshape(5, 7)
    Image.fromarray(values).save(path)
    np.testing.assert_array_equal(pixels(path), grey(np.round(values * 255).astype(np.uint8)))
    for bad in (values * 255, values - 0.1, np.where(values > 0.5, np.nan, values).astype(np.float32)):
        Image.fromarray(bad).save(path)
        with pytest.raises(InputError, match=r"float.tif has values"):
            read_image(path)


def test_alpha_is_ignored(tmp_path):
    path = tmp_path / "alpha.png"
    Image.fromarray(np.dstack([RGB, ALPHA])).save(path)
    np.testing.assert_array_equal(pixels(path), RGB)
    Image.fromarray(np.dstack([GREY, ALPHA]), "LA").save(path)
    np.testing.assert_array_equal(pixels(path), grey(GREY))


@pytest.mark.parametrize("transparency", [None, 1, b"\x00\x80\xff"])
def test_palettes_are_looked_up(tmp_path, transparency):
    path = tmp_path / "palette.png"
    colours = np.array([[10, 20, 30], [200, 0, 5], [7, 8, 255]], np.uint8)
    indices = RANDOM.integers(0, 3, (5, 7), dtype=np.uint8)
    image = Image.fromarray(indices, "P")
    image.putpalette(colours.tobytes())
    image.save(path, **({} if transparency is None else {"transparency": transparency}))
    np.testing.assert_array_equal(pixels(path), colours[indices])


def test_one_bit_is_black_and_white(tmp_path):
    path = tmp_path / "bits.png"
    Image.fromarray(GREY > 127).save(path)
    np.testing.assert_array_equal(pixels(path), grey(np.where(GREY > 127, 255, 0)))


def test_cmyk_is_mixed_from_inks(tmp_path):
    path = tmp_path / "inks.tif"
    inks = RANDOM.integers(0, 256, (5, 7, 4), dtype=np.uint8)
    Image.fromarray(inks, "CMYK").save(path)
    paper = 255 - inks.astype(float)
    assert np.abs(pixels(path) - paper[..., :3] * paper[..., 3:] / 255).max() <= 1


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_turns_images_and_masks_upright(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    for stored in (RGB, DEEP):
        Image.fromarray(stored).save(tmp_path / "turned.png", exif=exif)
        Image.fromarray(stored).save(tmp_path / "plain.png")
        np.testing.assert_array_equal(
            pixels(tmp_path / "turned.png"), UPRIGHT[orientation](pixels(tmp_path / "plain.png"))
        )
    mask = UPRIGHT[orientation](GREY > 127)
    Image.fromarray(np.where(GREY > 127, 255, 0).astype(np.uint8)).save(tmp_path / "mask.png", exif=exif)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png", mask.shape).numpy(), mask)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp", ".webp"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_truncated_files_are_named(tmp_path, suffix, part):
    path = tmp_path / f"cut{suffix}"
    Image.fromarray(RANDOM.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    with pytest.raises(InputError, match=rf"cut{suffix} is (damaged \(.+\)|not an image that can be read): replace it"):
        read_image(path)


def test_other_unusable_files_are_named(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("no image")
    Image.fromarray(RGB).save(tmp_path / "huge.png")
    for name, fault in {"empty": "is empty", "text": "is not an image", "gone": "does not exist"}.items():
        with pytest.raises(InputError, match=f"{name}.png {fault}") as raised:
            read_image(tmp_path / f"{name}.png")
        assert str(raised.value).count("\n") == 0
    millions = RGB.shape[0] * RGB.shape[1] / 1e6
    with pytest.raises(InputError, match=r"huge.png has .* million pixels, but `max_megapixels` is 1e-05: raise it .*"):
        read_image(tmp_path / "huge.png", 1e-5)
    assert read_image(tmp_path / "huge.png", millions).shape[1:] == RGB.shape[:2]


def test_masks_of_all_kinds(tmp_path):
    marked = GREY > 127
    path = tmp_path / "mask.png"
    palette = Image.fromarray(marked.astype(np.uint8) * 2, "P")
    palette.putpalette(bytes([255, 255, 255, 9, 9, 9, 0, 0, 0]))  # index 2 is black and still a defect
    faint = np.where(marked, 1, 0).astype(np.uint8)
    blue = np.dstack([faint * 0, faint * 0, faint])
    painted = np.dstack([np.full_like(GREY, 255)] * 3 + [faint * 200])
    for image in (
        palette,
        Image.fromarray(marked),
        Image.fromarray(faint),
        Image.fromarray(faint.astype(np.uint16) * 256),
        Image.fromarray(blue),
        Image.fromarray(np.dstack([blue, np.full_like(GREY, 255)])),
        Image.fromarray(painted),
    ):
        image.save(path)
        mask = read_mask(path, (5, 7))
        assert mask.dtype == torch.bool
        np.testing.assert_array_equal(mask.numpy(), marked)


def test_mask_of_another_size_names_both_files_and_sizes(save):
    image, mask = save("image.png", size=(5, 7)), save("mask.png", size=(7, 5))
    with pytest.raises(InputError, match=r"mask.png is 7 x 5 pixels .* .*image.png 5 x 7: replace"):
        read_sample(Sample(image, "test", 1, "cut", mask))


def test_a_folder_of_masks_is_united(save, tmp_path):
    image = Sample(save("cut/7.png", size=(2, 2)), "test", 1, "cut", tmp_path / "masks")
    save("masks/0.png", np.array([[9, 0], [0, 0]], np.uint8))
    save("masks/1.bmp", np.array([[9, 0], [0, 255]], np.uint8))
    assert read_sample(image)[1].tolist() == [[True, False], [False, True]]
    save("masks/2.png", size=(3, 2))
    with pytest.raises(InputError, match=r"2.png is 3 x 2 .*7.png 2 x 2"):
        read_sample(image)
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="none holds no masks of .*7.png"):
        read_sample(replace(image, mask=tmp_path / "none"))


def tiff(data: bytes, shape: tuple[int, int], bits: int, order: str) -> bytes:
    """Write a grey TIFF of one strip by hand, since Pillow writes neither 12 bits nor big-endian files."""
    tags = {
        256: shape[1],
        257: shape[0],
        258: bits,
        259: 1,
        262: 1,
        273: 8,
        277: 1,
        278: shape[0],
        279: len(data),
    }
    entries = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in tags.items())
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}I", 8 + len(data))
    return head + data + struct.pack(f"{order}H", len(tags)) + entries + bytes(4)


def png(values: np.ndarray, bits: int, colour: int) -> bytes:
    """Write a PNG by hand, since Pillow writes no colours of 16 bits."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + row.tobytes() for row in values)
    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
