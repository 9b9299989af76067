"""``anomalib-flows data check``: check a whole dataset before training on it."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from anomalib_flows.commands.command import Command
from anomalib_flows.commands.next_step import after_check
from anomalib_flows.core.errors import FIELD, InputError

if TYPE_CHECKING:
    from anomalib_flows.core.types import ImageSize
    from anomalib_flows.data.checks.inspection import Inspection
    from anomalib_flows.data.datasets.base import Dataset
    from anomalib_flows.experiment.options import CheckOptions

OWN = {"data": "--data", "image.size": "--image.size", "max_megapixels": "--max-megapixels"}
"""Options of fields that are no arguments of a dataset."""
SHOWN = 4
"""Number of different sizes that are listed one by one."""


def check_data(folder: Path | None = None, options: CheckOptions | None = None) -> None:
    """Read a whole dataset; report what is there and what is wrong with it, and draw a sheet of examples.

    Faults are files that cannot be read, masks of another size than their image, and images of the same content in
    several splits. If there are any, the exit code is 2.

    Args:
        folder: A category in MVTec AD's layout (with train/good in it), or a folder of such categories. Any other
            dataset is given by --data, as for training.
        options: The dataset, and how images are read.
    """
    from anomalib_flows.core.outputs import require_place
    from anomalib_flows.data.checks.inspection import inspect_dataset, mvtec_datasets
    from anomalib_flows.data.checks.scale import InputScale, about_scale
    from anomalib_flows.experiment.options import CheckOptions
    from anomalib_flows.run.component import Component

    options = options or CheckOptions()
    data, image, output = options.data, options.image, options.output
    require_place("output", output)
    if (folder is None) == (data is None):
        raise InputError("Give either a FOLDER in MVTec AD's layout or --data NAME with its options.")
    faults = 0
    datasets = [data.build("datasets")] if data else mvtec_datasets(folder or Path())
    for dataset in datasets:
        found = inspect_dataset(dataset, options.max_megapixels)
        if scale := about_scale(found.sizes, InputScale(image.height_width, image.resize)):
            found.remarks.append(scale)
        print_inspection(dataset, found, output / "check" / dataset.name / f"{dataset.subset}.jpg")
        faults += len(found.faults)
    if faults:
        raise InputError(f"Faults named above: {faults}; mend them before training.")
    print(f"\n{after_check(data or Component('mvtec', datasets[0].options()), options)}")


def print_inspection(dataset: Dataset, found: Inspection, sheet: Path) -> None:
    """Print what was found, and draw the sheet."""
    from anomalib_flows.core.finding import mark_results
    from anomalib_flows.results.overview import overview
    from anomalib_flows.results.pictures import save_image

    counted = f"{len(found.sound)} images that can be read" if found.sound else "no images"
    print(f"\n{dataset.name} {dataset.subset}: {counted}")
    if found.sound:
        print(f"\n{count_table(found)}\n\nsizes  {describe_sizes(found.sizes)}\nfiles  {most(found.kinds)}")
        mark_results(sheet.parent)
        save_image(overview([one.sample for one in found.sound]), sheet)
        print(f"sheet  {sheet}")
    for kind, texts in (("warning", found.remarks), ("fault", found.faults)):
        for text in texts:
            print(f"{kind}: {FIELD.sub(option_of, text)}", flush=True)


def option_of(field: re.Match[str]) -> str:
    """Return the option of a field; by default it is an argument of the dataset."""
    return OWN.get(field[1], f"--data.{field[1]}")


def count_table(found: Inspection) -> str:
    """Count images, masks and empty masks of each split and kind."""
    from anomalib_flows.core.types import ANOMALOUS

    rows = [("split", "kind", "images", "masks", "empty")]
    for group in found.groups:
        cells = (str(group.masks), str(group.empty_masks)) if group.label == ANOMALOUS else ("", "")
        rows.append((group.split, group.defect, str(group.images), *cells))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligned = [[row[0].ljust(widths[0]), row[1].ljust(widths[1]), *map(str.rjust, row[2:], widths[2:])] for row in rows]
    return "\n".join("  ".join(row).rstrip() for row in aligned)


def describe_sizes(counted: Counter[ImageSize]) -> str:
    """Return the heights and widths, or their ranges if there are many."""
    if len(counted) <= SHOWN:
        return most(Counter({f"{height} x {width}": n for (height, width), n in counted.items()}))
    heights, widths = zip(*counted, strict=True)
    return f"{len(counted)} different, {min(heights)} to {max(heights)} high and {min(widths)} to {max(widths)} wide"


def most(counted: Counter[str]) -> str:
    """List names with their counts, the most frequent first."""
    return "; ".join(f"{n} of {name}" for name, n in counted.most_common())


COMMAND = Command(
    "data check",
    "check a whole dataset: counts, broken files, duplicates",
    check_data,
    order=90,
    records="anomalib_flows.experiment.options",
)
