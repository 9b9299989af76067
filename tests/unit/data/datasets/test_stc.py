from __future__ import annotations

import builtins
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomalib_flows.core.errors import InputError
from anomalib_flows.data.datasets.stc import STC
from anomalib_flows.data.publish import preparing
from anomalib_flows.data.splits import hold_out
from published import Content, array, pack, stc, stc_frames

LABELS, PIXELS = (f"shanghaitech/testing/{part}/01_0014.npy" for part in ("test_frame_mask", "test_pixel_mask"))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Content:
    return stc(tmp_path_factory.mktemp("videos"))


@pytest.fixture(scope="module")
def root(files: Content, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stc")
    return prepared(folder / "root", pack(folder / "a", files))


def prepared(root: Path, archive: Path) -> Path:
    preparing.install(STC, root, [archive])
    return root


def test_every_frame_of_a_training_video_becomes_an_image(root: Path) -> None:
    folder = root / "training/frames/01_001"
    assert sorted(file.name for file in folder.iterdir()) == [f"{i:08}.jpg" for i in range(5)]
    for i, frame in enumerate(stc_frames(5)):
        pixels = np.asarray(Image.open(folder / f"{i:08}.jpg")).astype(int)
        assert pixels.shape == frame.shape
        assert abs(pixels - frame).max() <= 3


def test_frames_that_are_labelled_anomalous_have_their_mask(root: Path) -> None:
    masks = sorted((root / "testing/masks/01_0014").iterdir())
    assert [file.name for file in masks] == ["001.png", "002.png"]
    for file in masks:
        mask = np.asarray(Image.open(file))
        assert mask[2:5, 3:9].all()
        assert (mask != 0).sum() == 18


def test_nothing_else_is_left(root: Path) -> None:
    assert {path.relative_to(root).as_posix() for path in root.glob("*/*")} == {
        "training/frames",
        "testing/frames",
        "testing/masks",
    }


def test_a_scene_is_a_category(root: Path) -> None:
    data = STC(root=root, category="01")
    samples = data.samples()
    train = [s.path.relative_to(root).as_posix() for s in samples if s.split == "train"]
    frames = {"01_001": 5, "01_002": 3}
    assert train == [f"training/frames/{name}/{i:08}.jpg" for name, n in frames.items() for i in range(n)]
    tested = [s for s in samples if s.split == "test"]
    assert [s.label for s in tested] == [0, 1, 1, 0]
    assert [s.mask and s.mask.name for s in tested] == [None, "001.png", "002.png", None]
    assert {s.path.parent.name for s in tested} == {"01_0014"}
    assert (data.name, data.subset) == ("stc", "01")


@pytest.mark.parametrize(("every", "kept"), [(1, [0, 1, 2, 3, 4]), (2, [0, 2, 4]), (5, [0]), (9, [0])])
def test_some_frames_of_each_video_may_do_for_training(root: Path, every: int, kept: list[int]) -> None:
    samples = STC(root=root, category="01", every=every).samples()
    names = [s.path.stem for s in samples if s.split == "train" and s.path.parent.name == "01_001"]
    assert names == [f"{i:08}" for i in kept]
    assert sum(s.split == "test" for s in samples) == 4


def test_whole_videos_are_held_out(root: Path) -> None:
    data = STC(root=root, category="01")
    samples = data.samples()
    split = hold_out(samples, 0.5, 0, data.together(samples))
    held_out = {s.path.parent.name for s in split if s.split == "calibration"}
    assert len(held_out) == 1
    assert held_out.isdisjoint(s.path.parent.name for s in split if s.split == "train")
    alone = STC(root=root, category="02")
    assert alone.together(alone.samples()) == {}, "of one video, frames are"


def test_bad_options_are_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="`every` cannot be 0"):
        STC(root=root, category="01", every=0)
    with pytest.raises(InputError, match=r"no scene '99': there are 01, 02"):
        STC(root=root, category="99").samples()
    with pytest.raises(InputError, match="has no frames: prepare the dataset stc first"):
        STC(root=tmp_path, category="01").samples()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (LABELS, array([0, 1, 1]), r"01_0014 has 4 frames, labels of shape \(3,\)"),
        (PIXELS, array(np.zeros((3, 12, 16), np.uint8)), r"masks of shape \(3, 12, 16\)"),
        (PIXELS, array(np.zeros(4, np.uint8)), r"masks of shape \(4,\)"),
        (LABELS, b"", r"test_frame_mask/01_0014\.npy in the archive is not an array"),
        (PIXELS, b"\x93NUMPY\x01\x00", r"test_pixel_mask/01_0014\.npy in the archive is not an array"),
        (LABELS, None, r"lacks test_frame_mask/01_0014\.npy"),
        ("shanghaitech/training/videos/01_001.avi", b"no video", r"The video 01_001\.avi cannot be decoded"),
    ],
)
def test_what_is_damaged_is_named_and_leaves_nothing(
    files: Content, tmp_path: Path, name: str, content: bytes | None, words: str
) -> None:
    damaged = {other: files[other] for other in files if other != name} | ({} if content is None else {name: content})
    with pytest.raises(InputError, match=words):
        prepared(tmp_path / "root", pack(tmp_path / "a", damaged))
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_arrays_of_objects_are_not_unpickled(files: Content, tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    hostile = np.array([Hostile()] * 4, object)
    with pytest.raises(InputError, match="is not an array of numbers"):
        prepared(tmp_path / "root", pack(tmp_path / "a", files | {LABELS: array(hostile)}))
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_another_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"lacks training/videos: is it shanghaitech\.tar\.gz"):
        prepared(tmp_path / "root", pack(tmp_path / "a", {"part_A/1.jpg": b"", "part_B/1.jpg": b""}))


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"the module av: run pip install 'av'"):
        preparing.require_modules(STC.arrange_needs.items())


def test_reading_needs_no_video_decoder(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: object) -> object:
        if name == "av":
            raise ModuleNotFoundError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    assert len(STC(root=root, category="02").samples()) == 6
