"""Which files are images, and what is said of the others."""

import os
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.finding import (
    OWN,
    LeftOutWarning,
    describe_left_out,
    find_images,
    list_images,
    mark_results,
    matches,
)
from anomalib_flows.core.images import read_pixels

FORMATS = {
    ".jfif": "JPEG",
    ".jpe": "JPEG",
    ".JPG": "JPEG",
    ".dib": "DIB",
    ".ppm": "PPM",
    ".pgm": "PPM",
    ".jp2": "JPEG2000",
}
LEFT_OUT = {
    "a.heic": ".heic file",
    "b.HEIC": ".heic file",
    "c.CR2": ".cr2 file",
    "d.gif": ".gif file",
    "e.pdf": ".pdf file",
    "f": "file without suffix",
    "g.txt": ".txt file",
    "h.json": ".json file",
    ".i.png": "hidden image file",
    "._j.jpg": "hidden image file",
    "@eaDir/k.jpg/thumb.jpg": "folder @eaDir",
    ".thumbnails/l.png": "folder .thumbnails",
    "__MACOSX/m.png": "folder __MACOSX",
    "$RECYCLE.BIN/n.png": "folder $RECYCLE.BIN",
}
SYSTEM = ["Thumbs.db", "desktop.ini", ".DS_Store", "README.md", "license.txt", "LICENCE"]


def draw(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (5, 4), (7, 8, 9)).save(path, FORMATS.get(path.suffix))
    return path


@pytest.mark.parametrize("suffix", FORMATS)
def test_formats_that_pillow_reads_safely_are_images(tmp_path: Path, suffix: str) -> None:
    if suffix == ".pgm":
        Image.new("L", (5, 4), 7).save(tmp_path / "1.pgm")
    else:
        draw(tmp_path / f"1{suffix}")
    assert find_images(tmp_path) == ([tmp_path / f"1{suffix}"], Counter())
    assert abs(read_pixels(tmp_path / f"1{suffix}").astype(int) - 8).max() <= 2


def test_everything_else_is_counted_by_its_kind(tmp_path: Path) -> None:
    image = draw(tmp_path / "1.png")
    for name in [*LEFT_OUT, *SYSTEM]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert find_images(tmp_path) == ([image], Counter(LEFT_OUT.values()))
    assert matches(tmp_path, "*") == ([image], Counter(LEFT_OUT.values()))
    with pytest.warns(LeftOutWarning, match=f"{tmp_path}: left out 2 .heic files, 2 hidden image files, 1 "):
        assert list_images(tmp_path) == [image]


def test_where_nothing_is_left_out_nothing_is_said(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    image = draw(tmp_path / "1.png")
    for name in SYSTEM:
        (tmp_path / name).touch()
    assert list_images(tmp_path) == [image]
    assert not recwarn.list


@pytest.mark.parametrize("place", ["results", "a/results/deep"])
def test_own_pictures_are_never_input(tmp_path: Path, place: str) -> None:
    image = draw(tmp_path / "photos/1.png")
    mark_results(tmp_path / "photos" / place)
    draw(tmp_path / "photos" / place / "overlay/1.png")
    expected = ([image], Counter(["folder of results of anomalib-flows"]))
    assert find_images(tmp_path / "photos") == expected
    assert matches(tmp_path / "photos", "*") == expected
    assert matches(tmp_path / "photos", "**/*.png") == expected
    for inside in (place, f"{place}/overlay"):
        assert not find_images(tmp_path / "photos" / inside).images


def test_a_marked_folder_keeps_what_is_in_it(tmp_path: Path) -> None:
    image = draw(tmp_path / "1.png")
    mark_results(tmp_path)
    assert image.is_file()
    assert (tmp_path / OWN).is_file()


def test_a_missing_folder_has_nothing(tmp_path: Path) -> None:
    assert find_images(tmp_path / "none") == ([], Counter())


def test_counts_are_read_aloud() -> None:
    counted = Counter({".heic file": 6, "folder @eaDir": 2, "file without suffix": 1})
    assert describe_left_out(counted) == (
        "6 .heic files, 2 folders @eaDir, 1 file without suffix (convert photos to JPEG or PNG)"
    )


def test_many_kinds_are_one_short_sentence() -> None:
    said = describe_left_out(Counter({f".{n} file": 1 for n in range(5000)}) + Counter({".xml file": 7}))
    assert said.startswith("7 .xml files, 1 .")
    assert said.endswith(", 4995 of other kinds")
    assert len(said) < 150


@pytest.mark.parametrize("pattern", ["**a/*.png", "a**"])
def test_what_is_no_pattern_is_named(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(InputError, match=r"is not a pattern .* write \*\* as in"):
        matches(tmp_path, pattern)


def test_own_pictures_are_no_input_of_a_pattern_in_their_folder(tmp_path: Path) -> None:
    mark_results(tmp_path / "overlay")
    draw(tmp_path / "overlay/1.png")
    assert not matches(tmp_path / "overlay", "*.png").images


def test_folders_that_cannot_be_entered_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = draw(tmp_path / "1.png")
    (tmp_path / "locked").mkdir()
    scan = os.scandir

    def refused(path: str) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refused)
    assert find_images(tmp_path) == ([image], Counter([f"folder {tmp_path / 'locked'} that cannot be read"]))


@pytest.mark.parametrize("pattern", ["*/*.png", "**/*.png", "lock*/inner/*.png", "*"])
def test_patterns_name_them_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str) -> None:
    draw(tmp_path / "open/1.png")
    draw(tmp_path / "locked/inner/2.png")
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: "locked" not in str(path) and access(path, mode))
    left_out = matches(tmp_path, pattern).left_out
    assert (f"folder {tmp_path / 'locked'} that cannot be read" in left_out) == (pattern != "*")


def test_a_folder_that_is_marked_later_is_left_out_from_then_on(tmp_path: Path) -> None:
    draw(tmp_path / "predicted/1.png")
    assert len(matches(tmp_path, "**/*.png").images) == 1
    mark_results(tmp_path / "predicted")
    assert not matches(tmp_path, "**/*.png").images
