"""Compare ways to train and to score, on features that are computed once.

Trains each recipe with each seed and appends a line of JSON for each evaluation; then prints a table of the file.

    python tools/benchmarks/compare_recipes.py --root $DATA --category magnetic_tile --epochs 12 --output recipes.jsonl

The recipes are in ``recipes/catalogue.py``. Without --root the category is one of the synthetic dataset.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentParser

from anomalib_flows.core import registry
from anomalib_flows.data.datasets.base import Dataset
from anomalib_flows.data.datasets.mvtec import MVTec
from anomalib_flows.data.datasets.synthetic import Synthetic
from anomalib_flows.data.splits import hold_out
from anomalib_flows.models.base import Detector
from anomalib_flows.run.options import ImageOptions, LoaderOptions, SplitOptions
from recipes.catalogue import RECIPES
from recipes.table import Line, key_of, read, table
from recipes.training import Schedule, Splits, Training, encode


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Options of a comparison.

    Args:
        output: File of lines of JSON. Trainings that it holds are not repeated: name another file when defaults of the
            model have changed.
        category: Category of the dataset.
        root: Folder of a dataset in MVTec AD's layout; by default the synthetic dataset.
        model: Registered model.
        backbone: Name of the encoder.
        encoder: Further options of the encoder.
        recipes: Names of recipes; by default all recipes of the model.
        seeds: Number of seeds, from 0, of the flow's weights and of the order of images; the held-out images are the
            same for all.
        epochs: Passes over the training images.
        evaluations: Number of evaluations, evenly spaced, beside the one before the first step.
        batch_size: Images per batch.
        image_size: Height and width of the images in pixels.
        precision: ``bf16`` or ``32``, in training.
    """

    output: Path
    category: str = "fabric"
    root: Path | None = None
    model: str = "fastflow"
    backbone: str = "tf_efficientnet_lite0"
    encoder: dict[str, Any] | None = None
    recipes: list[str] | None = None
    seeds: int = 3
    epochs: int = 20
    evaluations: int = 4
    batch_size: int = 16
    image_size: int = 256
    precision: str = "bf16"

    def trainings(self) -> list[Line]:
        """Return the identity of each training."""
        common = {"data": self.category, "model": self.model, "backbone": self.backbone}
        names = self.recipes or RECIPES[self.model]
        return [common | {"recipe": n, "seed": seed, "of": self.epochs} for n in names for seed in range(self.seeds)]

    def dataset(self) -> Dataset:
        """Return the dataset."""
        if self.root:
            return MVTec(root=self.root, category=self.category)
        return Synthetic(category=self.category)

    def detector(self, training: Line) -> Detector:
        """Return the untrained detector of a training."""
        torch.manual_seed(training["seed"])
        options = {"backbone": self.backbone, **(self.encoder or {}), **RECIPES[self.model][training["recipe"]].options}
        detector: Detector = registry.load("models", self.model)((self.image_size, self.image_size), **options)
        return detector

    def schedule(self, seed: int) -> Schedule:
        """Return length and order of a training."""
        return Schedule(self.epochs, self.evaluations, self.batch_size, seed, self.precision == "bf16")


def compare(comparison: Comparison) -> None:
    """Train the recipes that the output does not hold yet, and print the table."""
    samples = hold_out(comparison.dataset().samples(), SplitOptions().calibration_fraction, 0)
    image, loader = ImageOptions(size=comparison.image_size), LoaderOptions(batch_size=comparison.batch_size)
    encoded: dict[str, Splits] = {}
    done = {key_of(line) for line in read(comparison.output)}
    for training in comparison.trainings():
        if key_of(training) in done:
            continue
        detector: Any = comparison.detector(training)
        shapes = str(detector.encoder.shapes)
        if shapes not in encoded:
            encoded[shapes] = encode(detector, samples, image, loader)
        train(comparison, training, detector, encoded[shapes])
    lines = read(comparison.output)
    print(table([x for x in lines if x["data"] == comparison.category and x["model"] == comparison.model]))


def train(comparison: Comparison, training: Line, detector: Detector, splits: Splits) -> None:
    """Train one recipe with one seed, and append its lines to the output."""
    recipe = RECIPES[comparison.model][training["recipe"]]
    lines = list(Training(detector, recipe, splits, comparison.schedule(training["seed"])).run())
    with comparison.output.open("a") as stream:
        stream.writelines(json.dumps(training | line) + "\n" for line in lines)
    print(json.dumps(training | lines[-1]), flush=True)


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__)
    parser.add_class_arguments(Comparison)  # auto_cli would make a subcommand of each method
    compare(Comparison(**parser.parse_args().as_dict()))
