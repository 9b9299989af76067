"""The table in Parquet says what the CSV file says."""

import csv
from pathlib import Path

import numpy as np
import pytest

from anomalib_flows.core.errors import InputError
from anomalib_flows.results import parquet
from anomalib_flows.results.table import COLUMNS, csv_line


@pytest.fixture
def table(tmp_path: Path) -> Path:
    file, rng = tmp_path / "predictions.csv", np.random.default_rng(0)
    paths = ["a,b.png", "検査 ü.png", "new\nline.png", "bad\udcff.png", *(f"{i}.png" for i in range(30))]
    numbers = [[str(np.float32(value)) for value in rng.normal(size=3)] for _ in paths]
    rows = [
        (path, ("normal", "anomalous")[i % 2], *both, "", "", "", raw if i % 3 else "")
        for i, (path, (*both, raw)) in enumerate(zip(paths, numbers, strict=True))
    ]
    file.write_bytes(b"".join(map(csv_line, [COLUMNS, *rows])))
    return file


def test_all_cells_are_those_of_the_table(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(parquet, "GROUP", 7)
    parquet.write_parquet(table, tmp_path / "predictions.parquet")
    found = reader.read_table(tmp_path / "predictions.parquet")
    assert tuple(found.schema.names) == COLUMNS
    assert {str(found.schema.field(name).type) for name in ("score", "p_value", "raw_score")} == {"float"}
    with table.open(newline="", encoding="utf-8", errors="surrogateescape") as lines:
        expected = list(csv.DictReader(lines))
    for row, cells in zip(found.to_pylist(), expected, strict=True):
        cells["path"] = cells["path"].replace("\udcff", "\\xff")
        said = {k: "" if v is None else str(np.float32(v)) if isinstance(v, float) else v for k, v in row.items()}
        assert said == cells


def test_the_missing_module_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(InputError, match="Parquet needs the module pyarrow: run pip install pyarrow[.]"):
        parquet.pyarrow()
