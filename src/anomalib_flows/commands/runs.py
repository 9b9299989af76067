"""``anomalib-flows runs``: what was trained, how good it is, and by which options runs differ."""

from __future__ import annotations

import shutil
import time
from collections.abc import Container, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomalib_flows.commands.command import Command
from anomalib_flows.core.errors import InputError
from anomalib_flows.results.decisions import percent

if TYPE_CHECKING:
    from anomalib_flows.run.listing import ListedRun

Row = Sequence[str]
NO_PROMISE = {"hand": "none (by hand)", "defects": "none (defects)"}
SAME = {"output", "pictures", "loader.workers"}
"""Fields that say nothing about a detector."""
LONGEST = 40
"""Letters of a value that are shown."""


def runs(folder: Path = Path("results"), compare: bool = False) -> None:
    """List the runs below a folder, the best first: by image AUROC, then AUPRO, within each dataset and category.

    Args:
        folder: Folder that holds runs, or a run.
        compare: Show, beside the metrics, the options by which the runs of each dataset and category differ.
    """
    from anomalib_flows.run.listing import list_runs

    listed = sorted(list_runs(folder), key=lambda run: (not data_of(run), data_of(run), *rank(run)))
    if not listed:
        raise InputError(f"There are no runs below {folder}: name another folder, or train first.")
    named = {f"{number}": run for number, run in enumerate(listed, start=1)}
    for data, group in groupby(named.items(), key=lambda item: data_of(item[1])):
        members = dict(group)
        print(f"\n{data or 'Runs of unknown data'}\n")
        print(aligned([HEADER, *(cells(number, run, folder) for number, run in members.items())], left=WORDS))
        if compare:
            print(f"\n{comparison(members)}")


def data_of(run: ListedRun) -> str:
    """Name the data of a run: dataset, category and place."""
    from anomalib_flows.run.listing import found

    data = found(run.config, "data", "class_path")
    if not isinstance(data, str):
        return ""
    layout = run.path.absolute().parent
    subset = found(run.metrics, "subset") or (layout.name if layout.parent.name == data else "")
    places = (found(run.config, "data", "init_args", name) for name in ("root", "normal", "table"))
    place = next(filter(None, places), "")
    return " ".join(filter(None, [data, str(subset), f"({place})" if place else ""]))


def rank(run: ListedRun) -> tuple[float, float, float, Path]:
    """Return a sorting key that puts the best run first, and those without metrics last."""
    keys = (("image", "auroc"), ("pixel", "aupro"), ("pixel", "auroc"))
    best, second, third = (-metric if metric is not None else 1.0 for metric in (number(run, *key) for key in keys))
    return best, second, third, run.path


def number(run: ListedRun, *keys: str) -> float | None:
    """Return a metric; None if it is undefined or damaged."""
    from anomalib_flows.run.listing import found

    value = found(run.metrics, *keys)
    return value if isinstance(value, int | float) else None


METRICS = (
    ("image AUROC", ("image", "auroc")),
    ("pixel AUROC", ("pixel", "auroc")),
    ("AUPRO", ("pixel", "aupro")),
)
HEADER = (
    *("", "run", "model", "encoder", *(title for title, _ in METRICS)),
    *("false alarms", "promised", "missed", "made", "MB", ""),
)
WORDS = (0, 1, 2, 3, len(HEADER) - 1)
"""Columns that are aligned to the left."""


def cells(name: str, run: ListedRun, folder: Path) -> Row:
    """Return the cells of a run in the list."""
    from anomalib_flows.run.listing import found

    path = run.path.relative_to(folder).as_posix() if run.path != folder else run.path.absolute().name
    model, encoder = found(run.config, "model", "class_path"), found(run.config, "model", "init_args", "backbone")
    made = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.made))
    return [name, path, str(model or "-"), str(encoder or "-"), *results(run), made, f"{run.size / 1e6:.0f}", run.note]


def results(run: ListedRun) -> list[str]:
    """Return the metrics, the false alarms, the promised rate and the missed defects of a run as text."""
    values = [number(run, *keys) for _, keys in METRICS]
    metrics = ["-" if value is None else f"{value:.4f}" for value in values]
    return [*metrics, count(run, "false_alarms"), promised(run), count(run, "missed")]


def count(run: ListedRun, of: str) -> str:
    """Return a count of wrong decisions as text."""
    wrong, total = number(run, "errors", of, "count"), number(run, "errors", of, "of")
    return f"{wrong:.0f} of {total:.0f}" if wrong is not None and total else "-"


def promised(run: ListedRun) -> str:
    """Return the promised rate of false alarms as text."""
    if (rate := run.promised_rate) is not None:
        return f"{percent(rate)} %"
    facts = run.facts
    protocol = run.metrics.get("protocol", facts.protocol if facts else "")
    source = run.metrics.get("threshold_source", facts.source if facts else "")
    return "none (paper)" if protocol == "paper" else NO_PROMISE.get(str(source), "-")


def comparison(members: dict[str, ListedRun]) -> str:
    """Lay out the options by which runs differ, and their metrics: a column for each run."""
    readable = {name: run for name, run in members.items() if run.config}
    if len(readable) < 2:
        return "There is nothing to compare."
    titles = (*(title for title, _ in METRICS), "false alarms", "promised", "missed")
    rows = [["", *readable], *differences(list(readable.values()))]
    if len(rows) == 1:
        rows.append(["same options", *("" for _ in readable)])
    rows += [[title, *values] for title, *values in zip(titles, *map(results, readable.values()), strict=True)]
    return "\n\n".join(aligned(part, left=[0]) for part in in_width(rows, shutil.get_terminal_size((120, 24)).columns))


def differences(compared: Sequence[ListedRun]) -> list[list[str]]:
    """Return a row for each option that differs: its name, and its values; a dash where a run has no such option."""
    from anomalib_flows.run.config import flat

    options = [flat(dict(run.config)) for run in compared]
    names = list(dict.fromkeys(name for one in options for name in one if name not in SAME))
    records = list(dict.fromkeys(name.partition(".")[0] for name in names))
    names.sort(key=lambda name: records.index(name.partition(".")[0]))  # options of another model beside those of one
    rows = [[name.removesuffix(".class_path"), *(shown(one.get(name, "-")) for one in options)] for name in names]
    return [row for row in rows if len(set(row[1:])) > 1]


def shown(value: Any) -> str:
    """Write the value of an option as YAML has it, and cut the start off a long one."""
    words = {None: "null", True: "true", False: "false"}
    text = words[value] if value is None or isinstance(value, bool) else str(value)
    return text if len(text) <= LONGEST else f"...{text[3 - LONGEST :]}"


def in_width(rows: list[list[str]], width: int) -> list[list[list[str]]]:
    """Divide the columns of a table, after the first one, so that each part fits a width in letters if it can."""
    first, *widths = (max(map(len, column)) + 2 for column in zip(*rows, strict=True))
    parts, used = [[row[:1] for row in rows]], first
    for column, wide in enumerate(widths, start=1):
        if used + wide > width and used > first:
            parts.append([row[:1] for row in rows])
            used = first
        used += wide
        for row, whole in zip(parts[-1], rows, strict=True):
            row.append(whole[column])
    return parts


def aligned(rows: Sequence[Row], left: Container[int]) -> str:
    """Lay out a table; the columns of the numbers ``left`` are aligned to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides = [str.ljust if column in left else str.rjust for column in range(len(widths))]
    return "\n".join(
        "  ".join(side(cell, width) for side, cell, width in zip(sides, row, widths, strict=True)).rstrip()
        for row in rows
    )


COMMAND = Command("runs", "list runs with their metrics, and compare their options", runs, order=55)
