"""The loss over the course of a training, as a table of bounded size."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from anomalib_flows.core.files import atomic

ROWS = 1000
"""Limit of the table's rows; an even number, as rows are merged in pairs."""


class LossCurve:
    """Mean losses over equal blocks of steps; only the last block may be shorter.

    A block is one step long until there are ``ROWS`` of them. Then pairs of blocks are merged, again and again. So the
    blocks depend on the losses so far alone, and not on how long the training is to be.

    Example:
        >>> curve = LossCurve(limit=2)
        >>> for step, loss in enumerate([4.0, 2.0, 1.0, 3.0, 5.0], start=1):
        ...     curve.add(step, 1, loss)
        >>> curve.rows()
        [(4, 1, 2.5), (5, 1, 5.0)]
    """

    def __init__(self, limit: int = ROWS) -> None:
        self.limit, self.block = limit, 1
        self.blocks: list[list[Any]] = []  # last step, its epoch, sum of the losses, number of steps

    def add(self, step: int, epoch: int, loss: float) -> None:
        """Add the loss of the next step."""
        if self.blocks and self.blocks[-1][3] < self.block:
            last = self.blocks[-1]
            self.blocks[-1] = [step, epoch, last[2] + loss, last[3] + 1]
            return
        if len(self.blocks) == self.limit:
            pairs = zip(self.blocks[::2], self.blocks[1::2], strict=True)
            self.blocks = [[*b[:2], a[2] + b[2], a[3] + b[3]] for a, b in pairs]
            self.block *= 2
        self.blocks.append([step, epoch, loss, 1])

    def rows(self) -> list[tuple[int, int, float]]:
        """Return the last step, its epoch and the mean loss of each block; both count from 1."""
        return [(step, epoch, total / count) for step, epoch, total, count in self.blocks]


def write_losses(curve: LossCurve, file: Path) -> None:
    """Write the table, unless there is nothing to write."""
    if curve.blocks:
        with atomic(file) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
            table = csv.writer(stream)
            table.writerow(("step", "epoch", "loss"))
            table.writerows((step, epoch, f"{loss:.6g}") for step, epoch, loss in curve.rows())
