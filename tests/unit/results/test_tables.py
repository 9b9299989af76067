import csv
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from anomalib_flows.core.finding import OWN
from anomalib_flows.core.types import ANOMALOUS, ImageResult, Sample
from anomalib_flows.results.report.formats import Row
from anomalib_flows.results.report.reading import read_table
from anomalib_flows.results.sinks import drain
from anomalib_flows.results.table import FORMULA, open_table

Make = Callable[..., ImageResult]
MakeSample = Callable[..., Sample]


def write(results: Iterator[ImageResult] | list[ImageResult], file: Path, *, labelled: bool = True) -> None:
    with open_table(file, labelled=labelled) as table:
        drain(results, [table])


def read(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
        return list(csv.DictReader(stream))


def files_in(folder: Path) -> list[str]:
    return sorted(f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file() and f.name != OWN)


def test_tables_survive_strange_names(tmp_path: Path, make_result: Make, make_sample: MakeSample) -> None:
    names = [
        "a,b.png",
        'quo"te.png',
        "new\nline.png",
        "carriage\rreturn.png",
        "検査 ü.png",
        " blank ",
        "bad\udcff.png",
    ]
    scores = np.linspace(-1e-7, 12345.678901234, len(names), dtype=np.float32)
    results = [
        make_result(sample=make_sample(name), raw_score=score, p_value=1 / 3, label=i % 2)
        for i, (name, score) in enumerate(zip(names, scores, strict=True))
    ]
    file = tmp_path / "sub" / "predictions.csv"
    write(results, file)
    rows = read(file)
    assert list(rows[0]) == ["path", "label", "score", "p_value", "truth", "defect", "outcome", "raw_score"]
    assert [row["path"] for row in rows] == names
    assert [np.float32(row["raw_score"]) for row in rows] == scores.tolist()
    assert {row["score"] for row in rows} == {"0.8"}
    assert {row["p_value"] for row in rows} == {"0.33333334"}
    assert [row["label"] for row in rows[:2]] == ["normal", "anomalous"]
    assert files_in(tmp_path) == ["sub/predictions.csv"]


def test_raw_scores_that_a_model_does_not_give_are_empty(tmp_path: Path, make_result: Make) -> None:
    write([make_result(raw_score=None), make_result(sample=None)], tmp_path / "predictions.csv")
    rows = read(tmp_path / "predictions.csv")
    assert [(row["path"], row["score"], row["raw_score"]) for row in rows] == [
        ("test/crack/000.png", "0.8", ""),
        ("", "0.8", "3.5"),
    ]


def test_truth_and_outcome_are_there_where_labels_are_known(
    tmp_path: Path, make_result: Make, make_sample: MakeSample
) -> None:
    samples = [make_sample("a.png", 0, "good"), make_sample("b.png", 1, "crack")]
    results = [make_result(sample=sample, label=label) for sample in samples for label in (0, 1)]
    named = {
        "normal,good,correct": ("normal", "normal"),
        "normal,good,false alarm": ("normal", "anomalous"),
        "anomalous,crack,missed": ("anomalous", "normal"),
        "anomalous,crack,correct": ("anomalous", "anomalous"),
    }
    write(results, tmp_path / "known.csv")
    found = read(tmp_path / "known.csv")
    assert [f"{row['truth']},{row['defect']},{row['outcome']}" for row in found] == list(named)
    assert [(row["truth"], row["label"]) for row in found] == list(named.values())
    write(results, tmp_path / "unknown.csv", labelled=False)
    assert {(row["truth"], row["defect"], row["outcome"]) for row in read(tmp_path / "unknown.csv")} == {("", "", "")}


@pytest.mark.parametrize("name", ["=1+1.png", "+a/b.png", "-a.png", "@SUM(A1).png"])
def test_names_are_no_formulas(tmp_path: Path, name: str, make_result: Make, make_sample: MakeSample) -> None:
    write([make_result(sample=make_sample(name))], tmp_path / "predictions.csv")
    [row] = read(tmp_path / "predictions.csv")
    assert row["path"] == f"./{name}"
    assert Path(row["path"]) == Path(name)


def stopped(make_result: Make, make_sample: MakeSample) -> Iterator[ImageResult]:
    yield make_result(sample=make_sample("b.png"))
    raise OSError(28, "No space left on device")


def test_a_table_that_fails_half_way_leaves_the_old_one(
    tmp_path: Path, make_result: Make, make_sample: MakeSample
) -> None:
    file = tmp_path / "predictions.csv"
    write([make_result(sample=make_sample("a.png"))], file)
    before = file.read_bytes()
    with pytest.raises(OSError, match="No space"):
        write(stopped(make_result, make_sample), file)
    assert file.read_bytes() == before
    assert files_in(tmp_path) == ["predictions.csv"]


@pytest.mark.parametrize("kind", ["=cmd|' /C calc'!A1", "+1", "-1", "@SUM(A1)", "\t=1", "'quoted", "crack"])
def test_no_kind_of_defect_is_a_formula(tmp_path: Path, make_result: Make, make_sample: MakeSample, kind: str) -> None:
    sample = replace(make_sample("a.png"), label=ANOMALOUS, defect=kind)
    write([make_result(sample=sample)], tmp_path / "predictions.csv")
    [row] = read(tmp_path / "predictions.csv")
    assert not row["defect"].startswith(FORMULA)
    assert [row["defect"] for row in read_table(tmp_path / "predictions.csv", Row)] == [kind]
