"""The animation shows each chosen image with its decision, and stays small whatever there is to show."""

from __future__ import annotations

import csv
import json
from base64 import b64encode
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from anomalib_flows.core.errors import InputError
from anomalib_flows.results import animation
from anomalib_flows.results.animation import FRAMES, write_animation
from anomalib_flows.results.figure import AMBER

HEADER = ["path", "label", "score", "p_value", "truth", "defect", "outcome", "raw_score"]
LINE = '{"path": "0.png", "size": [9, 9], "photo": "%s", "heatmap": "%s", "mask": null, "truth": null}\n'
RED, WHITE = (255, 32, 48), (255, 255, 255)


def packed(image: Image.Image, kind: str, **options: object) -> str:
    file = BytesIO()
    image.save(file, kind, **options)
    return b64encode(file.getvalue()).decode()


def line_image(size: tuple[int, int], colour: tuple[int, int, int]) -> str:
    """A horizontal contour line, as thumbnails have it."""
    drawn = np.zeros(size[::-1], np.uint8)
    drawn[size[1] // 2 - 4 : size[1] // 2 + 4, 10:-10] = 1
    image = Image.fromarray(drawn)
    image.putpalette([0, 0, 0, *colour])
    return packed(image, "PNG", bits=1, transparency=0)


class Results:
    """Predictions and thumbnails of a folder of results."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.rows, self.lines = folder, [], []

    def add(self, path: str, photo: Image.Image, *, outcome: str = "correct", bad: bool = False, score=0.25) -> None:
        label = "anomalous" if bad != (outcome in ("missed", "false alarm")) else "normal"
        truth = ["anomalous" if bad else "normal", "crack" if bad else "good", outcome] if outcome else ["", "", ""]
        self.rows.append([path, label, score, 0.1, *truth, -1.5])
        heat = Image.new("RGBA", (1 + photo.width // 2, 1 + photo.height // 2), (250, 112, 40, 0))
        heat.paste((250, 112, 40, 255), (0, 0, heat.width // 4, heat.height // 4))
        line = {"path": path, "size": [4 * photo.height, 4 * photo.width], "photo": packed(photo, "WEBP", quality=70)}
        line |= {"heatmap": packed(heat, "WEBP", lossless=True), "mask": line_image(photo.size, WHITE) if bad else None}
        line |= {"truth": line_image(photo.size, RED) if bad and outcome else None}
        self.lines.append(line)

    def write(self) -> Path:
        scale = {"typical": -3.0, "threshold": -1.0}
        facts = {"protocol": "calibrated", "threshold_source": "hand", "promised_false_alarm_rate": None}
        (self.folder / "prediction.json").write_text(json.dumps(facts | {"image_scale": scale}))
        with (self.folder / "predictions.csv").open("w", newline="") as stream:
            csv.writer(stream).writerows([HEADER, *self.rows])
        (self.folder / "thumbnails.jsonl").write_text("".join(json.dumps(line) + "\n" for line in self.lines))
        return self.folder


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(tmp_path)


def grey(width: int = 192, height: int = 144, level: int = 90) -> Image.Image:
    return Image.new("RGB", (width, height), (level,) * 3)


def frames(file: Path) -> list[Image.Image]:
    with Image.open(file) as opened:
        assert opened.is_animated
        return [one.convert("RGB") for one in ImageSequence.Iterator(opened)]


def near(image: Image.Image, colour: tuple[int, int, int], within: int = 60) -> np.ndarray:
    return (np.abs(np.asarray(image).astype(int) - colour) < within).all(-1)


def test_a_frame_has_photo_with_truth_beside_heatmap_with_contour(results: Results) -> None:
    results.add("good/0.png", grey())
    results.add("crack/1.png", grey(), bad=True, score=0.75)
    [file] = write_animation(results.write())
    good, bad = frames(file)
    half = good.width // 2
    for image in (good, bad):
        assert not near(image.crop((0, 60, half, image.height)), (250, 112, 40)).any()
        assert near(image.crop((half, 44, half + 60, 90)), (250, 112, 40)).sum() > 300
    assert not near(good, RED).any()
    assert near(bad.crop((0, 60, half, bad.height)), RED).sum() > 300
    across = (half + 20, bad.height // 2, bad.width - 20, bad.height - 20)
    assert near(bad.crop(across), WHITE).sum() > 300 > near(good.crop(across), WHITE).sum()


def test_frames_say_label_score_and_truth_as_text(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    monkeypatch.setattr(
        animation, "write", lambda canvas, at, words, size: written.append("".join(w for w, _ in words))
    )
    results.add("a/good/0.png", grey(), outcome="false alarm", score=0.62)
    results.add("a/crack/1.png", grey(), bad=True, outcome="missed", score=0.4)
    results.add("a/new.png", grey(), outcome="")
    write_animation(results.write())
    assert written[2::3] == [
        "anomalous  0.62  FALSE ALARM  (true: normal)",
        "normal  0.40  MISSED  (true: crack)",
        "normal  0.25",
    ]
    assert written[0::3] == ["a/good/0.png", "a/crack/1.png", "a/new.png"]
    assert written[1::3] == ["1 / 3", "2 / 3", "3 / 3"]


def test_wrong_decisions_are_framed_and_stay_longer(results: Results) -> None:
    results.add("0.png", grey())
    results.add("1.png", grey(), bad=True, outcome="missed")
    [file] = write_animation(results.write())
    right, wrong = frames(file)
    assert near(wrong, AMBER).sum() > 1000 > near(right, AMBER).sum()
    with Image.open(file) as opened:
        durations = [one.info["duration"] for one in ImageSequence.Iterator(opened) if one.load()]
        assert opened.info["loop"] == 0
    assert durations[1] > durations[0]


def test_many_images_of_noise_give_a_bounded_file_with_both_kinds(results: Results, monkeypatch) -> None:
    limit, rng = FRAMES // 10, np.random.default_rng(0)
    monkeypatch.setattr(animation, "FRAMES", limit)
    for i in range(10 * limit):
        noise = Image.fromarray(rng.integers(0, 256, (192, 192, 3), np.uint8))
        results.add(f"{i:03}.png", noise, bad=i % 10 == 0, score=0.5)
    truths, draw = [], animation.write_frames
    monkeypatch.setattr(
        animation,
        "write_frames",
        lambda shown, file: truths.extend(one.row["truth"] for one in shown) or draw(shown, file),
    )
    [file] = write_animation(results.write())
    assert len(frames(file)) == limit
    assert sorted(truths) == ["anomalous"] * (limit // 2) + ["normal"] * (limit // 2)
    assert file.stat().st_size < limit * 8e6 / FRAMES, "noise is what takes most bytes"
    assert not list(results.folder.glob(".tmp-*"))


@pytest.mark.parametrize("size", [(192, 1), (1, 192), (30, 20)])
def test_any_shape_is_shown(results: Results, size: tuple[int, int]) -> None:
    results.add("x/" * 100 + "検.png", grey(*size))
    [file] = write_animation(results.write())
    with Image.open(file) as opened:
        assert opened.width >= 2 * animation.LEAST
        assert opened.height >= size[1]


def test_images_without_a_thumbnail_are_left_out(results: Results) -> None:
    for i in range(3):
        results.add(f"{i}.png", grey())
    del results.lines[1]
    assert len(frames(write_animation(results.write())[0])) == 2


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("thumbnails.jsonl", None, "has no thumbnails"),
        ("thumbnails.jsonl", "", "has no thumbnails"),
        ("thumbnails.jsonl", "{", "thumbnails.jsonl is damaged"),
        ("thumbnails.jsonl", "[]\n", "thumbnails.jsonl is damaged"),
        ("thumbnails.jsonl", LINE % ("AAAA", "AAAA"), "thumbnails.jsonl is damaged"),
        ("thumbnails.jsonl", LINE % ("?", ""), "thumbnails.jsonl is damaged"),
        ("predictions.csv", None, "is not a run"),
        ("predictions.csv", "path,score,p_value,label\n0.png,1,1,normal\n", "predictions.csv is damaged"),
        ("predictions.csv", ",".join(HEADER) + "\n0.png,normal\n", "predictions.csv is damaged"),
    ],
)
def test_damage_is_one_sentence_and_leaves_no_file(results: Results, file, content, said) -> None:
    results.add("0.png", grey())
    folder = results.write()
    (folder / file).unlink() if content is None else (folder / file).write_text(content)
    with pytest.raises(InputError, match=said):
        write_animation(folder)
    assert not list(folder.glob("*.webp"))
    assert not list(folder.glob(".tmp-*"))


def test_a_picture_larger_than_a_thumbnail_is_refused(results: Results) -> None:
    results.add("0.png", grey(2000, 10))
    with pytest.raises(InputError, match="damaged"):
        write_animation(results.write())
