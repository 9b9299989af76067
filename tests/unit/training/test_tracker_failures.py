"""A tracked run is complete, whatever happens to what is logged of it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from anomalib_flows.run.directory import Run
from anomalib_flows.training import trackers
from anomalib_flows.training.tracking import Tracker


def test_results_that_cannot_be_read_end_the_tracking_alone(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(trackers.SERVICES, "mlflow", lambda *_: SimpleNamespace(place="here", log_results=print))
    config: Any = SimpleNamespace(trainer=SimpleNamespace(logger="mlflow"))
    tracker = Tracker(config, run := Run(tmp_path))
    run.losses_file.write_text("step,epoch,loss\ndamaged")
    with pytest.warns(UserWarning, match=r"mlflow failed \(.*damaged.*\): the run goes on without it"):
        tracker.log_results()
