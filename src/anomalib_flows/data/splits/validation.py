"""A labelled validation set without defects at hand: held-out normal images, and the same with drawn defects."""

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
from anomalib_flows.data.splits.splits import draw_subset, moved

LEAST = 2
"""Fewest images that a validation set is made of."""


def hold_out_validation(
    samples: list[Sample], fraction: float, seed: int, same: Mapping[Path, Path] | None = None
) -> list[Sample]:
    """Move a random part of the training images to the validation split.

    Args:
        samples: Images of any split; those of others stay as they are.
        fraction: Share of the training images to move; 0 moves none.
        seed: Decides with the paths which images are moved.
        same: Images of the same content, which stay together, see :func:`~.duplicates.duplicates`.

    Raises:
        InputError: If that would be fewer than 2 images, or leave none to train on.
    """
    training = [sample.path for sample in samples if sample.split == "train"]
    if fraction == 0:
        return samples
    held = draw_subset(training, fraction, seed, same)
    if len(held) < LEAST or len(training) <= LEAST:
        raise InputError(
            f"--data.validation_fraction {fraction} of {len(training)} training images is too few to validate on: "
            f"give a share that makes at least {LEAST}, or more images, or leave it out."
        )
    return moved(samples, held, "validation")


def draw_defects(samples: list[Sample], folder: Path, seed: int) -> list[Sample]:
    """Write every normal validation image with a drawn defect, of its own size, and list these with their masks.

    Where the dataset brings defective images to validate with, none are drawn.
    They lie in ``FOLDER/defects/KIND`` and their masks in ``FOLDER/masks/KIND``, so that they are read like any others.

    Args:
        samples: Images of any split.
        folder: Where they go; a former set there is replaced.
        seed: Decides what is drawn.
    """
    normal = [sample for sample in samples if sample.split == "validation"]
    if not normal or any(sample.label == ANOMALOUS for sample in normal):
        return []
    with fresh_folder(folder) as temporary:
        images = enumerate(tqdm(normal, desc="Drawing defects", unit="image", delay=1, leave=False))
        names = [_write(sample, number, temporary, seed) for number, sample in images]
    return [
        Sample(folder / "defects" / name, "validation", ANOMALOUS, name.parent.name, folder / "masks" / name)
        for name in names
    ]


def is_drawn(sample: Sample) -> bool:
    """Whether a defect was drawn by :func:`draw_defects`, for this run or another one whose list is used again."""
    return sample.label == ANOMALOUS and sample.path.parts[-5:-2] == ("validation", "drawn", "defects")


def _write(sample: Sample, number: int, folder: Path, seed: int) -> Path:
    """Write one image with a defect, and its mask; return the name of both below their folders."""
    from anomalib_flows.data.drawing.photos import add_synthetic_defect  # takes SciPy, and is seldom needed

    image, mask, kind = add_synthetic_defect(read_image(sample.path), seed, number)
    name = Path(kind, f"{number:04d}.png")
    for part, values in (("defects", image.round().to(torch.uint8).permute(1, 2, 0)), ("masks", mask)):
        file = folder / part / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values.numpy()).save(file, compress_level=1)
    return name
