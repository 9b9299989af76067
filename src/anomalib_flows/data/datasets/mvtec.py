"""MVTec AD, and the many datasets in its layout."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.types import Sample, Split
from anomalib_flows.data.datasets.base import Archive, Card, Counts, folder_name, warn_of_other_counts
from anomalib_flows.data.datasets.layout import LayoutDataset, find_category, list_category

CARD = Card(
    title="MVTec AD",
    homepage="https://www.mvtec.com/company/research/datasets/mvtec-ad",
    licence="CC BY-NC-SA 4.0: no commercial use",
    citation="Bergmann, Batzner, Fauser, Sattlegger, Steger: The MVTec Anomaly Detection Dataset: A Comprehensive "
    "Real-World Dataset for Unsupervised Anomaly Detection, IJCV 129(4), 2021, doi:10.1007/s11263-020-01400-4",
    counts={
        "bottle": Counts(209, 20, 63),
        "cable": Counts(224, 58, 92),
        "capsule": Counts(219, 23, 109),
        "carpet": Counts(280, 28, 89),
        "grid": Counts(264, 21, 57),
        "hazelnut": Counts(391, 40, 70),
        "leather": Counts(245, 32, 92),
        "metal_nut": Counts(220, 22, 93),
        "pill": Counts(267, 26, 141),
        "screw": Counts(320, 41, 119),
        "tile": Counts(230, 33, 84),
        "toothbrush": Counts(60, 12, 30),
        "transistor": Counts(213, 60, 40),
        "wood": Counts(247, 19, 60),
        "zipper": Counts(240, 32, 119),
    },
    archives=(
        Archive(
            "mvtec_anomaly_detection.tar.xz",
            # The makers publish no checksum: address and checksum are those that anomalib's loader has.
            "https://www.mydrive.ch/shares/38536/3830184030e49fe74747669442f0f283/download/420938113-1629960298/"
            "mvtec_anomaly_detection.tar.xz",
            "sha256:cf4313b13603bec67abb49ca959488f7eedce2a9f7795ec54446c649ac98cd3d",
        ),
    ),
)


@dataclass(kw_only=True)
class MVTec(LayoutDataset):
    """Read one category of MVTec AD, or of any dataset in its layout.

    The images are in ``ROOT/CATEGORY/train/good``, ``test/good`` and ``test/DEFECT``, and the masks in
    ``ground_truth/DEFECT``, named ``NAME_mask.png`` or like the image, of any image format.

    Where there are files ``ROOT/CATEGORY/CATEGORY_train.json`` and ``CATEGORY_test.json``, as the implementation of
    FastFlow in MindSpore's model zoo has them, only the images that they name are used:
    ``{"0": {"name": "000", "img_type": "good"}, ...}``, with the image's name without suffix, and its folder.
    They may also be in ``ROOT/json/CATEGORY``, where that implementation writes them.

    Bergmann et al., MVTec AD: A Comprehensive Real-World Dataset for Unsupervised Anomaly Detection, 2019.
    """

    card = CARD

    def samples_of(self, category: str) -> list[Sample]:
        """List the images of a category, with their masks as far as available."""
        folder, name = find_category(self.folder, category), folder_name(self.folder, category)
        samples = found = list_category(folder)
        for split in ("train", "test"):
            for place in (folder, self.folder / "json" / name):
                samples = select_named(samples, split, place / f"{name}_{split}.json")
        if samples == found:
            warn_of_other_counts(samples, self.card, name)
        return samples


def select_named(samples: list[Sample], split: Split, file: Path) -> list[Sample]:
    """Return the images without those of a split that its split file, if it exists, does not name; warn of these."""
    if not file.is_file():
        return samples
    named, there = read_names(file), {(s.defect, s.path.stem) for s in samples if s.split == split}
    if missing := sorted(named - there):
        raise InputError(f"{file} names {'/'.join(missing[0])}, which is not in {split}: repair or remove the file.")
    kept = [s for s in samples if s.split != split or (s.defect, s.path.stem) in named]
    if left_out := len(samples) - len(kept):
        warnings.warn(f"{file} leaves out {left_out} of {len(there)} images of {split}.", stacklevel=3)
    return kept


def read_names(file: Path) -> set[tuple[str, str]]:
    """Read the folders and names of the images in a split file."""
    try:
        entries = json.loads(file.read_text(encoding="utf-8")).values()
        return {(str(entry["img_type"]), str(entry["name"])) for entry in entries}
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        form = '{"0": {"name": "000", "img_type": "good"}, ...}'
        raise InputError(f"{file} is not of the form {form}: repair or remove it.") from error
