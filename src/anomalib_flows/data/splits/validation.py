"""Make a labelled validation set without real defects: held-out normal images, and copies with synthetic defects."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from PIL import Image
from tqdm import tqdm

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.files import fresh_folder
from anomalib_flows.core.types import ANOMALOUS, Sample
from anomalib_flows.data.loading.reading import read_image
from anomalib_flows.data.splits.splits import draw_subset, moved, select

LEAST = 2
"""Smallest number of images in a validation set."""


def hold_out_validation(
    samples: list[Sample], fraction: float, seed: int, same: Mapping[Path, Path] | None = None
) -> list[Sample]:
    """Move a random part of the training images to the validation split; a fraction of 0 moves none.

    The seed and the paths determine the part. Images of the ``same`` content stay together.
    """
    training = [sample.path for sample in select(samples, "train")]
    if fraction == 0:
        return samples
    held = draw_subset(training, fraction, seed, same)
    if len(held) < LEAST or len(training) <= LEAST:
        raise InputError(
            f"`split.validation_fraction` {fraction} of {len(training)} training images is too few for validation: "
            f"choose a share that gives at least {LEAST}, add images, or set it to 0."
        )
    return moved(samples, held, "validation")


def draw_defects(samples: list[Sample], folder: Path, seed: int) -> list[Sample]:
    """Write a copy of each normal validation image with a synthetic defect, and list the copies with their masks.

    The copies have the size of the image. They are in ``FOLDER/defects/KIND``, and their masks in
    ``FOLDER/masks/KIND``. Nothing is written if the dataset has defective validation images itself.
    """
    normal = select(samples, "validation")
    if not normal or any(sample.label == ANOMALOUS for sample in normal):
        return []
    with fresh_folder(folder) as temporary:
        images = enumerate(tqdm(normal, desc="drawing defects", unit="image", delay=1, leave=False))
        names = [_write(sample, number, temporary, seed) for number, sample in images]
    return [
        Sample(folder / "defects" / name, "validation", ANOMALOUS, name.parent.name, folder / "masks" / name)
        for name in names
    ]


def is_drawn(sample: Sample) -> bool:
    """Return whether an image is a copy of :func:`draw_defects`, of this run or of another one."""
    return sample.label == ANOMALOUS and sample.path.parts[-5:-2] == ("validation", "drawn", "defects")


def _write(sample: Sample, number: int, folder: Path, seed: int) -> Path:
    """Write one image with a defect, and its mask; return their path within both folders."""
    from anomalib_flows.data.drawing.photos import add_synthetic_defect  # imports SciPy

    image, mask, kind = add_synthetic_defect(read_image(sample.path), seed, number)
    name = Path(kind, f"{number:04d}.png")
    for part, values in (("defects", image.round().to(torch.uint8).permute(1, 2, 0)), ("masks", mask)):
        file = folder / part / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values.numpy()).save(file, compress_level=1)
    return name
