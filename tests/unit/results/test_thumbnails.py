"""Thumbnails: small, in order, of the images to look at, and complete whatever ends the prediction."""

import json
from base64 import b64decode
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomalib_flows.core.types import ImageResult, Sample
from anomalib_flows.results import thumbnails as module
from anomalib_flows.results.colours import table
from anomalib_flows.results.drawing import drawing
from anomalib_flows.results.sinks import drain
from anomalib_flows.results.thumbnails import ThumbnailSink, open_thumbnails, thumbnail

Make = Callable[..., ImageResult]
MakeSample = Callable[..., Sample]
EMPTY = np.zeros((64, 64), bool)


def write(results: list[ImageResult], file: Path, *, labelled: bool = True) -> list[dict]:
    with drawing() as threads, open_thumbnails(file, threads, labelled=labelled) as sink:
        drain(results, [sink])
    return [json.loads(line) for line in file.read_text().splitlines()]


def opened(text: str) -> Image.Image:
    return Image.open(BytesIO(b64decode(text)))


@pytest.mark.parametrize(
    ("size", "side"), [((1000, 1500), (128, 192)), ((500, 20), (192, 8)), ((2000, 2), (192, 1)), ((48, 64), (48, 64))]
)
def test_pictures_are_small_and_keep_their_ratio(make_result: Make, size: tuple[int, int], side: tuple) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    found = json.loads(thumbnail(make_result(picture=noise)))
    assert found["size"] == list(size)
    for name, kind in {"photo": "WEBP", "mask": "PNG", "truth": "PNG"}.items():
        drawn = opened(found[name])
        assert (drawn.format, drawn.size) == (kind, side[::-1]), name
    assert max(opened(found["heatmap"]).size) <= 96


def test_a_thumbnail_looks_like_its_image(make_result: Make) -> None:
    picture = np.full((300, 300, 3), (200, 120, 40), np.uint8)
    picture[:150] = (20, 60, 180)
    found = np.asarray(opened(json.loads(thumbnail(make_result(picture=picture)))["photo"]).convert("RGB")).astype(int)
    assert np.abs(found[:90] - (20, 60, 180)).mean() < 8
    assert np.abs(found[100:] - (200, 120, 40)).mean() < 8


def test_heatmaps_are_transparent_where_nothing_is_anomalous(make_result: Make) -> None:
    values = np.zeros((64, 64), np.float32)
    values[:, 32:] = 1
    found = opened(
        json.loads(thumbnail(make_result(anomaly_map=values, picture=np.zeros((96, 96, 3), np.uint8))))["heatmap"]
    )
    drawn = np.asarray(found.convert("RGBA")).astype(int)
    assert drawn[:, :40, 3].max() < 12
    assert drawn[:, 56:, 3].min() > 170
    assert np.abs(drawn[:, 56:, :3] - table()[255]).mean() < 12


def test_contours_are_drawn_in_their_colours_on_nothing(make_result: Make) -> None:
    found = json.loads(thumbnail(make_result()))
    for name, colour in {"mask": (255, 255, 255), "truth": (255, 32, 48)}.items():
        drawn = opened(found[name])
        pixels = np.asarray(drawn.convert("RGBA"))
        assert set(np.unique(pixels[..., 3])) == {0, 255}
        assert (pixels[pixels[..., 3] == 255][:, :3] == colour).all()
        assert 100 < (pixels[..., 3] == 255).sum() < 400  # around a square of 32 x 24
        assert b64decode(found[name])[24] == 1, "bits of a pixel"


def test_masks_that_are_empty_or_unknown_are_null(make_result: Make) -> None:
    found = json.loads(thumbnail(make_result(mask=EMPTY, ground_truth=None)))
    assert (found["mask"], found["truth"]) == (None, None)
    assert json.loads(thumbnail(make_result(ground_truth=EMPTY)))["truth"] is None


@pytest.mark.parametrize(("labelled", "expected"), [(True, [0, 1, 2, 3, 4, 7, 8]), (False, [0, 1, 2, 3, 5, 7, 9])])
def test_many_images_have_a_thumbnail_if_they_are_to_be_looked_at(
    tmp_path: Path, make_result: Make, make_sample: MakeSample, monkeypatch, labelled: bool, expected: list[int]
) -> None:
    monkeypatch.setattr(module, "FIRST", 4)
    monkeypatch.setattr(module, "MOST", 7)
    results = [make_result(sample=make_sample(f"{i}.png", int(i % 4 in (0, 1))), label=i % 2) for i in range(12)]
    found = write(results, tmp_path / "thumbnails.jsonl", labelled=labelled)
    wrong = [i for i in range(4, 12) if (i % 4 in (0, 1)) != i % 2]
    anomalous = [i for i in range(4, 12) if i % 2]
    assert expected[4:] == (wrong if labelled else anomalous)[:3]
    assert [one["path"] for one in found] == [f"{i}.png" for i in expected]


def test_lines_are_in_order_and_those_before_an_error_are_kept(
    tmp_path: Path, make_result: Make, make_sample: MakeSample
) -> None:
    def results():
        for i in range(40):
            size = (600, 800, 3) if i % 3 == 0 else (8, 8, 3)  # large ones take longer
            yield make_result(sample=make_sample(f"={i}.png"), picture=np.zeros(size, np.uint8))
        raise KeyboardInterrupt

    found: list[bytes] = []
    with pytest.raises(KeyboardInterrupt), drawing() as threads:
        drain(results(), [ThumbnailSink(threads, found.append, labelled=False)])
    assert [json.loads(line)["path"] for line in found] == [f"./={i}.png" for i in range(40)]
    with (
        pytest.raises(KeyboardInterrupt),
        drawing() as threads,
        open_thumbnails(tmp_path / "thumbnails.jsonl", threads, labelled=False) as sink,
    ):
        drain(results(), [sink])
    assert not list(tmp_path.iterdir())
