import sys
import wave
from itertools import islice

import numpy as np
import pytest
from PIL import Image

from anomalib_flows.core.errors import InputError
from anomalib_flows.runtime import frames
from damaged_video import write_damaged_video

pytestmark = pytest.mark.filterwarnings("ignore:.* left out 1 hidden image file")


@pytest.fixture
def photos(tmp_path):
    for number, name in enumerate(["10.png", "2.png", "sub/1.bmp", ".hidden.png"]):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (5, 4), (number, 0, 0)).save(tmp_path / "photos" / name)
    (tmp_path / "photos/notes.txt").touch()
    return tmp_path / "photos"


def shades(count: int) -> list[int]:
    return [20 + 40 * number for number in range(count)]


def write_video(path, count=5, turned=0):
    """Grey frames that become brighter, with a white left half in the top row of blocks."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        if turned:
            stream.set_display_rotation(turned)
        for shade in shades(count):
            pixels = np.full((32, 64, 3), shade, np.uint8)
            pixels[:16, :16] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


def test_folder_pattern_and_file(photos, monkeypatch):
    named = {name: image[0, 0, 0] for name, image in frames(photos)}
    assert named == {str(photos / "2.png"): 1, str(photos / "10.png"): 0, str(photos / "sub/1.bmp"): 2}
    assert next(iter(named)) == str(photos / "2.png")
    assert [name for name, _ in frames(str(photos / "*.png"))] == [str(photos / name) for name in ("2.png", "10.png")]
    (only,) = frames(str(photos / "10.png"))
    assert only[1].shape == (4, 5, 3)
    monkeypatch.chdir(photos)
    assert [name for name, _ in frames("sub")] == ["sub/1.bmp"]


def test_images_are_read_when_their_turn_comes(photos):
    (photos / "100.png").write_bytes(b"damaged")
    source = frames(photos)
    assert [image[0, 0, 0] for _, image in islice(source, 2)] == [1, 0]
    with pytest.raises(InputError, match="100.png is not an image"):
        next(source)


def test_video(tmp_path):
    write_video(tmp_path / "line.v2.mp4")
    named = list(frames(tmp_path / "line.v2.mp4"))
    assert [name for name, _ in named] == [str(tmp_path / f"line.v2-{number:06}") for number in range(1, 6)]
    for shade, (_, image) in zip(shades(5), named, strict=True):
        assert image.shape == (32, 64, 3)
        assert image[24:, 32:].mean() == pytest.approx(shade, abs=4)
        assert image[:12, :12].mean() > 240


def test_damaged_frames_stop_a_video_or_are_left_out(tmp_path):
    got, faults = [], []
    with pytest.raises(
        InputError, match=r"^Frame \d+ of .*line.mp4 is damaged \(Invalid data found when process.*\): "
    ):
        got.extend(frames(write_damaged_video(tmp_path / "line.mp4")))
    assert 10 < len(got) < 30
    whole = dict(frames(tmp_path / "line.mp4", faults.append))
    assert list(whole)[: len(got)] == [name for name, _ in got]
    assert len(whole) + len(faults) == 40
    assert 1 <= len(faults) <= 5
    assert f"Frame {len(got) + 1} of" in str(faults[0])
    assert max(whole) == str(tmp_path / "line-000040")


def test_damaged_images_stop_or_are_left_out(photos):
    (photos / "3.png").write_bytes(b"damaged")
    faults = []
    assert [name for name, _ in frames(photos, faults.append)] == [
        str(photos / name) for name in ("2.png", "10.png", "sub/1.bmp")
    ]
    assert [str(fault) for fault in faults] == [f"{photos / '3.png'} is not an image that can be read: replace it."]


@pytest.mark.parametrize("name", ["photo", "photo.jfif", "photo.2026", "photo.gif"])
def test_images_are_no_videos_whatever_they_are_called(tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, "av", None)
    kind = "GIF" if name.endswith("gif") else "PNG"
    Image.new("RGB", (5, 4), (9, 0, 0)).save(tmp_path / name, kind)
    [(named, image)] = frames(tmp_path / name)
    assert (named, image.shape, image[0, 0, 0]) == (str(tmp_path / name), (4, 5, 3), 9)


@pytest.mark.parametrize("name", ["photo.png", "photo.jfif"])
def test_images_that_are_too_large_are_refused(tmp_path, name):
    Image.new("L", (2000, 1100)).save(tmp_path / name, "PNG")
    with pytest.raises(InputError, match=f"{name} has 2.2 million pixels, but `max_megapixels` is 2: raise it"):
        list(frames(tmp_path / name, max_megapixels=2))
    assert [pixels.shape for _, pixels in frames(tmp_path / name, max_megapixels=2.2)] == [(1100, 2000, 3)]


def test_moving_pictures_are_videos(tmp_path):
    pytest.importorskip("av")
    pages = [Image.new("RGB", (32, 32), (shade, 0, 0)) for shade in (0, 90, 180)]
    pages[0].save(tmp_path / "a.gif", save_all=True, append_images=pages[1:])
    write_video(tmp_path / "a.mp4").rename(tmp_path / "unnamed")
    assert [name for name, _ in frames(tmp_path / "a.gif")] == [str(tmp_path / f"a-00000{n}") for n in (1, 2, 3)]
    assert len(list(frames(tmp_path / "unnamed"))) == 5


@pytest.mark.parametrize(("turned", "corner"), [(90, (-8, 8)), (180, (-8, -8)), (-90, (8, -8))])
def test_video_is_shown_upright(tmp_path, turned, corner):
    stream = pytest.importorskip("av").video.stream.VideoStream
    if not hasattr(stream, "set_display_rotation"):
        pytest.skip("this version of av writes no turned videos")
    image = next(image for _, image in frames(write_video(tmp_path / "a.mp4", turned=turned)))
    assert image.shape == ((32, 64, 3) if turned == 180 else (64, 32, 3))
    assert image[corner].min() > 240


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("none", "none does not exist: give an image, a folder, a pattern"),
        ("*.jpg", r"\*.jpg matches no images"),
        ("empty", "empty contains no images"),
        (
            "notes.txt",
            r"notes.txt cannot be read as a video \(Invalid data found when processing input\): replace it, or",
        ),
        ("long.txt", r"long.txt cannot be read as a video \(it contains no pictures\): replace it, or give images"),
        ("sound.wav", r"sound.wav cannot be read as a video \(it contains no pictures\)"),
        ("empty.mp4", "empty.mp4 cannot be read as a video"),
        ("cut.mp4", "cut.mp4 cannot be read as a video"),
        ("file:///nowhere/a.mp4", "cannot be read as a video"),
    ],
)
def test_sources_without_images_are_refused(tmp_path, monkeypatch, source, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("words")
    (tmp_path / "long.txt").write_text("words and more words\n" * 2000)  # which FFmpeg shows as a terminal would
    with wave.open("sound.wav", "w") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(8000))
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "cut.mp4").write_bytes(write_video(tmp_path / "whole.mp4").read_bytes()[:300])
    with pytest.raises(InputError, match=message):
        list(frames(source))


def test_cameras(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(InputError, match="Cameras have no numbers on win32"):
        next(frames(0))
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(InputError, match="/dev/video99 cannot be read"):
        next(frames(99))


def test_videos_need_a_module(tmp_path, monkeypatch):
    (tmp_path / "a.mp4").touch()
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InputError, match=r"Videos need the module av: run pip install av[.]"):
        next(frames(tmp_path / "a.mp4"))
