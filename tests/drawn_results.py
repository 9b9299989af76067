"""Folders of results in the formats that reports read, with scores that tests know."""

from __future__ import annotations

import csv
import json
from base64 import b64encode
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from anomalib_flows.results.metrics.counts import counted

TYPICAL, THRESHOLD = -2.0, 1.0
"""Raw scores that are normalised to 0 and to 0.5."""
CONFIG = """
model: {class_path: fastflow, init_args: {backbone: resnet18}}
data: {class_path: mvtec, init_args: {root: /data, category: stripes}}
image: {size: 64}
"""


class Scored(NamedTuple):
    """An image, its kind of defect and its raw score."""

    path: str
    defect: str
    raw: float

    @property
    def label(self) -> str:
        return "anomalous" if self.raw > THRESHOLD else "normal"

    @property
    def truth(self) -> str:
        return "normal" if self.defect == "good" else "anomalous"

    @property
    def position(self) -> float:
        """Normalised score without clipping."""
        return 0.5 + 0.5 * (self.raw - THRESHOLD) / (THRESHOLD - TYPICAL)

    @property
    def outcome(self) -> str:
        wrong = "missed" if self.label == "normal" else "false alarm"
        return "correct" if self.label == self.truth else wrong


IMAGES = (
    *(Scored(f"/data/stripes/test/good/{i}.png", "good", raw) for i, raw in enumerate((-2, -1, -0.5, 0, 0.5, 2))),
    *(Scored(f"/data/stripes/test/blob/{i}.png", "blob", raw) for i, raw in enumerate((0.25, 0.75, 3, 30))),
    *(Scored(f"/data/stripes/test/crack/{i}.png", "crack", raw) for i, raw in enumerate((-1, 4))),
)
"""One false alarm (good/5) and three missed defects."""


def write_run(folder: Path, images: Sequence[Scored] = IMAGES, *, pictured: int | None = None, **facts: object) -> Path:
    """Write a run that was tested, with thumbnails of the first images, and other facts in its metrics."""
    write_results(folder, images, labelled=True, pictured=pictured)
    kinds = sorted({image.defect for image in images} - {"good"})
    good, defective = ([i for i in images if (i.truth == "anomalous") == bad] for bad in (False, True))
    level = {"auroc": 0.9, "average_precision": 0.8, "f1_max": 0.7, "f1_max_threshold": 0.0, "f1": 0.6}
    level |= {"threshold": THRESHOLD, "normal_images": len(good)}

    def part(of: Sequence[Scored]) -> dict[str, object]:
        pixel = level | {"aupro": None, "masked_images": len(of)}
        return {"image": level | {"anomalous_images": len(of)}, "pixel": pixel}

    by_kind = {kind: [image for image in defective if image.defect == kind] for kind in kinds}
    errors = {
        "false_alarms": wrong(good),
        "missed": wrong(defective),
        "missed_of_kind": {kind: wrong(of) for kind, of in by_kind.items()},
    }
    metrics = about() | {"dataset": "mvtec", "subset": "stripes", "errors": errors} | part(defective)
    metrics["defects"] = {kind: part(of) for kind, of in by_kind.items()}
    write_json(folder / "metrics.json", metrics | facts)
    roc = [[0, 0], [0, 0.5], [0.5, 1], [1, 1]]
    curves = {"roc": roc, "precision_recall": [[0, 1], [1, 0.5]]}
    write_json(folder / "curves.json", {"image": curves, "pixel": curves | {"pro": None}})
    write_json(folder / "versions.json", {"layout": 2, "anomalib_flows": "0.1.0", "torch": "2.7"})
    (folder / "config.yaml").write_text(CONFIG)
    (folder / "losses.csv").write_text("step,epoch,loss\n1,0,3.5\n2,0,2.5\n3,1,-1\n")
    splits = [("train", 0, "good", f"/data/train/{i}.png", "", "") for i in range(20)]
    splits += [("calibration", 0, "good", f"/data/train/{i}.png", "", "") for i in range(20, 29)]
    splits.append(("test", 0, "good", "/data/test/0.png", "", ""))
    write_table(folder / "splits.csv", ("split", "label", "defect", "path", "mask", "digest"), splits)
    return folder


def write_predictions(folder: Path, images: Sequence[Scored] = IMAGES, *, pictured: int | None = None) -> Path:
    """Write what 'predict' writes."""
    write_results(folder, images, labelled=False, pictured=pictured)
    counts = {"images": len(images), "anomalous": sum(image.label == "anomalous" for image in images)}
    write_json(folder / "prediction.json", {"model": "/models/stripes.xml"} | about() | counts)
    return folder


def write_results(folder: Path, images: Sequence[Scored], *, labelled: bool, pictured: int | None) -> None:
    """Write the table of predictions and the thumbnails of the first images."""
    folder.mkdir(parents=True, exist_ok=True)
    names = ("path", "label", "score", "p_value", "truth", "defect", "outcome", "raw_score")
    rows = []
    for one in images:
        known = (one.truth, one.defect, one.outcome) if labelled else ("", "", "")
        rows.append((one.path, one.label, min(max(one.position, 0), 1), 0.1, *known, one.raw))
    write_table(folder / "predictions.csv", names, rows)
    with (folder / "thumbnails.jsonl").open("w") as lines:
        for number, one in enumerate(images[:pictured]):
            lines.write(json.dumps(thumbnail(one, number, truth=labelled and one.defect != "good")) + "\n")


def thumbnail(image: Scored, number: int, *, truth: bool) -> dict[str, object]:
    """Return the line of an image; every other one is upright."""
    height, width = (30, 60) if number % 2 else (60, 30)
    pixels = np.full((height, width, 3), 40 + 10 * (number % 20), np.uint8)
    heatmap = Image.new("RGBA", (width // 2, height // 2), (250, 120, 40, 128))
    line = Image.new("1", (width, height))
    line.paste(1, (3, 3, 9, 9))
    contour = encoded(line, "PNG", transparency=0)
    photo, heat = encoded(Image.fromarray(pixels), "WEBP"), encoded(heatmap, "WEBP")
    mask = contour if image.label == "anomalous" else None
    sizes = {"path": image.path, "size": [10 * height, 10 * width]}
    return sizes | {"photo": photo, "heatmap": heat, "mask": mask, "truth": contour if truth else None}


def encoded(image: Image.Image, kind: str, **options: object) -> str:
    file = BytesIO()
    image.save(file, kind, **options)
    return b64encode(file.getvalue()).decode()


def about() -> dict[str, object]:
    return {
        "protocol": "calibrated",
        "threshold_source": "false-alarm-rate",
        "promised_false_alarm_rate": 0.1,
        "calibration_images": 9,
        "image_scale": {"typical": TYPICAL, "threshold": THRESHOLD},
    }


def wrong(images: Sequence[Scored]) -> dict[str, object]:
    return counted(sum(image.outcome != "correct" for image in images), len(images))


def write_json(file: Path, content: object) -> None:
    file.write_text(json.dumps(content))


def write_table(file: Path, names: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with file.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
        csv.writer(stream).writerows([names, *rows])
