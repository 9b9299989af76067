"""Log a run to a service: the loss of each step, the configuration, final metrics and some pictures."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger

from anomalib_flows.results.pictures import evenly_spaced
from anomalib_flows.run.config import TrainConfig
from anomalib_flows.run.directory import Run
from anomalib_flows.training.trackers import SERVICES, Service

PICTURES = 8
"""Most pictures of each split that are logged."""
LEVELS, ERRORS = ("image", "pixel"), ("false_alarms", "marked_good_images", "missed")
"""Parts of the metrics that are logged, and counts of wrong decisions."""

logger = logging.getLogger(__name__)


@contextmanager
def tracking(config: TrainConfig, run: Run) -> Iterator[Tracker | None]:
    """Log a run that is trained and tested in the block; None if no service is asked for."""
    if config.trainer.logger not in SERVICES:
        yield None
        return
    tracker = Tracker(config, run)
    try:
        yield tracker
    except BaseException:
        tracker.close("failed")
        raise
    tracker.log_results()
    tracker.close("success")


class Tracker(Logger):
    """A logger that begins with its first step, and whose failure ends the tracking, never the run.

    Lightning's own calls at the end of the training are not passed on, because the results are still to come.
    """

    def __init__(self, config: TrainConfig, run: Run) -> None:
        super().__init__()
        self.config, self.run = config, run
        self.service: Service | None = None
        self.failed = False

    @property
    def name(self) -> str:
        """Name of the service."""
        return self.config.trainer.logger

    @property
    def version(self) -> str:
        """Name of the run directory."""
        return self.run.path.name

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Do nothing: the service begins with the configuration, and the module has no others."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Log the loss of a step."""
        self._attempt(lambda service: service.logger.log_metrics(metrics, step), step)

    def log_results(self) -> None:
        """Log the metrics and pictures that the run directory has."""
        run = self.run
        self._attempt(lambda service: service.log_results(metrics_of(run), pictures_of(run), last_step(run)))

    def save(self) -> None:
        """Write what has been logged; Lightning calls it before the first step, too."""
        if self.service:
            self._attempt(lambda service: service.logger.save())

    def close(self, status: str) -> None:
        """End the run at the service with Lightning's ``success`` or ``failed``."""
        if self.service:
            self._attempt(lambda service: service.close(status))

    def _attempt(self, log: Callable[[Service], None], step: int | None = None) -> None:
        """Log something, unless the service has failed before; begin the run there first."""
        if self.failed:
            return
        try:
            if self.service is None:
                self.service = SERVICES[self.name](self.config, self.run, step)
                logger.info("To see this run beside others: %s", self.service.place)
            log(self.service)
        except (Exception, KeyboardInterrupt) as error:  # Ctrl-C ends the wait for a service
            self.failed = True
            reason = next(iter(str(error).splitlines()), "") or type(error).__name__
            text = f"`trainer.logger` {self.name} failed ({reason.rstrip('.')}): the run goes on without it."
            warnings.warn(text, UserWarning, stacklevel=1)


def metrics_of(run: Run) -> dict[str, float]:
    """Return the metrics of test and validation as ``test/image_auroc`` and so on, and counts of wrong decisions."""
    found: dict[str, float] = {}
    for split, folder in (("test", run), ("validation", run.validation)):
        if metrics := folder.metrics():
            parts = {f"{level}_{name}": value for level in LEVELS for name, value in metrics[level].items()}
            parts |= {name: counted["count"] for name, counted in metrics["errors"].items() if name in ERRORS}
            found |= {f"{split}/{name}": float(value) for name, value in parts.items() if value is not None}
    return found


def pictures_of(run: Run) -> dict[str, Path]:
    """Choose figures of test and validation, evenly spaced, by names such as ``test/crack/000.jpg``."""
    found = {}
    for split, folder in (("test", run), ("validation", run.validation)):
        for file in evenly_spaced(sorted(folder.images.rglob("*.jpg")), PICTURES):
            found[f"{split}/{file.relative_to(folder.images).as_posix()}"] = file
    return found


def last_step(run: Run) -> int:
    """Return the number of steps that the model was trained for; 0 if it is unknown."""
    lines = run.losses_file.read_text(encoding="utf-8").splitlines() if run.losses_file.is_file() else []
    return int(lines[-1].partition(",")[0]) if len(lines) > 1 else 0
