"""``anomalib-flows data check``: check a whole dataset before training on it."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from anomalib_flows.commands.command import Command
from anomalib_flows.core.errors import FIELD, InputError
from anomalib_flows.core.types import ANOMALOUS, ImageSize
from anomalib_flows.run.component import Component

if TYPE_CHECKING:
    from anomalib_flows.data.checks.inspection import Inspection
    from anomalib_flows.data.datasets.base import Dataset

OF_DATASET = r"--data.\1"
"""Option of a dataset's argument."""
SHOWN = 4
"""Number of different sizes that are listed one by one."""


def check(folder: Path | None = None, data: Component | None = None, output: Path = Path("results")) -> None:
    """Read a whole dataset; report what is there and what is wrong with it, and draw a sheet of examples.

    Faults are files that cannot be read, masks of another size than their image, and images of the same content in
    several splits. If there are any, the exit code is 2.

    Args:
        folder: A category in MVTec AD's layout (with train/good in it), or a folder of such categories. Any other
            dataset is given by --data, as for training.
        data: Name of the dataset, see 'anomalib-flows list datasets'; its options follow as --data.OPTION.
        output: Folder for the sheet, OUTPUT/check/DATASET/CATEGORY.jpg.

    Raises:
        InputError: If there are faults, or nothing was given to check.
    """
    from anomalib_flows.data.checks.inspection import inspect_dataset

    if (folder is None) == (data is None):
        raise InputError("Give either a FOLDER in MVTec AD's layout or --data NAME with its options.")
    faults = 0
    for dataset in [data.build("datasets")] if data else recognise(folder or Path()):
        found = inspect_dataset(dataset)
        report(dataset, found, output / "check" / dataset.name / f"{dataset.subset}.jpg")
        faults += len(found.faults)
    if faults:
        raise InputError(f"Faults named above: {faults}; mend them before training.")


def recognise(folder: Path) -> list[Dataset]:
    """Recognise a category in MVTec AD's layout, or each in a folder of such.

    Raises:
        InputError: If it is neither.
    """
    from anomalib_flows.data.datasets.layout import categories
    from anomalib_flows.data.datasets.mvtec import MVTec

    folder = Path(os.path.abspath(folder))  # noqa: PTH100 (absolute() would leave the name '..')
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: check the path.")
    if (folder / "train").is_dir():
        return [MVTec(root=folder.parent, category=folder.name)]
    names = categories(folder)
    if not names:
        raise InputError(
            f"{folder} is not in MVTec AD's layout, with train/good or CATEGORY/train/good in it: name another folder, "
            "or give the dataset by --data NAME and its options."
        )
    return [MVTec(root=folder, category=name) for name in names]


def report(dataset: Dataset, found: Inspection, sheet: Path) -> None:
    """Print what was found, and draw the sheet."""
    from anomalib_flows.results.pictures import save_image
    from anomalib_flows.results.overview import overview

    print(f"\n{dataset.name} {dataset.subset}: {len(found.sound)} images that can be read")
    if found.sound:
        print(f"\n{table(found)}\n\nsizes  {sizes(found.sizes)}\nfiles  {most(found.kinds)}")
        save_image(overview([one.sample for one in found.sound]), sheet)
        print(f"sheet  {sheet}")
    for kind, texts in (("warning", found.remarks), ("fault", found.faults)):
        for text in texts:
            print(f"{kind}: {FIELD.sub(OF_DATASET, text)}", flush=True)


def table(found: Inspection) -> str:
    """Count images, masks and empty masks of each split and kind."""
    rows = [("split", "kind", "images", "masks", "empty")]
    groups = Counter((one.sample.split, one.sample.label, one.sample.defect) for one in found.sound)
    for split, label, defect in sorted(groups, key=lambda group: (group[0] != "train", *group)):
        members = [one for one in found.sound if (one.sample.split, one.sample.defect) == (split, defect)]
        masks = [sum(one.sample.mask is not None for one in members), sum(one.empty_mask for one in members)]
        cells = map(str, masks) if label == ANOMALOUS else ("", "")
        rows.append((split, defect, str(len(members)), *cells))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligned = [[row[0].ljust(widths[0]), row[1].ljust(widths[1]), *map(str.rjust, row[2:], widths[2:])] for row in rows]
    return "\n".join("  ".join(row).rstrip() for row in aligned)


def sizes(counted: Counter[ImageSize]) -> str:
    """Return the heights and widths, or their ranges if there are many."""
    if len(counted) <= SHOWN:
        return most(Counter({f"{height} x {width}": n for (height, width), n in counted.items()}))
    heights, widths = zip(*counted, strict=True)
    return f"{len(counted)} different, {min(heights)} to {max(heights)} high and {min(widths)} to {max(widths)} wide"


def most(counted: Counter[str]) -> str:
    """List names with their counts, the most frequent first."""
    return "; ".join(f"{n} of {name}" for name, n in counted.most_common())


COMMAND = Command("data check", "check a whole dataset: counts, broken files, duplicates", check, order=90)
