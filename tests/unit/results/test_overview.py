from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.types import Sample
from anomalib_flows.results.figure import DEFECT
from anomalib_flows.results.overview import CELL, COLUMNS, overview
from anomalib_flows.results.pictures import evenly_spaced


def drawn(folder: Path, name: str, colour: tuple[int, int, int], size: tuple[int, int] = (40, 30)) -> Path:
    path = folder / name
    Image.new("RGB", size, colour).save(path)
    return path


def middles(sheet: Image.Image, colour: tuple[int, int, int]) -> tuple[float, float]:
    """Row and column of the middle of all pixels of a colour."""
    found = np.argwhere((np.asarray(sheet) == colour).all(axis=-1))
    assert len(found)
    y, x = found.mean(axis=0)
    return float(y), float(x)


def test_each_split_and_kind_has_a_row_of_its_own(tmp_path: Path) -> None:
    colours = {"train": (0, 0, 200), "test": (0, 200, 0), "cut": (0, 200, 200), "cut2": (200, 200, 0)}
    samples = [
        Sample(drawn(tmp_path, "3.png", colours["cut"]), "test", 1, "cut"),
        Sample(drawn(tmp_path, "4.png", colours["cut2"]), "test", 1, "cut"),
        Sample(drawn(tmp_path, "2.png", colours["test"]), "test"),
        Sample(drawn(tmp_path, "1.png", colours["train"]), "train"),
    ]
    at = {name: middles(overview(samples), colour) for name, colour in colours.items()}
    assert at["train"][0] < at["test"][0] < at["cut"][0] == at["cut2"][0]
    assert at["train"][1] == at["test"][1] == at["cut"][1] < at["cut2"][1]


def test_masks_are_drawn_where_they_are(tmp_path: Path) -> None:
    mask = np.zeros((30, 40), np.uint8)
    mask[:10, 30:] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    image = drawn(tmp_path, "1.png", (0, 0, 0))
    plain, marked = (np.asarray(overview([Sample(image, "test", 1, "cut", m)])) for m in (None, tmp_path / "mask.png"))
    rows, columns = np.nonzero((marked == DEFECT).all(axis=-1) & ~(plain == DEFECT).all(axis=-1))
    left = 8
    assert rows.max() < 8 + CELL * 3 / 4 / 2
    assert columns.min() > left + CELL / 2


def test_of_many_images_some_are_shown_from_first_to_last(tmp_path: Path) -> None:
    samples = [Sample(tmp_path / f"{i}.png", "train") for i in range(100)]
    shown = evenly_spaced(samples, COLUMNS)
    assert len(shown) == len(set(shown)) == COLUMNS
    assert (shown[0], shown[-1]) == (samples[0], samples[-1])
    assert evenly_spaced(samples[:3], COLUMNS) == samples[:3]
    assert evenly_spaced(samples, 1) == samples[:1]


@pytest.mark.parametrize("size", [(2000, 20), (20, 2000), (1, 1), (3000, 2000)])
def test_images_of_any_shape_fit(tmp_path: Path, size: tuple[int, int]) -> None:
    sheet = overview([Sample(drawn(tmp_path, "1.png", (9, 9, 9), size), "train")])
    assert sheet.width <= CELL + 16
    assert sheet.height <= CELL + 60


def test_nothing_to_show_is_said() -> None:
    with pytest.raises(InputError, match="at least one"):
        overview([])
