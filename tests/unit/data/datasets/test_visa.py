import csv
import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from anomalib_flows.core.errors import InputError
from anomalib_flows.data.datasets.visa import VisA
from anomalib_flows.data.loading.reading import read_sample

NORMAL, ANOMALY, MASK = (
    "cake/Data/Images/Normal/0{}.JPG",
    "cake/Data/Images/Anomaly/0{}.JPG",
    "cake/Data/Masks/Anomaly/0{}.png",
)
TABLE = [
    ("cake", "train", "normal", NORMAL.format(10), ""),
    ("cake", "train", "normal", NORMAL.format(2), ""),
    ("cake", "test", "normal", NORMAL.format(1), ""),
    ("cake", "test", "anomaly", ANOMALY.format(2), MASK.format(2)),
    ("pie", "train", "normal", "pie/Data/Images/Normal/01.JPG", ""),
]


@pytest.fixture
def write(tmp_path):
    def table(rows: list[tuple[str, ...]], name: str = "1cls") -> Path:
        (tmp_path / "split_csv").mkdir(exist_ok=True)
        with (tmp_path / "split_csv" / f"{name}.csv").open("w", newline="") as stream:
            csv.writer(stream).writerows([("object", "split", "label", "image", "mask"), *rows])
        return tmp_path

    return table


def as_rows(root: Path, category: str, split: str = "1cls") -> set[tuple[str, ...]]:
    """Write samples as the table does."""
    samples = VisA(root=root, category=category, split=split).samples()

    def short(path: Path | None) -> str:
        return path.relative_to(root).as_posix() if path else ""

    rows = {(category, s.split, ("normal", "anomaly")[s.label], short(s.path), short(s.mask)) for s in samples}
    assert len(rows) == len(samples)
    return rows


def test_the_table_is_followed_to_the_letter(write):
    root = write(TABLE)
    assert as_rows(root, "cake") == set(TABLE[:4])
    assert as_rows(root, "pie") == set(TABLE[4:])
    assert [s.path.name for s in VisA(root=root, category="cake").samples()] == [
        "02.JPG",
        "01.JPG",
        "02.JPG",
        "010.JPG",
    ]
    assert {s.defect for s in VisA(root=root, category="cake").samples()} == {"good", "anomaly"}


def test_masks_of_classes_are_masks_of_defects(write, save):
    root = write(TABLE)
    save(ANOMALY.format(2), size=(1, 4))
    save(MASK.format(2), np.array([[0, 1, 7, 255]], np.uint8))
    [sample] = [s for s in VisA(root=root, category="cake").samples() if s.mask]
    assert read_sample(sample)[1].tolist() == [[False, True, True, True]]


def test_defective_images_to_train_on_are_left_out_with_a_warning(write):
    root = write([*TABLE, ("cake", "train", "anomaly", ANOMALY.format(1), MASK.format(1))], "2cls_fewshot")
    with pytest.warns(UserWarning, match="1 defective images of the split train are left out"):
        rows = as_rows(root, "cake", "2cls_fewshot")
    assert rows == set(TABLE[:4])


def test_missing_tables_and_unknown_categories_say_what_to_type(write):
    root = write(TABLE)
    with pytest.raises(InputError, match=r"has no split_csv/2cls_highshot.csv: give the folder"):
        VisA(root=root, category="cake", split="2cls_highshot").samples()
    with pytest.raises(InputError, match=r"1cls.csv: There is no category 'cakes': did you mean 'cake'\?"):
        VisA(root=root, category="cakes").samples()


def test_other_numbers_than_published_are_said(write):
    root = write([("pcb1", *row[1:]) for row in TABLE[:4]])
    with pytest.warns(UserWarning, match="pcb1 of VisA is published with 904 images .* here are 2 images"):
        VisA(root=root, category="pcb1").samples()


@pytest.mark.slow
@pytest.mark.skipif("ANOMALIB_FLOWS_DATA" not in os.environ, reason="needs ANOMALIB_FLOWS_DATA")
def test_the_published_split_is_reproduced_for_every_category(tmp_path, save):
    (tmp_path / "split_csv").mkdir()
    table = shutil.copy(Path(os.environ["ANOMALIB_FLOWS_DATA"]) / "visa_1cls.csv", tmp_path / "split_csv" / "1cls.csv")
    with table.open(newline="") as stream:
        _, *rows = (tuple(row) for row in csv.reader(stream))
    some = save("some.png", size=(2, 2))
    for name in (name for row in rows for name in row[3:] if name):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).hardlink_to(some)
    products = {row[0] for row in rows}
    assert products == VisA.card.counts.keys()
    assert len(products) == 12
    for product in products:
        published = {row for row in rows if row[0] == product}
        assert as_rows(tmp_path, product) == published  # its numbers are those of the card, else there is a warning
        assert all(
            s.path.is_file() and (s.mask is None or s.mask.is_file())
            for s in VisA(root=tmp_path, category=product).samples()
        )
    assert Counter(row[1:3] for row in rows) == {
        ("train", "normal"): 8659,
        ("test", "normal"): 962,
        ("test", "anomaly"): 1200,
    }
