"""Ctrl-C stops all processes of a training, however short its epochs are."""

from __future__ import annotations

from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest

from anomalib_flows.training.callbacks import Stop


@pytest.mark.parametrize("processes", [1, 2])
def test_a_gpu_with_short_epochs_stops_at_their_end(processes: int) -> None:
    strategy = SimpleNamespace(reduce_boolean_decision=lambda mine, all: mine)  # noqa: A006 (Lightning's name)
    trainer: Any = SimpleNamespace(world_size=processes, should_stop=False, strategy=strategy)
    interrupted, watch = Event(), SimpleNamespace(pending=["a loss that is on the GPU"])
    stop: Any = Stop(interrupted, watch)  # type: ignore[arg-type]
    interrupted.set()
    stop.on_train_batch_end(trainer, None, None, None, 0)
    assert trainer.should_stop == (processes == 1), "several would wait for the GPU in each step"
    watch.pending.clear()  # as at the end of each epoch
    stop.on_train_epoch_end(trainer, None)
    assert trainer.should_stop
