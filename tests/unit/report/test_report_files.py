import csv
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from anomalib_flows.results.files import (
    relative,
    save_image,
    unique_names,
    write_csv,
    write_figures,
    write_prediction_images,
)
from anomalib_flows.results.result import Result

Make = Callable[..., Result]


def files_in(folder: Path) -> list[str]:
    return sorted(f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file())


def test_figures_keep_sub_folders_and_the_order(tmp_path: Path, make_result: Make) -> None:
    names = ["test/good/0.png", "test/crack/0.png", "test/crack/1.bmp", "test/dent/1.png", "test/dent/1.jpg"]
    results = [make_result(path=Path("/data/tile") / name) for name in names]
    written = write_figures(results, tmp_path / "images", Path("/data/tile"))
    assert [f.relative_to(tmp_path).as_posix() for f in written] == [
        "images/test/good/0.jpg",
        "images/test/crack/0.jpg",
        "images/test/crack/1.jpg",
        "images/test/dent/1.png.jpg",
        "images/test/dent/1.jpg.jpg",
    ]
    assert files_in(tmp_path) == sorted(f.relative_to(tmp_path).as_posix() for f in written)
    assert all(Image.open(f).format == "JPEG" for f in written)


def test_an_image_that_cannot_be_read_stops_the_figures(tmp_path: Path, make_result: Make) -> None:
    def unreadable() -> np.ndarray:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        write_figures([make_result(), make_result(image=unreadable)], tmp_path, Path())
    assert not any(".tmp" in name for name in files_in(tmp_path))


def test_prediction_images_have_the_size_of_the_image(tmp_path: Path) -> None:
    mask = np.zeros((16, 16), dtype=bool)
    mask[:4, :8] = True
    image = np.full((50, 80, 3), 90, dtype=np.uint8)
    write_prediction_images(tmp_path, Path("line 1/ä.png"), image, mask * 0.9, mask)
    assert files_in(tmp_path) == ["heatmap/line 1/ä.png", "mask/line 1/ä.png", "overlay/line 1/ä.png"]
    pictures = {kind: Image.open(tmp_path / kind / "line 1/ä.png") for kind in ("heatmap", "overlay", "mask")}
    assert {p.size for p in pictures.values()} == {(80, 50)}
    assert [p.mode for p in pictures.values()] == ["RGB", "RGB", "L"]
    values = np.asarray(pictures["mask"])
    assert set(np.unique(values)) == {0, 255}
    assert (values == 255).mean() == pytest.approx(mask.mean(), abs=0.02)


def test_csv_survives_strange_names(tmp_path: Path) -> None:
    names = [
        "a,b.png",
        'quo"te.png',
        "new\nline.png",
        "carriage\rreturn.png",
        "検査 ü.png",
        " blank ",
        "bad\udcff.png",
    ]
    scores = np.linspace(-1e-7, 12345.678901234, len(names), dtype=np.float32)
    file = tmp_path / "sub" / "predictions.csv"
    write_csv([(Path(n), s, 1 / 3, i % 2) for i, (n, s) in enumerate(zip(names, scores, strict=True))], file)
    with file.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["path", "score", "p_value", "label"]
    assert [row["path"] for row in rows] == names
    assert [np.float32(row["score"]) for row in rows] == scores.tolist()
    assert {row["p_value"] for row in rows} == {"0.33333334"}
    assert [row["label"] for row in rows[:2]] == ["normal", "anomalous"]
    assert files_in(tmp_path) == ["sub/predictions.csv"]


def test_csv_that_fails_half_way_leaves_the_old_one(tmp_path: Path) -> None:
    file = tmp_path / "predictions.csv"
    write_csv([("a.png", 1.0, 0.5, 0)], file)
    before = file.read_bytes()

    def rows() -> object:
        yield ("b.png", 2.0, 0.5, 1)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_csv(rows(), file)
    assert file.read_bytes() == before
    assert files_in(tmp_path) == ["predictions.csv"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_surfaces_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anomalib_flows.core.files.uuid4", lambda: type("Name", (), {"hex": "full"}))
    (tmp_path / ".tmp-full.png").symlink_to("/dev/full")
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    with pytest.raises(OSError, match="No space left"):
        save_image(Image.fromarray(noise), tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


FULL = """
import resource, sys
from pathlib import Path
import numpy as np
from anomalib_flows.commands.judging import Judged, write_judged

def judged():
    for number in range(100):
        name = Path(f"{'x' * 40}{number:02}.png")
        image, map01 = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.float32)
        yield Judged(name, name, image, map01, map01 > 0, 1.0, 0.5, 1)

resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
write_judged(judged(), Path(sys.argv[1]))
"""


def test_a_disk_that_becomes_full_leaves_the_rows_before(tmp_path: Path) -> None:
    pytest.importorskip("resource")
    run = subprocess.run([sys.executable, "-c", FULL, tmp_path / "out"], capture_output=True, text=True, check=False)
    assert "OSError: [Errno 27]" in run.stderr
    table = (tmp_path / "out" / "predictions.csv").read_bytes()
    assert 1900 < len(table) <= 2000
    assert table.endswith(b",anomalous\r\n")
    rows = list(csv.DictReader(table.decode().splitlines()))
    assert [row["path"] for row in rows] == [f"{'x' * 40}{number:02}.png" for number in range(len(rows))]
    assert f"Anomalous: {len(rows)} of {len(rows)}. Table and pictures" in run.stdout


def test_a_folder_that_cannot_be_made_surfaces_as_it_is(tmp_path: Path, make_result: Make) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        write_figures([make_result()], tmp_path / "file", Path())
    with pytest.raises(OSError, match="file"):
        write_prediction_images(tmp_path / "file", Path("a.png"), make_result().picture(), np.eye(3), np.eye(3) > 0)


parts = st.sampled_from(["a", "A", "a.png", "a.jpg", "b", ".png", "a.b", "ß"])
suffixes = st.sampled_from(["", ".png", ".jpg", ".jpg.png", ".PNG"])
some_paths = st.lists(st.builds(lambda d, n, s: Path(f"{d}_dir") / (n + s), parts, parts, suffixes))


@given(some_paths)
@example([Path("a_dir/a"), Path("a_dir/a.jpg"), Path("A_dir/a.jpg.png")])
def test_names_never_collide(paths: list[Path]) -> None:
    # What a file system that ignores case can hold, too.
    paths = list({str(path).casefold(): path for path in paths}.values())
    names = unique_names(paths, ".png")
    assert len({str(name).casefold() for name in names}) == len(paths)
    assert [name.parent for name in names] == [path.parent for path in paths]
    assert all(name.suffix == ".png" for name in names)


@pytest.mark.parametrize(
    ("path", "root"),
    [
        ("/data/a/x.png", "/data"),
        ("/data/../x.png", "/data"),
        ("../../x.png", "."),
        ("/other/x.png", "/data"),
    ],
)
def test_figures_never_leave_their_folder(path: str, root: str) -> None:
    found = relative(Path(path), Path(root))
    assert not found.is_absolute()
    assert ".." not in found.parts
    assert found.name == "x.png"


def test_links_keep_their_own_names(tmp_path: Path) -> None:
    (tmp_path / "store.png").touch()
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "1.png").symlink_to(tmp_path / "store.png")
    assert relative(tmp_path / "set" / "1.png", tmp_path / "set") == Path("1.png")
