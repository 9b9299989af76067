import csv
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from anomalib_flows.core.finding import OWN
from anomalib_flows.core.types import ANOMALOUS, ImageResult, Sample
from anomalib_flows.results.report.formats import Row
from anomalib_flows.results.report.reading import read_table
from anomalib_flows.results.sinks import FORMULA, drain, open_table

Make = Callable[..., ImageResult]
MakeSample = Callable[..., Sample]


def write(results: Iterator[ImageResult] | list[ImageResult], file: Path, **options: bool) -> None:
    with open_table(file, **{"labelled": True} | options) as table:
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


def test_rows_before_an_error_are_kept_if_asked_for(tmp_path: Path, make_result: Make, make_sample: MakeSample) -> None:
    file = tmp_path / "predictions.csv"
    with pytest.raises(OSError, match="No space"):
        write(stopped(make_result, make_sample), file, keep=True)
    assert [row["path"] for row in read(file)] == ["b.png"]
    assert files_in(tmp_path) == ["predictions.csv"]


FULL = """
import resource, sys
from pathlib import Path
import numpy as np
from anomalib_flows.core.types import ImageResult, Sample
from anomalib_flows.results.pictures import PictureSink, drawing
from anomalib_flows.results.sinks import LabelCounter, drain
from anomalib_flows.results.sinks import open_table

def results():
    for number in range(100):
        sample = Sample(Path(f"{'x' * 40}{number:02}.png"), "test")
        image, shown = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.float32)
        yield ImageResult(
            score=1.0, label=1, p_value=0.5, raw_score=1.0,
            anomaly_map=shown, mask=shown > 0, picture=image, sample=sample,
        )

resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
folder, labels = Path(sys.argv[1]), LabelCounter()
try:
    with open_table(folder / "predictions.csv", labelled=False, keep=True) as rows, drawing() as threads:
        drain(results(), [rows, labels, PictureSink(threads, folder, lambda result: result.sample.path)])
finally:
    print(f"Anomalous: {labels.counts[1]} of {labels.counts.total()}.")
"""


def test_a_disk_that_becomes_full_leaves_the_rows_before(tmp_path: Path) -> None:
    pytest.importorskip("resource")
    run = subprocess.run([sys.executable, "-c", FULL, tmp_path / "out"], capture_output=True, text=True, check=False)
    assert "OSError: [Errno 27]" in run.stderr
    table = (tmp_path / "out" / "predictions.csv").read_bytes()
    assert 1900 < len(table) <= 2000
    assert table.endswith(b",,,,1.0\r\n")
    rows = list(csv.DictReader(table.decode().splitlines()))
    assert [row["path"] for row in rows] == [f"{'x' * 40}{number:02}.png" for number in range(len(rows))]
    assert f"Anomalous: {len(rows)} of {len(rows)}." in run.stdout
    assert files_in(tmp_path / "out") == sorted(
        ["predictions.csv", *(f"{kind}/{r['path']}" for kind in ("heatmap", "mask", "overlay") for r in rows)]
    )


@pytest.mark.parametrize("kind", ["=cmd|' /C calc'!A1", "+1", "-1", "@SUM(A1)", "\t=1", "'quoted", "crack"])
def test_no_kind_of_defect_is_a_formula(tmp_path: Path, make_result: Make, make_sample: MakeSample, kind: str) -> None:
    sample = replace(make_sample("a.png"), label=ANOMALOUS, defect=kind)
    write([make_result(sample=sample)], tmp_path / "predictions.csv")
    [row] = read(tmp_path / "predictions.csv")
    assert not row["defect"].startswith(FORMULA)
    assert [row["defect"] for row in read_table(tmp_path / "predictions.csv", Row)] == [kind]
