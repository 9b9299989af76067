"""One JSON file and one Markdown file of all outcomes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cuda_checks.processes import Outcome, Row


def write(folder: Path, about: dict[str, Any], outcomes: Sequence[Outcome]) -> None:
    """Write both files; they are written again after each check, so that nothing is lost."""
    passed = all(outcome.passed for outcome in outcomes)
    everything = {"about": about, "passed": passed, "checks": [asdict(outcome) for outcome in outcomes]}
    (folder / "checks.json").write_text(json.dumps(everything, indent=2) + "\n", encoding="utf-8")
    (folder / "checks.md").write_text("\n".join(markdown(about, outcomes)) + "\n", encoding="utf-8")


def markdown(about: dict[str, Any], outcomes: Sequence[Outcome]) -> Iterable[str]:
    """Yield the lines of the Markdown file: what was checked, and a table for each kind of measurement."""
    yield f"# Checks on {about.get('name', 'a device that could not be asked')}"
    yield ""
    yield ", ".join(f"{key} {value}" for key, value in about.items() if key != "name")
    yield ""
    cells = [[o.name, "yes" if o.passed else "**no**", f"{o.seconds:.1f}", o.message] for o in outcomes]
    yield from table(["check", "passed", "s", "why not"], cells)
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in (row for outcome in outcomes for row in outcome.rows):
        groups.setdefault(tuple(row), []).append(row)
    for columns, rows in groups.items():
        yield ""
        yield from table(list(columns), [[written(row[name]) for name in columns] for row in rows])


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterable[str]:
    """Yield the lines of a table."""
    for cells in (columns, ["---"] * len(columns), *rows):
        yield f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def written(value: Any) -> str:
    """Format a value: numbers with three digits, nothing for what was not measured."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(written, value))
    return (
        f"{value:.3g}"
        if isinstance(value, float) and abs(value) < 1000
        else f"{value:.0f}"
        if isinstance(value, float)
        else str(value)
    )
