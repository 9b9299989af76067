"""``anomalib-flows latency``: the speed of a model on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomalib_flows.commands.command import Command

if TYPE_CHECKING:
    from anomalib_flows.benchmark.latency import LatencyOptions

BUSY = 0.25
"""Share of busy cores above which the output contains a remark."""
TIMES = {
    "precision": "precision",
    "median_ms": "median ms",
    "p90_ms": "90 % ms",
    "p99_ms": "99 % ms",
    "calls": "inferences",
    "images_per_second": "images/s",
    "requests": "at once",
}
"""Columns of the table, by the keys of the measurements."""


def latency(run: Path, options: LatencyOptions, trust: bool = False) -> None:
    """Measure latency, throughput, the time of each part of a model, and memory.

    Times are from an image in memory to results in memory, without reading and decoding files. The model of a run is
    measured in torch, one image after the other.

    Args:
        run: Run directory that 'train' wrote, or exported model (.xml).
        options: How to measure.
        trust: Import models and datasets that the run names and no installed package registers, which runs their code.
    """
    from anomalib_flows.benchmark.latency import measure_latency

    print(described(measure_latency(run, options, trust=trust)))
    if options.output:
        print(f"\n{options.output}")


def described(measured: dict[str, Any]) -> str:
    """Return the measurements as lines of text."""
    machine, rows = measured["machine"], measured["rows"]
    parts = [[row["precision"], *with_shares(row["parts_ms"])] for row in rows]
    lines = [
        *headline(measured),
        "",
        aligned([list(TIMES.values()), *([value_text(row.get(key)) for key in TIMES] for row in rows)]),
        "",
        aligned([["ms in", *rows[0]["parts_ms"]], *parts]),
    ]
    if memory := measured["memory"]:
        lines += ["", f"memory {memory['peak_mib']:.0f} MiB at most, of which the model {memory['model_mib']:.0f} MiB"]
    if (measured["load"] or 0.0) > BUSY * machine["cores"]:
        lines.append(f"The machine was busy before (load {measured['load']:.1f}): the model may be faster.")
    return "\n".join(lines)


def headline(measured: dict[str, Any]) -> list[str]:
    """Return the lines that name the model, the images and the machine."""
    sizes, machine = measured["image_sizes"], measured["machine"]
    size = " x ".join(map(str, sizes[0])) if len(sizes) == 1 else f"{len(sizes)} sizes"
    batch = f", {measured['batch']} in each inference" if measured["batch"] > 1 else ""
    threads = f", {machine['threads']} threads" if machine["threads"] else ""
    return [
        f"{measured['model']}, images of {size}{batch}",
        f"{machine['device']}{threads} on {machine['cores']} cores, {machine['software']}",
    ]


def with_shares(parts: dict[str, float]) -> list[str]:
    """Return milliseconds with their share of the sum.

    Example:
        >>> with_shares({"encoder": 3.0, "flow": 1.0})
        ['3.00 (75 %)', '1.00 (25 %)']
    """
    total = sum(parts.values()) or 1.0
    return [f"{value:.2f} ({value / total:.0%})".replace("%", " %") for value in parts.values()]


def value_text(value: Any) -> str:
    """Return a cell of the table."""
    return "" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)


def aligned(rows: list[list[str]]) -> str:
    """Align the first column to the left and the others to the right, and leave out empty columns.

    Example:
        >>> print(aligned([["a", "ms", "none"], ["long", "1.5", ""]]))
        a      ms
        long  1.5
    """
    columns = [column for column in zip(*rows, strict=True) if any(column[1:])]
    widths = [max(map(len, column)) for column in columns]
    sides = [str.ljust, *[str.rjust] * (len(columns) - 1)]
    padded = [[side(c, w) for c in column] for column, w, side in zip(columns, widths, sides, strict=True)]
    return "\n".join("  ".join(line).rstrip() for line in zip(*padded, strict=True))


COMMAND = Command(
    "latency",
    "measure the speed of a model on this machine",
    latency,
    order=40,
    records="anomalib_flows.benchmark.latency",
    newest=True,
)
