"""A grid of runs: models and encoders, datasets and categories, seeds."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from anomalib_flows.benchmark.options import Grid, listed
from anomalib_flows.core import registry
from anomalib_flows.core.errors import InputError
from anomalib_flows.core.registry import unknown
from anomalib_flows.data.datasets.base import CategoryDataset
from anomalib_flows.encoders.weights import require_backbone
from anomalib_flows.experiment.train import component_of
from anomalib_flows.run.component import Component
from anomalib_flows.run.config import TrainConfig
from anomalib_flows.run.configurations import ENCODER, class_of, find_config, load, merged, nested, published_recipe

CATEGORY = "{category}"
"""What stands for the category in the name of a configuration."""


@dataclass(frozen=True, eq=False)  # each is itself, and can be a key
class Cell:
    """A run of a grid.

    Args:
        model: Name of model and encoder in the tables.
        config: Everything that makes the run, on one category.
        category: The category.
        name: Name of its run directory.
    """

    model: str
    config: TrainConfig
    category: str
    name: str

    @property
    def dataset(self) -> str:
        """Name of the dataset."""
        return self.config.data.class_path if self.config.data else ""

    @property
    def path(self) -> Path:
        """Run directory."""
        kind = self.config.model.class_path.rpartition(".")[2].lower()
        return self.config.output / kind / self.dataset / self.category / self.name

    def __str__(self) -> str:
        """Name the run."""
        return f"{self.model}, {self.dataset} {self.category}, seed {self.config.seed}"


def cells_of(grid: Grid, output: Path, *, validation: bool = False) -> list[Cell]:
    """Return the runs of a grid, those of a category together, as they share features.

    Args:
        grid: What to train.
        output: Folder for all runs.
        validation: Whether runs are compared on held-out images, instead of on test images.

    Raises:
        InputError: If a name is unknown, or a value is invalid.
    """
    cells = [
        cell_of(grid, output, data, category, model, seed, validation=validation)
        for data, category in each_category(grid)
        for model in each_model(grid)
        for seed in map(int, listed(grid.seeds))
    ]
    count = Counter(cell.path for cell in cells)
    if twice := [cell for cell in cells if count[cell.path] > 1]:
        raise InputError(
            f"The grid names {twice[0]} twice: give each model a `name` of its own, and list everything else once."
        )
    return cells


def each_category(grid: Grid) -> Iterator[tuple[Component, str]]:
    """Yield the datasets, each with each of its categories."""
    asked, found = listed(grid.categories), dict[str, None]()
    pairs = []
    for entry in listed(grid.datasets):
        try:
            dataset = dataset_of(entry).build("datasets")
        except InputError as error:
            raise InputError(f"`datasets`: {error}") from error
        data = component_of("datasets", dataset, dataset.options())  # whose paths are absolute
        known = dataset.each() if isinstance(dataset, CategoryDataset) else []
        found |= dict.fromkeys(known)
        chosen = [c for c in known if asked == ["all"] or c in asked] if known else [dataset.subset]
        pairs += [(with_category(data, category) if known else data, category) for category in chosen]
    for category in asked:
        if category not in found and asked != ["all"]:
            raise InputError(f"`categories`: {unknown('category', str(category), list(found))}")
    yield from pairs


def dataset_of(entry: Any) -> Component:
    """Return a dataset with its options."""
    name, options = (entry.get("name"), entry.get("options") or {}) if isinstance(entry, Mapping) else (entry, {})
    require_keys(entry, {"name", "options"}, "datasets")
    if name not in registry.names("datasets"):
        raise InputError(f"`datasets`: {unknown('dataset', str(name), registry.names('datasets'))}")
    takes_all = issubclass(registry.load("datasets", str(name)), CategoryDataset)
    return Component(str(name), ({"category": "all"} if takes_all else {}) | options)


def with_category(data: Component, category: str) -> Component:
    """Return a dataset with one category."""
    return Component(data.class_path, {**data.init_args, "category": category})


def require_keys(entry: Any, known: set[str], name: str) -> None:
    """Raise an InputError if an entry of a grid has other keys."""
    others = [key for key in entry if key not in known] if isinstance(entry, Mapping) else []
    if others:
        raise InputError(f"`{name}` has no key {others[0]!r}: it takes {' and '.join(sorted(known))}.")


def each_model(grid: Grid) -> Iterator[tuple[str, str, dict[str, Any], str]]:
    """Yield name, configuration, options and encoder of each model."""
    for entry in listed(grid.models):
        require_keys(entry, {"name", "config", "options"}, "models")
        given: Mapping[str, Any] = entry if isinstance(entry, Mapping) else {"config": entry}
        config = str(given.get("config") or "")
        short = config.replace(f"/{CATEGORY}", "").removesuffix(".yaml").removesuffix(".yml")
        name = str(given.get("name") or (Path(short).name if Path(config).is_file() else short))
        options = {**grid.options, **(given.get("options") or {})}
        for backbone in listed(grid.backbones or "") or [""]:
            if backbone:
                require_backbone(backbone)
            yield f"{name} {backbone}".strip(), config, options, backbone


def cell_of(
    grid: Grid,
    output: Path,
    data: Component,
    category: str,
    model: tuple[str, str, dict[str, Any], str],
    seed: int,
    *,
    validation: bool,
) -> Cell:
    """Return a run of a grid."""
    name, config, options, backbone = model
    values = configuration(config.replace(CATEGORY, category), options, backbone)
    values |= {"data": None, "seed": seed, "output": output.absolute(), "pictures": 0}
    try:
        made = replace(TrainConfig.from_dict(values), data=data)
        made.model.check("models", 1)
    except InputError as error:
        raise InputError(f"`options` of {name}: {error}") from error
    if validation and not made.split.validation_fraction:
        made = replace(made, split=replace(made.split, validation_fraction=0.2))
    slug = re.sub(r"[^\w.+=@-]+", "-", name)[:40].strip("-")
    return Cell(name, made, category, f"{slug}-seed{seed}")


def configuration(name: str, options: Mapping[str, Any], backbone: str) -> dict[str, Any]:
    """Return a configuration in plain types: the paper's recipe if it is asked for, a file or a model, and options."""
    values: dict[str, Any] = {"model": {"class_path": name}}
    if name not in registry.names("models"):
        try:
            values = load(find_config(name))
        except InputError as error:
            raise InputError(f"`models`: {error}") from error
    given = nested(options)
    if given.get("protocol", values.get("protocol")) == "paper":
        values = merged(published_recipe(class_of(values.get("model"))), values)
    if backbone:
        model: dict[str, Any] = values["model"]
        arguments = {k: v for k, v in (model.get("init_args") or {}).items() if k not in ENCODER}
        values = values | {"model": model | {"init_args": arguments | {"backbone": backbone}}}
    return merged(values, given)
