"""Images that an export needs: to compare on, and for INT8."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.images import stored_size
from anomalib_flows.core.types import ImageSize, Sample, Split
from anomalib_flows.data.listing import find_source
from anomalib_flows.data.splits import read_splits
from anomalib_flows.export.options import ExportOptions
from anomalib_flows.run.directory import Run


def select_images(run: Run, options: ExportOptions) -> tuple[list[Sample], list[Sample]]:
    """Return the images to compare on, and images of the run that INT8 may use.

    Warn of those that are missing or have another size than the input.
    """
    listed = read_splits(run.splits_file)
    needed = quantization_splits(listed, options)
    if options.images in ("calibration", "test"):
        own = cast("Split", options.images)
        needed.setdefault(own, "set `images` to a folder of other images")
        available = existing(run, listed, needed)
        compared = [sample for sample in available if sample.split == own]
    else:
        compared, available = images_of_folder(Path(options.images)), existing(run, listed, needed)
    warn_of_sizes([*compared, *available], options.input.fixed_size)
    return compared, available


def quantization_splits(samples: Sequence[Sample], options: ExportOptions) -> dict[Split, str]:
    """Return the splits that INT8 needs, each with advice in case its images are missing."""
    needed: dict[Split, str] = {}
    if options.precision == "int8":
        needed["train"] = "choose another `precision` than int8, which measures activations on them"
        needed["calibration"] = "calibrate the run on other normal images"
        if options.int8.accuracy_control and any(sample.split == "validation" for sample in samples):
            needed["validation"] = "leave out `int8.accuracy_control`, which ranks them"
    return needed


def images_of_folder(folder: Path) -> list[Sample]:
    """List the images of a folder."""
    return [Sample(path, "test") for path in find_source("images", folder).images]


def existing(run: Run, samples: Sequence[Sample], needed: Mapping[Split, str]) -> list[Sample]:
    """List the images of some splits of a run that exist, and warn of those that are missing."""
    listed = [sample for sample in samples if sample.split in needed]
    found = [sample for sample in listed if sample.path.is_file()]
    for split, advice in needed.items():
        if split not in {sample.split for sample in found}:
            missing = [sample.path for sample in listed if sample.split == split]
            if not missing:
                raise InputError(f"{run.path} has no {split} images: {advice}.")
            lost = f"All {len(missing)} {split} images of {run.path} are missing from {missing[0].parent}"
            raise InputError(f"{lost}: restore them, or {advice}.")
    if missing := [sample.path for sample in listed if not sample.path.is_file()]:
        warnings.warn(
            f"{len(missing)} of the {len(listed)} {' and '.join(needed)} images of {run.path} are missing and were "
            f"skipped, the first is {missing[0]}.",
            UserWarning,
            stacklevel=2,
        )
    return found


def warn_of_sizes(samples: Sequence[Sample], size: ImageSize | None) -> None:
    """Warn of images that have another size than the input, and are stretched for the comparison."""
    if size is None:
        return
    paths = {sample.path for sample in samples}
    others = [path for path in paths if stored_size(path) != size]
    if others:
        warnings.warn(
            f"{len(others)} of {len(paths)} images are not {size[0]} x {size[1]} pixels high and wide as `input.size` "
            f"and are stretched, the first is {min(others)}: the comparison, and the thresholds of INT8 models, refer "
            "to stretched images.",
            UserWarning,
            stacklevel=2,
        )
