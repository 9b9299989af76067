import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.finding import OWN
from anomalib_flows.core.types import ImageResult, Sample
from anomalib_flows.results import pictures
from anomalib_flows.results.drawing import drawing
from anomalib_flows.results.figure import figure
from anomalib_flows.results.pictures import FigureName, FigureSink, PictureSink, name_figures, picture_of, save_image
from anomalib_flows.results.sinks import drain

Make = Callable[..., ImageResult]
MakeSample = Callable[..., Sample]


def files_in(folder: Path) -> list[str]:
    return sorted(f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file() and f.name != OWN)


def draw_figures(results: list[ImageResult], folder: Path, names: dict[Path, FigureName]) -> None:
    with drawing() as threads:
        drain(results, [FigureSink(threads, folder, names)])


def draw_pictures(results: list[ImageResult], folder: Path, name: str = "a.png") -> None:
    with drawing() as threads:
        drain(results, [PictureSink(threads, folder, lambda _: Path(name))])


def names_of(results: list[ImageResult], limit: int = 100) -> dict[Path, FigureName]:
    return name_figures([result.sample for result in results if result.sample], Path("/synthetic"), limit)


def test_figures_keep_sub_folders(tmp_path: Path, make_result: Make, make_sample: MakeSample) -> None:
    names = ["test/good/0.png", "test/crack/0.png", "test/crack/1.bmp", "test/dent/1.png", "test/dent/1.jpg"]
    results = [make_result(sample=make_sample(Path("/data/tile") / name)) for name in names]
    draw_figures(results, tmp_path, names_of(results))
    written = ["crack/0.jpg", "crack/1.jpg", "dent/1.jpg.jpg", "dent/1.png.jpg", "good/0.jpg"]
    assert files_in(tmp_path) == written
    assert all(Image.open(tmp_path / file).format == "JPEG" for file in written)


def test_exactly_the_named_figures_are_drawn(tmp_path: Path, make_result: Make, make_sample: MakeSample) -> None:
    results = [make_result(sample=make_sample(f"/data/{i}.png", i % 2)) for i in range(30)]
    names = names_of(results, 7)
    draw_figures([*results, make_result(sample=None)], tmp_path, names)
    assert len(names) == 7
    assert files_in(tmp_path) == sorted(name.file.as_posix() for name in names.values())


def test_a_figure_shows_picture_and_title(tmp_path: Path, make_result: Make) -> None:
    result = make_result()
    draw_figures([result], tmp_path, {result.sample.path: FigureName(Path("a.jpg"), "a title")})
    expected = figure(result, result.picture, "a title")
    found = np.asarray(Image.open(tmp_path / "a.jpg")).astype(int)
    assert np.abs(found - np.asarray(expected)).mean() < 2


def test_pictures_that_were_not_kept_are_read_when_their_turn_comes(
    tmp_path: Path, make_result: Make, make_sample: MakeSample, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, read = tmp_path / "image.png", []
    Image.fromarray(make_result().picture).save(file)
    read_pixels = pictures.read_pixels
    monkeypatch.setattr(pictures, "read_pixels", lambda path, *limit: read.append(path) or read_pixels(path, *limit))
    lazy, kept = (make_result(sample=make_sample(file), **changes) for changes in ({"picture": None}, {}))
    for folder, result in (("lazy", lazy), ("kept", kept)):
        draw_figures([result], tmp_path / folder, names_of([result]))
        draw_pictures([result], tmp_path / folder)
    assert read == [file, file]
    assert len(files_in(tmp_path / "lazy")) == 4
    for name in files_in(tmp_path / "lazy"):
        assert (tmp_path / "lazy" / name).read_bytes() == (tmp_path / "kept" / name).read_bytes()


def test_a_picture_that_cannot_be_read_stops_the_figures(tmp_path: Path, make_result: Make) -> None:
    results = [make_result(), make_result(picture=None)]
    with pytest.raises(InputError, match="000.png does not exist"):
        draw_figures(results, tmp_path, names_of(results))
    assert not any(".tmp" in name for name in files_in(tmp_path))


def test_a_result_with_neither_picture_nor_file_is_a_mistake(make_result: Make) -> None:
    with pytest.raises(ValueError, match="without a picture"):
        picture_of(make_result(picture=None, sample=None))


def test_prediction_images_have_the_size_of_the_image(tmp_path: Path, make_result: Make) -> None:
    mask = np.zeros((16, 16), dtype=bool)
    mask[:4, :8] = True
    image = np.full((50, 80, 3), 90, dtype=np.uint8)
    draw_pictures([make_result(picture=image, anomaly_map=mask * 0.9, mask=mask)], tmp_path, "line 1/ä.png")
    assert files_in(tmp_path) == ["heatmap/line 1/ä.png", "mask/line 1/ä.png", "overlay/line 1/ä.png"]
    drawn = {kind: Image.open(tmp_path / kind / "line 1/ä.png") for kind in ("heatmap", "overlay", "mask")}
    assert {p.size for p in drawn.values()} == {(80, 50)}
    assert [p.mode for p in drawn.values()] == ["RGB", "RGB", "L"]
    values = np.asarray(drawn["mask"])
    assert set(np.unique(values)) == {0, 255}
    assert (values == 255).mean() == pytest.approx(mask.mean(), abs=0.02)


def test_maps_are_saved_as_they_are(tmp_path: Path, make_result: Make) -> None:
    shown, raw = np.random.default_rng(0).random((2, 5, 7)).astype(np.float32)
    for folder, values in (("run", raw), ("exported", None)):
        with drawing() as threads:
            result = make_result(anomaly_map=shown, raw_map=values)
            drain([result], [PictureSink(threads, tmp_path / folder, lambda _: Path("a/b.c.png"), ["maps"])])
        assert files_in(tmp_path / folder) == ["maps/a/b.c.npy"]
        saved = np.load(tmp_path / folder / "maps/a/b.c.npy", allow_pickle=False)
        assert saved.dtype == np.float32
        assert (saved == (shown if values is None else raw)).all()


@pytest.mark.parametrize(
    ("chosen", "drawn"),
    [("all", "0123"), ("anomalous", "13"), ("none", ""), (0, ""), (1, "0"), (3, "012"), (9, "0123")],
)
def test_pictures_of_the_chosen_images(tmp_path: Path, make_result: Make, chosen: int | str, drawn: str) -> None:
    results = [make_result(score=i / 4, label=i % 2) for i in range(4)]
    with drawing() as threads:
        sink = PictureSink(threads, tmp_path, lambda one: Path(f"{one.score * 4:.0f}.png"), ["mask", "overlay"], chosen)
        drain(results, [sink])
    assert files_in(tmp_path) == sorted(f"{kind}/{name}.png" for kind in ("mask", "overlay") for name in drawn)


@pytest.mark.parametrize("name", ["figure.jpg", "overlay.png", "page.webp"])
def test_a_full_disk_surfaces_as_it_is(tmp_path: Path, name: str) -> None:
    resource = pytest.importorskip("resource")
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))  # as little as a full disk takes
    try:
        with pytest.raises(OSError, match="File too large"):
            save_image(Image.fromarray(noise), tmp_path / name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_surfaces_as_it_is(tmp_path: Path, make_result: Make) -> None:
    (tmp_path / "file").touch()
    results = [make_result()]
    with pytest.raises(OSError, match="file"):
        draw_figures(results, tmp_path / "file", names_of(results))
    with pytest.raises(OSError, match="file"):
        draw_pictures(results, tmp_path / "file")


def test_few_pictures_wait_to_be_drawn() -> None:
    drawn, gate = [], threading.Event()

    def slow(number: int) -> None:
        gate.wait(20)
        drawn.append(number)

    with drawing() as threads:
        for number in range(threads.limit):
            threads.submit(slow, number)
        assert not drawn
        threading.Timer(0.05, gate.set).start()
        threads.submit(slow, threads.limit)
        assert 0 in drawn, "it waits for the oldest one"
        for number in range(100):
            threads.submit(slow, number)
            assert len(threads.pending) <= threads.limit
    assert len(drawn) == threads.limit + 101


def test_an_error_of_a_picture_surfaces_soon(tmp_path: Path) -> None:
    def fail() -> None:
        raise OSError(28, "No space left on device")

    submitted = 0
    with pytest.raises(OSError, match="No space"), drawing() as threads:  # noqa: PT012 (the moment is what counts)
        for _ in range(1000):
            threads.submit(fail)
            submitted += 1
    assert submitted <= threads.limit


def test_what_is_drawn_is_handed_on_in_order_and_in_this_thread(tmp_path: Path) -> None:
    def slow(number: int) -> int:
        time.sleep(0.01 * (number % 3))
        return number

    handed: list[tuple[int, int]] = []
    with drawing() as threads:
        for number in range(30):
            threads.submit(slow, number, then=lambda drawn: handed.append((drawn, threading.get_ident())))
    assert handed == [(number, threading.get_ident()) for number in range(30)]


def test_an_error_leaves_time_to_finish_what_was_begun() -> None:
    handed: list[int] = []
    with pytest.raises(KeyboardInterrupt), drawing() as threads:  # noqa: PT012
        for number in range(3):
            threads.submit(int, number, then=handed.append)
        threads.submit(int, "no number", then=handed.append)
        threads.submit(int, 4, then=handed.append)
        raise KeyboardInterrupt
    assert handed == [0, 1, 2]  # nothing after one that failed: rows stay without gaps
