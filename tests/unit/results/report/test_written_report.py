"""What is in a report, and what happens to damaged results and places that cannot be written."""

from __future__ import annotations

import json
import re
import shlex
import sys
import tracemalloc
from pathlib import Path

import pytest

from anomalib_flows.core.errors import InputError, NotTestedError
from anomalib_flows.results.report import write_comparison, write_report
from anomalib_flows.results.report.making import commands
from anomalib_flows.results.report.reading import read_results
from drawn_results import Scored, write_predictions, write_run

EVIL = ("</script><script>alert(1)</script>", "=cmd()|'/C calc'!A1", '"><img src=x onerror=alert(1)>', "{{ 7 * 7 }}")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "fastflow/mvtec/stripes/run-001")


def written(path: Path) -> str:
    """Text of a report, with its data."""
    return write_report(path).read_text(encoding="utf-8")


def said(path: Path) -> str:
    """Text of a report as it is read, in one line."""
    body = written(path).partition("</style>")[2].partition('<script type="application/json"')[0]
    return " ".join(re.sub(r"<[^>]*>", " ", body).split())


def test_a_report_says_what_was_decided_and_how_it_was_made(run: Path) -> None:
    text = said(run)
    assert "fastflow on stripes" in text
    assert "Trained on 20 good images; 9 others set the threshold. Tested on 6 good and 6 defective images." in text
    assert "False alarms 1 of 6" in text
    assert "Missed defects 3 of 6" in text
    assert "blob 4 2" in text  # images and missed ones, in the table of metrics
    assert "anomalib-flows train -c" in text
    assert "calibration good 9" in text
    assert "torch 2.7" in text
    assert "backbone: resnet18" in text
    assert "training loss" in text
    assert "unknown to this package" in text  # stripes is no category of MVTec AD


def test_the_licence_of_a_published_category_is_named(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    (run / "metrics.json").write_text(json.dumps(metrics | {"subset": "leather"}))
    assert "CC BY-NC-SA 4.0" in said(run)


def test_a_dataset_by_path_is_not_imported(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "trap.py").write_text("raise SystemExit('it ran')")
    monkeypatch.syspath_prepend(str(tmp_path))
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("class_path: mvtec", "class_path: trap.Set"))
    assert "trap.Set" in said(run)
    assert "trap" not in sys.modules


def test_without_labels_what_needs_them_is_left_out(tmp_path: Path) -> None:
    text = said(write_predictions(tmp_path / "predicted"))
    assert "Predictions of stripes.xml" in text
    assert "Called anomalous 4" in text
    assert "How many defects are missed is unknown" in text
    for word in ("AUROC", "Missed", "False alarms", "ground truth", "wrong first"):
        assert word not in text


def test_pages_load_nothing(run: Path) -> None:
    text = written(run)
    assert "default-src 'none'" in text
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", text)


def test_images_without_a_thumbnail_are_counted(tmp_path: Path) -> None:
    assert "7 of 12 images have no picture" in said(write_run(tmp_path, pictured=5))
    (tmp_path / "thumbnails.jsonl").unlink()
    assert "12 of 12 images have no picture" in said(tmp_path)


@pytest.mark.parametrize("name", EVIL)
def test_names_are_text(tmp_path: Path, name: str) -> None:
    images = [Scored(f"./{name}/1.png", "good", 0), Scored(f"./{name}/2.png", name, 3)]
    run = write_run(tmp_path / "run", images)
    other = write_run(tmp_path / "other", [one._replace(raw=-1) for one in images])
    for text in (written(run), write_comparison([run, other], tmp_path / "comparison.html").read_text()):
        assert not re.search(r"<script>alert|<img src=x", text)
    rows = re.search(r'id="rows">(.*?)</script>', written(run), re.DOTALL)
    assert rows
    assert [row[0] for row in json.loads(rows[1])] == [one.path for one in images]


def test_names_that_are_not_utf_8_are_shown(tmp_path: Path) -> None:
    text = written(write_run(tmp_path, [Scored("a\udcff.png", "good", 0), Scored("b.png", "dent", 3)]))
    assert '"a\\ufffd.png"' in text
    assert "no picture here" not in text


def test_validation_has_the_run_above_it(run: Path) -> None:
    write_run(run / "validation", anomalies="drawn")
    for name in ("config.yaml", "losses.csv", "splits.csv", "versions.json"):
        (run / "validation" / name).unlink()
    text = said(run / "validation")
    assert "Trained on 20 good images" in text
    assert "The defects are drawn" in text
    assert "calibrate" not in text.partition("Images")[0]


def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    images = [Scored(f"/data/{i}.png", "good", i % 3 - 1) for i in range(400)]
    run = write_run(tmp_path, images)
    lines = [json.loads(line) for line in (run / "thumbnails.jsonl").read_text().splitlines()]
    with (run / "thumbnails.jsonl").open("w") as stream:
        for line in lines:
            stream.write(json.dumps(line | {"photo": "A" * 100_000}) + "\n")
    write_report(run)  # what is imported and kept once
    tracemalloc.start()
    try:
        size = write_report(run).stat().st_size
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size > 40e6
    assert peak < 8e6


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("metrics.json", "{", "metrics.json is damaged"),
        ("metrics.json", "{}", "Field required"),
        ("metrics.json", "[" * 100_000, "metrics.json is damaged"),
        ("curves.json", '{"image": 3}', "curves.json is damaged"),
        (
            "predictions.csv",
            "path,score,p_value,label\na,0.1,0.2,normal\n",
            "predictions.csv is damaged, or of another",
        ),
        ("predictions.csv", "path,label,score,p_value,truth,defect,outcome,raw_score\na,normal,x", "line 2"),
        ("predictions.csv", "path,label,score,p_value,truth,defect,outcome,raw_score\na,normal,nan,1,,,,", "line 2"),
        ("predictions.csv", "path,label,score,p_value,truth,defect,outcome,raw_score\na,x,0,1,,,,", "label"),
        ("predictions.csv", "path,label,score,p_value,truth,defect,outcome,raw_score\na,normal,0,1,x,,,", "truth"),
        ("predictions.csv", "path,label,score,p_value,truth,defect,outcome,raw_score\na,normal,1e99,1,,,,", "score"),
        ("thumbnails.jsonl", '{"path": "", "size": [0, 1], "photo": "", "heatmap": ""}', "size.0"),
        ("losses.csv", f"step,epoch,loss\n{10**400},1,2", "step"),
        ("thumbnails.jsonl", '{"path": "a"', "thumbnails.jsonl is damaged"),
        ("losses.csv", "step,epoch,loss\n1,2", "losses.csv is damaged"),
        ("versions.json", "[]", "versions.json is damaged"),
        ("config.yaml", "model: [", "config.yaml is damaged"),
        ("splits.csv", "split,label\n", "splits.csv"),
    ],
)
def test_damaged_files_are_named_and_an_older_report_stays(run: Path, name: str, content: str, problem: str) -> None:
    (run / "report.html").write_text("older")
    (run / name).write_text(content)
    with pytest.raises(InputError, match=re.escape(problem)):
        write_report(run)
    assert (run / "report.html").read_text() == "older"
    assert not list(run.glob(".tmp*"))


def test_a_scale_of_no_length_is_not_divided_by(tmp_path: Path) -> None:
    scale = {"typical": 0.0, "threshold": 1e-320}
    text = written(
        write_run(tmp_path, [Scored("a.png", "good", -1e38), Scored("b.png", "dent", 1e38)], image_scale=scale)
    )
    assert "Infinity" not in text.partition('id="rows">')[2].partition("</script>")[0]


def test_kinds_that_are_not_utf_8_are_shown(tmp_path: Path) -> None:
    text = written(write_run(tmp_path, [Scored("a.png", "good", 0), Scored("b.png", "d\udcff", 3)]))
    assert "d\ufffd" in text


def test_commands_are_typed_as_they_stand(tmp_path: Path) -> None:
    disturb = {"flip": True, "zoom": 1.0, "noise": 5.0, "x; rm -rf ~": "`id`"}
    run = write_run(tmp_path / "it's; $HOME", disturb=disturb, seed=3)
    lines = commands(read_results(run))
    typed = [shlex.split(line) for line in lines if not line.startswith("#")]
    assert [words[0] for words in typed] == ["anomalib-flows"] * len(typed)
    assert ["anomalib-flows", "report", str(run)] in typed
    changed = ["--seed", "3", "--disturb.flip", "true", "--disturb.noise", "5.0", "--disturb.x; rm -rf ~", "`id`"]
    assert ["anomalib-flows", "test", str(run), *changed] in typed
    paper = read_results(write_run(tmp_path / "paper", protocol="paper"))
    assert commands(paper)[2].endswith("--protocol paper")


def test_predictions_of_another_model_are_not_those_of_the_run_around_them(run: Path) -> None:
    (run / "config.yaml").touch()
    folder = write_predictions(run / "predicted")
    assert read_results(folder).run is None
    facts = json.loads((folder / "prediction.json").read_text())
    (folder / "prediction.json").write_text(json.dumps(facts | {"model": str(run)}))
    made_by = read_results(folder).run
    assert made_by
    assert made_by.path == run


def test_thumbnails_of_other_images_are_refused(run: Path) -> None:
    lines = (run / "thumbnails.jsonl").read_text().splitlines()
    (run / "thumbnails.jsonl").write_text("\n".join(reversed(lines)))
    with pytest.raises(InputError, match="has images that predictions.csv lacks"):
        write_report(run)


def test_what_has_no_results_is_refused(run: Path, tmp_path: Path) -> None:
    (run / "predictions.csv").unlink()
    with pytest.raises(NotTestedError, match="has no results to report"):
        write_report(run)
    with pytest.raises(InputError, match="is not a run"):
        write_report(tmp_path / "nowhere")


def test_a_run_without_test_images_is_not_sent_to_a_test(run: Path) -> None:
    (run / "predictions.csv").unlink()
    rows = (run / "splits.csv").read_text().splitlines()
    (run / "splits.csv").write_text("\n".join(row for row in rows if "test" not in row.split(",")) + "\n")
    with pytest.raises(InputError, match="has no test images, so there are no results to report: predict photos"):
        write_report(run)


def test_places_that_cannot_be_written_are_named(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder: name a file in it"):
        write_report(run, tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        write_report(run, tmp_path / "file/report.html")
    with pytest.raises(InputError, match="there is no folder .*new/folder: make it first"):
        write_report(run, tmp_path / "new/folder/page.html")
    with pytest.raises(InputError, match="ends with .html"):
        write_report(run, tmp_path / "photo.png")
    assert not (tmp_path / "new").exists()
    assert write_report(run, tmp_path / "page.html").is_file()
