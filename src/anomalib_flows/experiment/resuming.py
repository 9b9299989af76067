"""What a run needs to be resumed: its images, its options and its checkpoint."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.types import Sample
from anomalib_flows.data.datasets.base import Dataset
from anomalib_flows.data.splits import found_again
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.run.config import TrainConfig, flat
from anomalib_flows.run.directory import Run

PLACES = {"root", "normal", "abnormal", "normal_test", "masks", "table"}
MAY_CHANGE = {"weights", "learning_rate", "weight_decay", *PLACES}
"""Arguments of model and dataset that may change when a run is resumed; images are known by their content."""
THRESHOLDS = ("false_alarm_rate", "threshold", "pixel_threshold", "decision")
"""Fields of a configuration that set thresholds, and may change as well."""


def samples_of_run(run: Run, dataset: Dataset) -> list[Sample]:
    """List the images of a run that is resumed, where they are now."""
    recorded = run.config().data
    moved = recorded is not None and recorded.build("datasets").options() != dataset.options()
    return found_again(run.splits_file, dataset, moved=moved)


def require_resumable(run: Run, config: TrainConfig, pipeline: Pipeline) -> None:
    """Raise an InputError if the configuration differs where it may not, or the run is damaged."""
    from anomalib_flows.training.fit import require_checkpoint  # Lightning takes seconds to import

    records = {"loader", "trainer", "output", "pictures", *THRESHOLDS}
    require_unchanged(run.config(), config, records, MAY_CHANGE)
    if run.begun:
        require_checkpoint(pipeline, run.resume_file)


def require_unchanged(before: TrainConfig, after: TrainConfig, records: Set[str], fields: Set[str]) -> None:
    """Raise an InputError if configurations differ, except in these records, and in these fields of the others."""
    before = replace(before, model=before.model.completed("models"))
    recorded, values = flat(before.to_dict()), flat(after.to_dict())
    for name, value in values.items():
        record, _, field = name.partition(".")
        if recorded.get(name, value) != value and record not in records and field not in fields:
            raise InputError(f"`{name.removesuffix('.class_path')}` cannot change when a run is resumed: leave it out.")
