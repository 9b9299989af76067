"""Time single calls beside anomalib's, and beside plain matrix products."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from typing import Any

from comparison.settings import Contender, Setting, contest
from comparison.turns import Worker, ratios, show, show_head, spread, take_turns, written

COLUMNS = ["measured", "by", "ms per image", "anomalib float32 / this", "anomalib bfloat16 / this"]
COLUMNS += ["10^9 multiply-adds", "floor, ms", "above the floor, %", "peak MiB"]


def compare_calls(pythons: dict[str, str], setting: Setting, rows: Sequence[str], repeats: int) -> None:
    """Print the tables of one encoder."""
    for row in rows:
        floors = [Contender("products", row, precision) for precision in ("float32", "bfloat16")]
        contenders = [*floors, *contest(row, setting)]
        workers = [Worker(pythons.get(c.package, pythons["ours"]), setting, c) for c in contenders]
        known = check_alike(setting.backbone, [worker.about for worker in workers if worker.about])
        replies = take_turns(workers, repeats)
        for worker in workers:
            worker.close()
        times = {c: [reply["milliseconds"] for reply in of_one] for c, of_one in zip(contenders, replies, strict=True)}
        rates = (f"{c.precision} {spread([1000 / time for time in times[c]])}" for c in floors)
        print(f"\n{setting.backbone}, {known}; products: {', '.join(rates)} 10^9 multiply-adds a second\n")
        show_head(COLUMNS)
        for worker, of_one in zip(workers[len(floors) :], replies[len(floors) :], strict=True):
            show(describe(worker.contender, worker.about["multiply_adds"], of_one[-1]["peak"], times))


def describe(contender: Contender, multiply_adds: float, peak: float, times: dict[Contender, list[float]]) -> list[str]:
    """Return the row of a contender.

    Args:
        contender: The contender.
        multiply_adds: Its multiply-adds for one image, in units of 1e9.
        peak: Its peak of memory in MiB.
        times: Milliseconds per image of each turn, of all contenders; for products, per 1e9 multiply-adds.
    """
    own, row, precision = times[contender], contender.work, contender.precision
    peers = [times.get(Contender("anomalib", row, of_peer)) for of_peer in ("float32", "bfloat16")]
    floors = [time * multiply_adds for time in times[Contender("products", row, precision)]]
    above = [100 * (ratio - 1) for ratio in ratios(own, floors)]
    against = [spread(ratios(peer, own)) if peer else "" for peer in peers]
    return [
        row,
        str(contender),
        spread(own),
        *against,
        written(multiply_adds),
        written(statistics.median(floors)),
        spread(above),
        f"{peak:.0f}",
    ]


def check_alike(backbone: str, described: Sequence[dict[str, Any]]) -> str:
    """Return a description of the compared models; exit if versions of torch or numbers of parameters differ."""
    theirs, *_, ours = described
    for key in ("torch", "parameters"):
        if ours[key] != theirs[key]:
            sys.exit(f"{backbone} cannot be compared: {key} is {ours[key]} in ours and {theirs[key]} in anomalib.")
    versions = f"anomalib-flows {ours['version']}, anomalib {theirs['version']}, torch {ours['torch']} in both"
    return f"{ours['parameters']:,} trained parameters, {versions}"
