"""What ``benchmark`` is asked for: the runs, and where they are made."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from anomalib_flows.core.errors import InputError, require

NAMES = str | list[Any]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What to train: each model, with each encoder and seed, on each category of each dataset.

    Args:
        models: Names of models, or of configurations, separated by commas. A file may have a mapping for each, with
            ``name`` (for the tables), ``config``, and ``options`` of ``train`` such as ``model.steps``. ``{category}``
            in the name of a configuration stands for the category.
        datasets: Names of datasets, separated by commas. A file may have a mapping for each, with ``name`` and with
            ``options`` such as {root: /data/mvtec}.
        categories: Names of categories, separated by commas, or ``all``.
        backbones: Encoders for each of the models, separated by commas; by default that of the model.
        seeds: Seeds, separated by commas.
        options: Options of ``train`` for all runs, such as ``{trainer.max_steps: 200}``.

    Raises:
        InputError: If a value is invalid.
    """

    models: NAMES = "fastflow,cflow"
    datasets: NAMES = "mvtec"
    categories: NAMES = "all"
    backbones: NAMES | None = None
    seeds: NAMES | int = "0"
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the values."""
        for name in ("models", "datasets", "categories", "seeds"):
            if not listed(getattr(self, name)):
                raise InputError(f"`{name}` is empty: name at least one.")
        for seed in listed(self.seeds):
            if not re.fullmatch(r"\d{1,19}", str(seed)):
                raise InputError(f"`seeds` cannot be {seed}: give whole numbers, such as 0,1,2.")


@dataclass(frozen=True, kw_only=True)
class Execution:
    """Where the runs are made.

    Args:
        executor: ``local`` makes them in processes of this machine, ``ray`` on a Ray cluster, which needs the extra of
            that name.
        workers: Runs at the same time; by default one for each core, as far as the memory allows, or as many as a
            cluster has room for.
        address: Ray cluster, HOST:PORT, or ``auto`` for the one of this machine; by default Ray is started here.
        cpus_per_run: CPUs that Ray gives each run; 1 by default.
        gpus_per_run: GPUs that Ray gives each run; a part such as 0.5 shares one. By default 1 if the cluster has any.

    Raises:
        InputError: If a value is invalid.
    """

    executor: Literal["local", "ray"] = "local"
    workers: int | None = None
    address: str | None = None
    cpus_per_run: int | None = None
    gpus_per_run: float | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        workers, cpus, gpus = self.workers, self.cpus_per_run, self.gpus_per_run
        require(workers is None or 0 < workers <= 256, "workers", workers, "from 1 to 256")
        require(cpus is None or 0 < cpus <= 1024, "cpus_per_run", cpus, "from 1 to 1024")
        whole_or_part = gpus is None or 0 <= gpus <= 1 or (gpus <= 64 and gpus == int(gpus))
        require(whole_or_part, "gpus_per_run", gpus, "a part of one, or a whole number up to 64")
        named = self.address is None or re.fullmatch(r"auto|[^\s/]+:\d{1,5}", self.address)
        require(bool(named), "address", self.address, "HOST:PORT, or auto")
        for name in ("address", "cpus_per_run", "gpus_per_run"):
            if self.executor == "local" and getattr(self, name) is not None:
                raise InputError(f"`{name}` is for Ray alone: add `executor` ray, or leave it out.")


def listed(value: Any) -> list[Any]:
    """Return what is named: by a list, or by text with commas.

    Example:
        >>> listed("fastflow, cflow"), listed([0, 1]), listed(3), listed("")
        (['fastflow', 'cflow'], [0, 1], [3], [])
    """
    if isinstance(value, str):
        return [word.strip() for word in value.split(",") if word.strip()]
    return list(value) if isinstance(value, Sequence) else [value]
