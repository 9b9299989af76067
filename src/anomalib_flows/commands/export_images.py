"""The part of ``export`` that looks for images: to compare on, and for INT8."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from PIL import Image

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.images import image_files
from anomalib_flows.core.types import ImageSize, Sample, Split
from anomalib_flows.data.splits.splits import read_splits
from anomalib_flows.export.options import QuantizationOptions
from anomalib_flows.run.directory import Run


def find_images(run: Run, images: str, int8: QuantizationOptions | None) -> tuple[list[Sample], list[Sample]]:
    """List the images to compare on, and those of the run that INT8 may take.

    Args:
        run: The run.
        images: The run's ``calibration`` or ``test`` images, or a folder.
        int8: How to quantise, if that is to be done.

    Raises:
        InputError: If there are none to compare on, or none of a kind that INT8 needs.
    """
    listed, needed = read_splits(run.splits_file), dict[Split, str]()
    if int8:
        needed["train"] = "leave out --precision int8, which measures activations on them"
        needed["calibration"] = f"set thresholds on others with 'anomalib-flows calibrate {run.path} --images DIR'"
        if int8.accuracy_control and any(sample.split == "validation" for sample in listed):
            needed["validation"] = "leave out --int8.accuracy_control, which ranks them"
    if images not in ("calibration", "test"):
        return images_of_folder(Path(images)), still_there(run, listed, needed)
    own = cast("Split", images)
    needed.setdefault(own, "compare on others with --images FOLDER")
    found = still_there(run, listed, needed)
    return [sample for sample in found if sample.split == own], found


def images_of_folder(folder: Path) -> list[Sample]:
    """List the images of a folder to compare on.

    Raises:
        InputError: If there are none.
    """
    found = [Sample(path, "test") for path in image_files(folder, recursive=True)]
    if not found:
        raise InputError(f"--images {folder} holds no images: name a folder of images, 'calibration' or 'test'.")
    return found


def still_there(run: Run, samples: Sequence[Sample], needed: Mapping[Split, str]) -> list[Sample]:
    """List the images of some splits of a run that are still there, and warn of those that are not.

    Args:
        run: The run.
        samples: Its images.
        needed: Splits, each with what to do if none of its images are there.

    Raises:
        InputError: If none of a split are.
    """
    listed = [sample for sample in samples if sample.split in needed]
    there = [sample for sample in listed if sample.path.is_file()]
    for split, advice in needed.items():
        if split not in {sample.split for sample in there}:
            missing = [sample.path for sample in listed if sample.split == split]
            if not missing:
                raise InputError(f"{run.path} has no {split} images: {advice}.")
            gone = f"All {len(missing)} {split} images of {run.path} are gone from {missing[0].parent}"
            raise InputError(f"{gone}: bring them back, or {advice}.")
    if missing := [sample.path for sample in listed if not sample.path.is_file()]:
        warnings.warn(
            f"{len(missing)} of the {len(listed)} {' and '.join(needed)} images of {run.path} are gone and left out, "
            f"the first of them {missing[0]}.",
            UserWarning,
            stacklevel=2,
        )
    return there


def warn_of_sizes(samples: Sequence[Sample], size: ImageSize | None) -> None:
    """Warn of images of other sizes than the one that a file takes: they are stretched to be compared at all."""
    if size is None:
        return
    paths = {sample.path for sample in samples}
    others = [path for path in paths if size_of(path) != size]
    if others:
        warnings.warn(
            f"{len(others)} of {len(paths)} images are not {size[0]} x {size[1]} pixels high and wide, as --input.size "
            f"says, and are stretched, the first of them {min(others)}: figures, and int8's thresholds, are those of "
            "stretched images.",
            UserWarning,
            stacklevel=2,
        )


def size_of(path: Path) -> ImageSize:
    """Height and width of an image, without decoding it."""
    with Image.open(path) as image:
        return image.height, image.width
