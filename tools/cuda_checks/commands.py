"""Commands as people type them: trainings in each precision, and everything that follows a training."""

from __future__ import annotations

import csv
import json
import math
import os
import time
from pathlib import Path

from cuda_checks.place import CATEGORY, DEFECT, PRECISIONS, Place, demand
from cuda_checks.processes import Row

LOSS_BOUND, SCORE_BOUND = 5e-3, 1e-4
"""Largest relative difference of losses after several steps, and of scores, that devices may show in float32."""


def command(*words: str) -> None:
    """Run a command of ours, which must succeed."""
    from anomalib_flows.cli import main

    began = time.process_time()
    demand(main(list(words)) == 0, f"this command failed: {' '.join(words)}")
    print(f"{words[0]}: {time.process_time() - began:.1f} s of a core", flush=True)


def train(place: Place, name: str, model: str, *more: str, device: str = "", tested: bool = False) -> Path:
    """Train on the drawn photos, and return the run; the test images are left out unless they are asked for."""
    scale, output = place.scale, place.folder / "runs" / name
    words = [f"--model={model}", f"--model.backbone={scale.backbone}", "--model.weights=random"]
    words += [f"--model.{option}={value}" for option, value in place.options(model).items()]
    if tested:
        words += ["--data=mvtec", f"--data.root={place.photos}", f"--data.category={CATEGORY}"]
    else:
        words += ["--data=folder", f"--data.normal={place.photos / CATEGORY / 'train' / 'good'}"]
    words += [f"--output={output}"]
    words += [f"--image.size={scale.size}", "--pictures=0", f"--trainer.accelerator={device or place.device}"]
    lasting = (
        [] if any(word.startswith("--trainer.max_") for word in more) else [f"--trainer.max_epochs={scale.epochs}"]
    )
    command("train", *words, *lasting, *more)
    return next(output.rglob("config.yaml")).parent


def losses(run: Path) -> list[float]:
    """Return the loss of each step of a run, also of a resumed one."""
    tables = sorted((run / "logs").rglob("metrics.csv"), key=lambda file: file.stat().st_mtime)
    found = [float(row["loss"]) for table in tables for row in csv.DictReader(table.open()) if row.get("loss")]
    demand(bool(found) and all(map(math.isfinite, found)), f"losses are missing or not finite: {found[:5]}")
    return found


def scores(folder: Path) -> list[float]:
    """Return the raw scores of a table of predictions."""
    rows = list(csv.DictReader((folder / "predictions.csv").open(encoding="utf-8")))
    found = [float(row.get("raw_score") or row["score"]) for row in rows]
    demand(bool(found) and all(map(math.isfinite, found)), f"scores are missing or not finite: {found[:5]}")
    return found


def difference(found: list[float], expected: list[float]) -> float:
    """Return the largest difference, relative to the largest expected value."""
    demand(len(found) == len(expected), f"{len(found)} values instead of {len(expected)}")
    largest = max(map(abs, expected))
    return max(abs(f - e) for f, e in zip(found, expected, strict=True)) / max(largest, 1e-12)


def training(place: Place, model: str, precision: str) -> list[Row]:
    """Train, test and keep a model in one precision; on a CPU float16 is refused in one sentence."""
    asked = f"--trainer.precision={precision}"
    if place.device == "cpu" and precision == "16-mixed":
        from anomalib_flows.core.errors import InputError

        try:
            train(place, f"{model}-{precision}", model, asked, tested=True)
        except AssertionError:
            return [{"model": model, "precision": precision, "refused": True}]
        raise InputError("float16 was not refused on a CPU")
    run = train(place, f"{model}-{precision}", model, asked, tested=True)
    metrics = json.loads((run / "metrics.json").read_text())
    of_run = losses(run)
    scores(run)
    falls = sum(of_run[-4:]) < sum(of_run[:4])
    demand(falls or place.device == "cpu", f"the loss does not fall: {of_run}")  # there it has too few steps
    row = {"model": model, "precision": PRECISIONS[precision], "steps": len(of_run)}
    auroc = metrics.get("image", {}).get("auroc") if isinstance(metrics.get("image"), dict) else None
    return [row | {"first loss": of_run[0], "last loss": of_run[-1], "image AUROC": auroc}]


def resume(place: Place, model: str) -> list[Row]:
    """Train one epoch on one device and one on another: losses are those of a training that stayed on the CPU."""
    fixed = ["--model.schedule=constant", "--trainer.precision=32"]
    expected = losses(train(place, f"stay-{model}", model, *fixed, "--trainer.max_epochs=2", device="cpu"))
    rows = []
    for first, second in dict.fromkeys(((place.device, "cpu"), ("cpu", place.device))):
        run = train(place, f"move-{model}-{first}-{second}", model, *fixed, "--trainer.max_epochs=1", device=first)
        command("train", f"--resume={run}", "--trainer.max_epochs=2", f"--trainer.accelerator={second}")
        apart = difference(losses(run), expected)
        demand(apart <= LOSS_BOUND, f"from {first} to {second} losses differ by {apart:.1e}: {losses(run)}, {expected}")
        rows.append({"model": model, "from": first, "to": second, "largest difference of losses": apart})
    return rows


def feature_cache(place: Place, model: str) -> list[Row]:
    """Train with features that are computed, computed and kept, and read: losses are the same."""
    cache_home = place.folder / "cache" / model  # models share features, which would be kept already
    os.environ["XDG_CACHE_HOME"] = str(cache_home)
    kept = cache_home / "anomalib-flows" / "features"
    fixed, counts, found = ["--trainer.precision=32"], [], []
    for i, cache in enumerate(("none", "disk", "disk")):
        before = len(list(kept.glob("*")))
        found.append(losses(train(place, f"cache-{model}-{i}", model, *fixed, f"--trainer.cache={cache}", "--seed=7")))
        counts.append(len(list(kept.glob("*"))) - before)
    apart = max(difference(of_run, found[0]) for of_run in found[1:])
    demand(counts[0] == counts[2] == 0 < counts[1], f"files that were kept by the three trainings: {counts}")
    demand(apart <= LOSS_BOUND, f"losses differ by {apart:.1e}")
    return [{"model": model, "kept": counts[1], "largest difference of losses": apart}]


def after_training(place: Place, model: str) -> list[Row]:
    """Calibrate, test and predict with a run of the device, and predict on the CPU as well: the scores are equal."""
    run = train(place, f"after-{model}", model, tested=True)
    device, photos = f"--device={place.device}", place.photos / CATEGORY / "test"
    command("calibrate", str(run), "--false-alarm-rate=0.2", device)
    command("test", str(run), device, "--pictures=2", f"--output={place.folder / 'tested' / model}")
    predicted = {}
    for name in dict.fromkeys((place.device, "cpu")):
        output = place.folder / "predicted" / f"{model}-{name}"
        command("predict", str(run), f"--input={photos}", f"--output={output}", f"--device={name}")
        predicted[name] = scores(output)
    apart = difference(predicted[place.device], predicted["cpu"])
    demand(apart <= SCORE_BOUND, f"scores differ from those of the CPU by {apart:.1e}")
    demand(len(predicted["cpu"]) == 2 * (place.scale.good // 3), f"{len(predicted['cpu'])} predictions of {DEFECT}")
    return [{"model": model, "images": len(predicted["cpu"]), "largest difference of scores": apart}]


def exported(place: Place, model: str) -> list[Row]:
    """Export a run of the device; the command compares the program with the trained model."""
    run, output = train(place, f"export-{model}", model), place.folder / "exported" / model
    command("export", str(run), "--format=torch", f"--output={output}")
    return [{"model": model, "exported files": len([file for file in output.rglob("*") if file.is_file()])}]


def compiled(place: Place, model: str) -> list[Row]:
    """Train with a compiled loss: losses are those of a training without."""
    fixed = ["--trainer.precision=32", "--trainer.max_epochs=1"]
    plain = losses(train(place, f"plain-{model}", model, *fixed))
    fast = losses(train(place, f"compiled-{model}", model, *fixed, "--trainer.compile=true"))
    apart = difference(fast, plain)
    demand(apart <= LOSS_BOUND, f"losses differ by {apart:.1e}")
    return [{"model": model, "largest difference of losses": apart}]
