"""Compare ways to train and to score, on features that are computed once: what every choice of ours is worth.

Trains each recipe with each seed and appends a line of JSON for each evaluation; then prints a table of the file.

    python tools/compare_recipes.py --root $DATA --category magnetic_tile --epochs 12 --output recipes.jsonl

Recipes are those of ``RECIPES`` in ``tools/recipes.py``; without --root the category is one of the drawn set.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from jsonargparse import auto_cli
from torch import Tensor

from anomalib_flows.core import registry
from anomalib_flows.core.types import Sample
from anomalib_flows.data.datasets.base import Dataset
from anomalib_flows.data.datasets.mvtec import MVTec
from anomalib_flows.data.datasets.synthetic import Synthetic
from anomalib_flows.data.splits.splits import hold_out
from anomalib_flows.inference.predictor import BALANCING, compute
from anomalib_flows.models.base import Detector, Features
from anomalib_flows.models.heatmap import image_scores
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.results.metrics.evaluate import evaluate
from recipes import RECIPES, SCORES, Remedies

PERCENTS = (0.0, 0.5, 1.0, 2.0, 5.0)


def main(
    output: Path,
    category: str = "fabric",
    root: Path | None = None,
    model: str = "fastflow",
    backbone: str = "texture13",
    encoder: dict[str, Any] | None = None,
    recipes: list[str] | None = None,
    seeds: int = 3,
    epochs: int = 20,
    evaluations: int = 4,
    batch_size: int = 16,
    image_size: int = 256,
    precision: str = "bf16",
) -> None:
    """Run recipes and print their table.

    Args:
        output: File of lines of JSON; what it holds already is not run again: take another when defaults have changed.
        category: Category of the dataset.
        root: Folder of a dataset in MVTec AD's layout; the drawn set if not given.
        model: Registered model.
        backbone: Its encoder.
        encoder: Further options of the encoder.
        recipes: Names of recipes; by default all of the model.
        seeds: Seeds 0, 1, ... of the flow's weights and of the order of images; images held out are always the same.
        epochs: Passes over the training images.
        evaluations: How often detection is measured, at even distances, besides before the first step.
        batch_size: Images in a step.
        image_size: Side of the images in pixels.
        precision: ``bf16`` or ``32``, in training.
    """
    common: dict[str, Any] = {"category": category, "batch_size": batch_size, "image_size": image_size}
    data: Dataset = MVTec(root=root, **common) if root else Synthetic(**common)
    make = registry.load("models", model)
    options = {"backbone": backbone, **(encoder or {})}
    samples = hold_out(data.samples(), data.calibration_fraction, 0)
    encoded: dict[Any, dict[str, Images]] = {}
    done = {key_of(line) for line in read(output)}
    for name in recipes or RECIPES[model]:
        for seed in range(seeds):
            about = {"data": category, "model": model, "backbone": backbone, "recipe": name, "seed": seed, "of": epochs}
            if key_of(about) in done:
                continue
            torch.manual_seed(seed)
            remedies = RECIPES[model][name]
            detector = make(data.size, **options | remedies.options)
            images = encoded.setdefault(str(detector.encoder.shapes), {})
            if not images:
                images.update(encode(Pipeline(detector), samples, data))
            lines = list(train(detector, remedies, images, epochs, evaluations, batch_size, seed, precision == "bf16"))
            with output.open("a") as stream:
                stream.writelines(json.dumps(about | line) + "\n" for line in lines)
            print(json.dumps(about | lines[-1]), flush=True)
    print(table([line for line in read(output) if line["data"] == category and line["model"] == model]))


class Images(dict[str, Any]):
    """For each split the ``samples``, ``features`` and ``masks``."""


def encode(pipeline: Pipeline, samples: list[Sample], data: Dataset) -> dict[str, Images]:
    """Compute the features of all images once."""
    encoded = {}
    for split in ("train", "calibration", "test"):
        chosen = [s for s in samples if s.split == split]
        batches = list(compute(pipeline, pipeline.features, chosen, data, torch.device("cpu"), split))
        features = [torch.cat(layer) for layer in zip(*(f for _, f in batches), strict=True)]
        encoded[split] = Images(samples=chosen, features=features, masks=[m for b, _ in batches for m in b.masks])
    return encoded


def train(
    detector: Detector,
    remedies: Remedies,
    images: dict[str, Images],
    epochs: int,
    evaluations: int,
    batch_size: int,
    seed: int,
    bf16: bool,
) -> Iterator[dict[str, Any]]:
    """Train a detector, and yield how well it detects now and then."""
    features = {split: images[split]["features"] for split in images}
    detector.fit_statistics([features["train"]])
    count = len(features["train"][0])
    remedies.apply(detector)
    optimizer = detector.optimizer()
    rates = [group["lr"] for group in optimizer.param_groups]
    began, losses, step = time.process_time(), [0.0], 0
    total = epochs * sum(detector.training_batch_count(len(b)) for b in torch.arange(count).split(batch_size))
    yield {"epoch": 0, **assess(detector, remedies, images, bf16)}
    for epoch in range(epochs):
        torch.manual_seed(1000 * seed + epoch)
        for chosen in torch.randperm(count).split(batch_size):
            for batch in detector.training_batches(
                remedies.disturb([f[chosen] for f in features["train"]], step / total)
            ):
                for group, rate in zip(optimizer.param_groups, rates, strict=True):
                    group["lr"] = rate * detector.learning_rate_factor(step / total)
                with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                    loss = detector.loss(batch)
                optimizer.zero_grad()
                loss.backward()
                remedies.before_step(step)
                optimizer.step()
                remedies.after_step()
                losses.append(loss.item())
                step += 1
        if (epoch + 1) * evaluations // epochs > epoch * evaluations // epochs:
            seconds = time.process_time() - began
            found = assess(detector, remedies, images, bf16)
            began += time.process_time() - began - seconds
            yield {"epoch": epoch + 1, "cpu_s": round(seconds, 1), "loss": statistics.fmean(losses[-10:]), **found}


@torch.no_grad()
def assess(detector: Detector, remedies: Remedies, images: dict[str, Images], bf16: bool) -> dict[str, Any]:
    """Measure detection by every score, and the loss on held-out normal images."""
    detector = remedies.averaged(detector)
    held, test = images["calibration"], images["test"]
    detector.fit_local_scale([[f[:: -(-len(f) // BALANCING)] for f in images["train"]["features"]]])
    detector.calibrate([held["features"]])
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        batches = list(detector.training_batches(held["features"]))
        found: dict[str, Any] = {"held_out": statistics.fmean(detector.loss(batch).item() for batch in batches)}
        for name in remedies.scores:
            normal, maps = (maps_of(detector, SCORES[name], split["features"]) for split in (held, test))
            found[name] = figures(SCORES[name].finish(normal, maps), test)
    return found


def maps_of(detector: Detector, score: Any, features: Features, at_once: int = 32) -> list[Tensor]:
    """Compute the maps of each layer, or one map of all, for many images."""
    parts = [score.maps(detector, list(batch)) for batch in zip(*(f.split(at_once) for f in features), strict=True)]
    return [torch.cat(layer).float() for layer in zip(*parts, strict=True)]


def figures(maps: Tensor, test: Images) -> dict[str, float]:
    """Image AUROC for each share of pixels that is averaged, and pixel AUROC."""
    labels, defects = [s.label for s in test["samples"]], [s.defect for s in test["samples"]]
    masks = [None if m is None else m.numpy() for m in test["masks"]]
    arrays = [m[0].numpy() for m in maps]
    result = {}
    for percent in PERCENTS:
        scores = image_scores(maps, percent).numpy()
        only = [arrays, masks] if not result else [[a[:1, :1] for a in arrays], [None] * len(arrays)]
        found = evaluate(scores, labels, 0.0, only[0], only[1], defects, 0.0)
        if not result:
            result["pixel"] = found["pixel"]["auroc"]
        result[f"image_{percent:g}"] = found["image"]["auroc"]
    return {key: round(value, 4) for key, value in result.items()}


def read(file: Path) -> list[dict[str, Any]]:
    """Read lines of JSON; none if there is no file."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def key_of(line: dict[str, Any]) -> tuple[Any, ...]:
    """What tells one run from another."""
    return tuple(line[key] for key in ("data", "model", "backbone", "recipe", "seed", "of"))


def table(lines: list[dict[str, Any]]) -> str:
    """Write means over seeds as a Markdown table: a row for each recipe and score, columns for its epochs."""
    rows = [
        "| recipe | score | seeds | image / pixel AUROC after epochs | deviation at the last | held-out loss | CPU s |"
    ]
    rows.append("|---|---|---|---|---|---|---|")
    groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for line in lines:
        groups.setdefault((line["recipe"], line["of"]), []).append(line)
    for (recipe, _), of_recipe in groups.items():
        rows += [row(recipe, score, of_recipe) for score in SCORES if score in of_recipe[0]]
    return "\n".join(rows)


def row(recipe: str, score: str, lines: list[dict[str, Any]], percent: str = "image_1") -> str:
    """Write one row."""
    epochs = sorted({line["epoch"] for line in lines})
    at = {e: [line for line in lines if line["epoch"] == e] for e in epochs}
    cells = [
        f"{e}: {statistics.fmean(x[score][percent] for x in at[e]):.3f} / "
        f"{statistics.fmean(x[score]['pixel'] for x in at[e]):.3f}"
        for e in epochs
    ]
    last = at[epochs[-1]]
    values = [x[score][percent] for x in last]
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    held = " ".join(f"{statistics.fmean(x['held_out'] for x in at[e]):.4g}" for e in epochs)
    seconds = statistics.fmean(x.get("cpu_s", 0) for x in last)
    return f"| {recipe} | {score} | {len(last)} | {', '.join(cells)} | {deviation:.3f} | {held} | {seconds:.0f} |"


if __name__ == "__main__":
    sys.exit(auto_cli(main, as_positional=False))
