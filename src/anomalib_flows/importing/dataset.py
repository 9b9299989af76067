"""The dataset of a run that was imported without one."""

from __future__ import annotations

from dataclasses import dataclass

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.types import Sample
from anomalib_flows.data.datasets.base import Dataset


@dataclass(kw_only=True)
class NoDataset(Dataset):
    """Hold the options for reading images, which are all that 'calibrate' and 'predict' need."""

    @property
    def subset(self) -> str:
        """Name of nothing."""
        return "none"

    def samples(self) -> list[Sample]:
        """Ask for a dataset.

        Raises:
            InputError: Always.
        """
        raise InputError("The run was imported without a dataset: name one with --data, such as --data mvtec.")
