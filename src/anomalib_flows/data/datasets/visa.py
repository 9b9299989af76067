"""VisA: twelve products, with a table of training and test images."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from anomalib_flows.core import registry
from anomalib_flows.core.errors import InputError
from anomalib_flows.core.finding import natural_key
from anomalib_flows.core.types import ANOMALOUS, Sample
from anomalib_flows.data.datasets.base import Archive, Card, CategoryDataset, Counts, warn_of_other_counts
from anomalib_flows.data.tables import read_table, samples_of
from anomalib_flows.data.words import label_of

DEFECT = "anomaly"
"""The only kind of defect: the table has no others."""


@dataclass(kw_only=True)
class VisA(CategoryDataset):
    """Read one category of VisA, split as its authors publish.

    The archive holds ``ROOT/CATEGORY/Data/Images/Normal`` and ``Images/Anomaly`` (``.JPG``), ``Data/Masks/Anomaly``
    (``.png``, whose values are classes of defects: all but 0 are defects) and tables ``ROOT/split_csv/SPLIT.csv`` with
    the columns ``object,split,label,image,mask``. The tables for two classes have defective training images as well:
    these are left out, since models are trained on normal images only.

    Zou et al., SPot-the-Difference Self-Supervised Pre-training for Anomaly Detection and Segmentation, 2022.

    Args:
        split: Table: ``1cls`` as in most published results, ``2cls_fewshot`` or ``2cls_highshot``.
    """

    split: Literal["1cls", "2cls_fewshot", "2cls_highshot"] = "1cls"

    card = Card(
        title="VisA",
        homepage="https://github.com/amazon-science/spot-diff",
        licence="CC BY 4.0",
        citation="Zou, Jeong, Pemula, Zhang, Dabeer: SPot-the-Difference Self-Supervised Pre-training for Anomaly "
        "Detection and Segmentation, ECCV 2022, arXiv:2207.14315",
        counts={
            "candle": Counts(900, 100, 100),
            "capsules": Counts(542, 60, 100),
            "cashew": Counts(450, 50, 100),
            "chewinggum": Counts(453, 50, 100),
            "fryum": Counts(450, 50, 100),
            "macaroni1": Counts(900, 100, 100),
            "macaroni2": Counts(900, 100, 100),
            "pcb1": Counts(904, 100, 100),
            "pcb2": Counts(901, 100, 100),
            "pcb3": Counts(905, 101, 100),
            "pcb4": Counts(904, 101, 100),
            "pipe_fryum": Counts(450, 50, 100),
        },
        archives=(
            Archive(
                "VisA_20220922.tar",
                "https://amazon-visual-anomaly.s3.us-west-2.amazonaws.com/VisA_20220922.tar",
                # The makers publish no checksum: this is the one that anomalib's loader has.
                "sha256:2eb8690c803ab37de0324772964100169ec8ba1fa3f7e94291c9ca673f40f362",
            ),
        ),
    )

    def rows(self) -> tuple[Path, list[dict[str, str]]]:
        """Return the table of the split, and its rows."""
        table = self.folder / "split_csv" / f"{self.split}.csv"
        if not table.is_file():
            raise InputError(f"`root` {self.folder} has no split_csv/{table.name}: give the folder of VisA's archive.")
        return table, read_table(table, ("object", "split", "label", "image", "mask"))

    def listed(self) -> list[str]:
        """List the products of the table."""
        return sorted({row["object"] for row in self.rows()[1]})

    def samples_of(self, category: str) -> list[Sample]:
        """List the images of a category that are in the table."""
        table, rows = self.rows()
        products = sorted({row["object"] for row in rows})
        if category not in products:
            raise InputError(f"In {table}: {registry.unknown('category', category, products)}")
        normal = _without_defects_to_train_on([row for row in rows if row["object"] == category])
        samples = samples_of(map(_as_listed, normal), table, self.folder)
        if self.split == "1cls":
            warn_of_other_counts(samples, self.card, category)
        return sorted(samples, key=lambda sample: natural_key(sample.path))


def _as_listed(row: dict[str, str]) -> dict[str, str]:
    """Return a row in the form of other tables of images."""
    return row | {"path": row["image"], "defect": DEFECT if label_of(row["label"]) == ANOMALOUS else ""}


def _without_defects_to_train_on(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    kept = [row for row in rows if row["split"] != "train" or label_of(row["label"]) != ANOMALOUS]
    if left_out := len(rows) - len(kept):
        warnings.warn(
            f"{left_out} defective images of the split train are left out: models are trained on normal images only.",
            stacklevel=3,
        )
    return kept
