"""Runs are listed best first within their data, and compared by what differs."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from anomalib_flows.commands import runs as command
from anomalib_flows.commands.runs import comparison, data_of, in_width, runs
from anomalib_flows.core.errors import InputError
from anomalib_flows.run.component import Component
from anomalib_flows.run.config import TrainConfig
from anomalib_flows.run.listing import ListedRun, ModelFacts
from anomalib_flows.run.options import ImageOptions

CONFIG = TrainConfig(
    model=Component("fastflow", {"backbone": "resnet18", "steps": 4}),
    data=Component("mvtec", {"root": "/data", "category": "tile"}),
)
FACTS = ModelFacts(0.7, 99, "calibrated", "false-alarm-rate")
RESULTS = Path("results")


def metrics(auroc: float | None, aupro: float | None = 0.5, alarms: int = 2, **more: object) -> dict:
    errors = {"false_alarms": {"count": alarms, "of": 24}, "missed": {"count": 12, "of": 50}}
    level = {"auroc": auroc, "threshold": 0.7}
    return {
        "image": level,
        "pixel": level | {"aupro": aupro},
        "errors": errors,
        "promised_false_alarm_rate": 0.01,
    } | more


def listed(name: str, found: dict, config: TrainConfig | dict = CONFIG, **others) -> ListedRun:
    path = RESULTS / "fastflow/mvtec/tile" / name
    values = config.to_dict() if isinstance(config, TrainConfig) else config
    return replace(ListedRun(path, values, found, FACTS, "", 0.0, 2_400_000), **others)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Return the lines that the command prints for some runs."""

    def lines(*given: ListedRun, compare: bool = False) -> list[str]:
        monkeypatch.setattr("anomalib_flows.run.listing.list_runs", lambda folder: list(given))
        runs(RESULTS, compare)
        return capsys.readouterr().out.splitlines()

    return lines


def order(lines: list[str]) -> list[str]:
    return re.findall(r"mvtec/\w+/(\S+)", "\n".join(line for line in lines if re.match(r"\d", line)))


def test_the_best_is_first_and_a_run_without_metrics_last(shown) -> None:
    given = [
        listed("none", {}, note="not tested"),
        listed("c", metrics(0.8, 0.9)),
        listed("a", metrics(0.9, 0.4)),
        listed("b", metrics(0.9, 0.3)),
        listed("undefined", metrics(None)),
    ]
    lines = shown(*given)
    assert order(lines) == ["a", "b", "c", "undefined", "none"]
    assert [line[0] for line in lines if re.match(r"\d", line)] == list("12345")


def test_a_line_has_all_that_was_promised(shown) -> None:
    header, line = shown(listed("a", metrics(0.9)))[-2:]
    titles = "run model encoder image AUROC pixel AUROC AUPRO false alarms promised missed made MB"
    assert header.split() == titles.split()
    cells = re.split(r"  +", line)
    assert cells[:7] == ["1", "fastflow/mvtec/tile/a", "fastflow", "resnet18", "0.9000", "0.9000", "0.5000"]
    assert cells[7:10] == ["2 of 24", "1 %", "12 of 50"]
    assert re.fullmatch(r"19(69|70)-\d\d-\d\d \d\d:\d\d", cells[10])
    assert cells[11] == "2"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"promised_false_alarm_rate": None, "threshold_source": "hand"}, "none (by hand)"),
        ({"promised_false_alarm_rate": None, "threshold_source": "defects"}, "none (defects)"),
        ({"promised_false_alarm_rate": None, "protocol": "paper"}, "none (paper)"),
        ({"promised_false_alarm_rate": "x"}, "-"),
        ({"errors": 3, "image": [], "pixel": None}, "1 %"),
    ],
)
def test_what_is_not_promised_is_said(shown, more: dict, said: str) -> None:
    assert f" {said}  " in shown(listed("a", metrics(0.9) | more))[-1]


def test_runs_of_other_data_are_apart(shown) -> None:
    other = replace(CONFIG, data=Component("mvtec", {"root": "/elsewhere", "category": "tile"}))
    lines = shown(listed("a", metrics(0.7)), listed("b", metrics(0.9), other), listed("c", metrics(0.8)))
    titles = [line for line in lines if line.startswith("mvtec")]
    assert titles == ["mvtec tile (/data)", "mvtec tile (/elsewhere)"]
    assert order(lines) == ["c", "a", "b"]


def test_a_damaged_run_is_listed_with_its_note(shown) -> None:
    lines = shown(listed("a", {}, config={}, facts=None, note="damaged: config.yaml"), listed("b", metrics(0.9)))
    assert [line for line in lines if line[:4] in ("mvte", "Runs")] == ["mvtec tile (/data)", "Runs of unknown data"]
    assert next(line for line in lines if "tile/a" in line).endswith("damaged: config.yaml")


@pytest.mark.parametrize("data", [None, "mvtec", {"class_path": "mvtec"}, {"class_path": "mvtec", "init_args": [1]}])
def test_odd_data_is_named_as_far_as_possible(data) -> None:
    run = listed("a", {}, config={"model": {"class_path": "fastflow"}, "data": data})
    assert data_of(run) == ("mvtec tile" if isinstance(data, dict) else "")


def test_no_runs_are_said(shown) -> None:
    with pytest.raises(InputError, match="There are no runs below results: name another folder, or train first"):
        shown()


def test_only_options_that_differ_are_compared() -> None:
    cflow = Component("cflow", {"backbone": "resnet18", "condition": 128})
    others = {
        "1": listed("a", metrics(0.9)),
        "2": listed("b", metrics(0.8), replace(CONFIG, seed=3, output=Path("elsewhere"), pictures=0)),
        "3": listed("c", metrics(0.7), replace(CONFIG, model=cflow, image=ImageOptions(size=(64, 96)))),
        "4": listed("d", {}, config={}),
    }
    table = [re.split(r"  +", line) for line in comparison(others).splitlines()]
    assert table[0] == ["", "1", "2", "3"]
    assert {row[0]: row[1:] for row in table[1:]} == {
        "model": ["fastflow", "fastflow", "cflow"],
        "model.steps": ["4", "4", "-"],
        "model.condition": ["-", "-", "128"],
        "image.size": ["256", "256", "[64, 96]"],
        "seed": ["0", "3", "0"],
        "image AUROC": ["0.9000", "0.8000", "0.7000"],
        "pixel AUROC": ["0.9000", "0.8000", "0.7000"],
        "AUPRO": ["0.5000", "0.5000", "0.5000"],
        "false alarms": ["2 of 24", "2 of 24", "2 of 24"],
        "promised": ["1 %", "1 %", "1 %"],
        "missed": ["12 of 50", "12 of 50", "12 of 50"],
    }
    assert [row[0] for row in table[1:4]] == ["model", "model.steps", "model.condition"]


def test_runs_of_the_same_options_are_said_to_be() -> None:
    two = {"1": listed("a", metrics(0.9)), "2": listed("b", metrics(0.9))}
    assert "same options" in comparison(two)
    assert comparison({"1": two["1"]}) == "There is nothing to compare."


def test_a_wide_table_is_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [["", *map(str, range(30))], ["option", *(["x" * 8] * 30)]]
    parts = in_width(rows, 40)
    assert len(parts) > 5
    assert [cell for part in parts for cell in part[0][1:]] == rows[0][1:]
    assert all(part[1][0] == "option" for part in parts)
    monkeypatch.setenv("COLUMNS", "40")
    many = {str(n): listed(f"run-{n}", metrics(0.9), replace(CONFIG, seed=n)) for n in range(20)}
    assert max(map(len, comparison(many).splitlines())) <= 40


def test_long_values_are_cut() -> None:
    assert command.shown("a/" * 100 + "end.txt").endswith("a/end.txt")
    assert len(command.shown("x" * 100)) == command.LONGEST
