import json
from pathlib import Path

import pytest

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.finding import LeftOutWarning
from anomalib_flows.core.types import Sample
from anomalib_flows.data.tables import read_table, samples_of

ROWS = [{"path": "a.png", "label": "0"}, {"path": "ü, b.png", "label": "1"}]


@pytest.fixture
def table(tmp_path):
    def write(text: str, name: str = "list.csv", encoding: str = "utf-8"):
        (tmp_path / name).write_text(text, encoding=encoding)
        return tmp_path / name

    return write


def test_csv_and_json_say_the_same(table):
    text = 'path,label\na.png,0\n"ü, b.png",1\n'
    rows = [{"path": "a.png", "label": 0}, {"path": "ü, b.png", "label": 1}]
    assert read_table(table(text), ["path"]) == ROWS
    assert read_table(table(text, encoding="utf-8-sig"), ["path"]) == ROWS
    assert read_table(table(text.replace("\n", "\r\n")), ["path"]) == ROWS
    assert read_table(table(json.dumps(rows), "list.JSON"), ["path"]) == ROWS


def test_missing_values_are_empty(table):
    assert read_table(table("path,label\na.png\n"), ["path"]) == [{"path": "a.png", "label": ""}]
    text = '[{"path": "a.png", "label": null}]'
    assert read_table(table(text, "list.json"), ["path"]) == [{"path": "a.png", "label": ""}]


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("list.csv", "", "does not name the column path"),
        ("list.csv", "path:label\na.png:0\n", "does not name the column path, it is 'path:label'"),
        ("list.csv", "path,label\na.png,0,cut\n", "more values than there are columns: cut is left over"),
        ("list.csv", 'path,label\n"a.png,0\n', "not a table of images"),
        ("list.json", "path,label\n", "not a table of images"),
        ("list.json", '{"path": "a.png"}', "it is not a list of objects"),
        ("list.json", '["a.png"]', "it is not a list of objects"),
        ("list.json", '[{"path": "a.png"}, {"image": "b.png"}]', "Entry 2 of .* lacks path: add it"),
    ],
)
def test_other_files_are_named(table, name, text, fault):
    with pytest.raises(InputError, match=fault) as raised:
        read_table(table(text, name), ["path"])
    assert name in str(raised.value)


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none.csv does not exist"):
        read_table(tmp_path / "none.csv", ["path"])


def test_rows_become_samples(tmp_path):
    rows = [
        {"path": "1.png"},
        {"path": "/data/2.png", "label": "OK", "split": "calibration", "mask": "2_mask.png"},
        {"path": "3.png", "label": "ng"},
        {"path": "4.png", "label": "1", "split": "test", "mask": "m/4.png", "defect": "cut"},
    ]
    with pytest.warns(LeftOutWarning, match="list.csv: left out masks of good images: 1"):
        samples = samples_of(rows, tmp_path / "list.csv", tmp_path)
    assert samples == [
        Sample(tmp_path / "1.png", "train"),
        Sample(Path("/data/2.png"), "calibration"),
        Sample(tmp_path / "3.png", "test", 1, "defective"),
        Sample(tmp_path / "4.png", "test", 1, "cut", tmp_path / "m/4.png"),
    ]


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({"path": ""}, "entry 2 lacks a path"),
        ({"path": "1.png", "label": "maybe"}, "'1.png' has the label 'maybe': use good or bad"),
        (
            {"path": "1.png", "split": "tset"},
            "the split 'tset': use one of train, calibration, validation, threshold, test",
        ),
        ({"path": "1.png", "label": "bad", "split": "train"}, "defective and of split train"),
        ({"path": "1.png", "label": "bad", "split": "calibration"}, "defective and of split calibration"),
        ({"path": "1.png", "split": "threshold"}, "good and of split threshold"),
        ({"path": "1.png", "label": "bad", "defect": "good"}, "its defect is 'good'"),
        ({"path": "0.png"}, "names .*0.png twice"),
    ],
)
def test_wrong_rows_are_named(tmp_path, row, fault):
    with pytest.raises(InputError, match=f"list.csv.*{fault}"):
        samples_of([{"path": "0.png"}, row], tmp_path / "list.csv", tmp_path)
