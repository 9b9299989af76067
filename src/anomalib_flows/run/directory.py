"""The run directory: the result of a training, and the input of every other command."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from anomalib_flows import __version__
from anomalib_flows.core import registry
from anomalib_flows.core.commit import complete
from anomalib_flows.core.errors import InputError, require
from anomalib_flows.core.files import atomic, flush_tree, place, temporary_folder
from anomalib_flows.core.locks import locked
from anomalib_flows.core.parsing import parse_yaml, read_text
from anomalib_flows.run.advice import advice
from anomalib_flows.run.config import TrainConfig
from anomalib_flows.run.metrics import read_metrics

LAYOUT = 2
"""Version of the layout of a run directory."""


@dataclass
class Run:
    """A run directory, ``OUTPUT/MODEL/DATASET/SUBSET/NAME`` (run-001 by default), and the paths of its files.

    Args:
        path: The directory.
        trust: Whether classes that its files name are imported, which runs their code, even if no installed package
            registers them.
    """

    path: Path
    trust: bool = False

    def __post_init__(self) -> None:
        self.config_file = self.path / "config.yaml"  # makes the same run again
        self.model_file = self.path / "model.safetensors"  # the whole pipeline: encoder, flow, thresholds
        self.resume_file = self.path / "resume.ckpt"  # Lightning's, after the last kept epoch, for resuming only
        self.splits_file = self.path / "splits.csv"  # images with their splits
        self.metrics_file = self.path / "metrics.json"  # of the test split
        self.losses_file = self.path / "losses.csv"  # of the training
        self.predictions_file = self.path / "predictions.csv"  # decision, scores and truth of each test image
        self.prediction_file = self.path / "prediction.json"  # facts about what ``predict`` wrote, instead of metrics
        self.curves_file = self.path / "curves.json"  # ROC, precision-recall and PRO of the test split
        self.thumbnails_file = self.path / "thumbnails.jsonl"  # small pictures of the test images, for the report
        self.report_file = self.path / "report.html"  # all of this to look at
        self.images = self.path / "images"  # figures of the test images
        self.drawn = self.path.absolute() / "drawn"  # synthetic defects and their masks; of ``validation`` only

    @property
    def begun(self) -> bool:
        """Whether the training has kept a state; without one and without a model, it begins again when resumed."""
        return self.resume_file.exists() or self.model_file.exists()

    @property
    def validation(self) -> Run:
        """Results on held-out normal images, as they are and with synthetic defects."""
        return Run(self.path / "validation")

    @property
    def disturbed(self) -> Run:
        """Results of the last test on disturbed images."""
        return Run(self.path / "disturbed")

    @classmethod
    def create(
        cls,
        output: Path,
        model: str,
        dataset: str,
        subset: str,
        name: str | None = None,
        fill: Callable[[Run], None] = lambda _: None,
    ) -> Run:
        """Create a new directory with a name, or else the next free number; it appears with its first files.

        Args:
            output: Folder of all runs.
            model: Name of the model.
            dataset: Name of the dataset.
            subset: Name of the category.
            name: Name of the directory.
            fill: Function that writes the first files of the run, whose path is temporary.

        Raises:
            InputError: If the directory exists.
        """
        parent = output / model / dataset / subset
        if name:
            require_free(parent / name)
        with temporary_folder(parent) as temporary:
            made = cls(temporary)
            made.write_json("versions.json", versions())
            fill(made)
            flush_tree(temporary)
            return cls(put(temporary, parent, name))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other commands from writing to this run for the block.

        Raises:
            InputError: If another command does so already.
        """
        with locked(self.path) as held:
            if held is False:
                raise InputError(f"Another command writes to {self.path}: wait until it has ended.")
            yield

    @classmethod
    def open(cls, path: Path, *, trust: bool = False) -> Run:
        """Return the run in a directory.

        Raises:
            InputError: If the directory is not a run, or has a link through which others could make us write elsewhere.
        """
        run = cls(path, trust)
        complete(path)
        if not run.config_file.is_file():
            raise InputError(f"{path} is not a run: {advice(path)}.")
        if link := leading_out(path):
            raise InputError(f"{link} is a link out of the run, where results would be written: put a copy there.")
        return run

    def config(self) -> TrainConfig:
        """Read the configuration that the run was made with.

        Raises:
            InputError: If the file is damaged, or was written by another version.
        """
        try:
            loaded = parse_yaml(read_text(self.config_file, "The configuration"))
        except ValueError:
            loaded = None
        if not isinstance(loaded, dict):
            raise InputError(f"{self.config_file} is damaged: name another run.")
        if "trainer" in loaded and "loader" not in loaded:
            raise InputError(f"{self.config_file} was written by an earlier version: train again.")
        try:
            config = TrainConfig.from_dict(loaded)
        except InputError as error:
            raise InputError(f"{self.config_file} is damaged ({str(error).rstrip('.')}): name another run.") from error
        if self.trust:  # from here on this process has imported them
            registry.load("models", config.model.class_path, trust=True, named_by=self.config_file)
            if config.data:
                registry.load("datasets", config.data.class_path, trust=True, named_by=self.config_file)
        return config

    def write_config(self, config: TrainConfig) -> None:
        """Write the configuration that makes the same run again."""
        values = config.to_dict()
        text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
        if yaml.safe_load(text) != values:  # PyYAML reads some letters, such as U+0085, as a space unless escaped
            text = yaml.safe_dump(values, sort_keys=False)
        with atomic(self.config_file) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def metrics(self) -> dict[str, Any] | None:
        """Read the metrics on the test split; None if nothing was tested.

        Raises:
            InputError: If the file is damaged.
        """
        return read_metrics(self.metrics_file) if self.metrics_file.is_file() else None

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Write a JSON file into the directory."""
        with atomic(self.path / name) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


NAME = re.compile(r"\w([\w .+=@-]{0,58}[\w+=@-])?")
"""Names of run directories that every file system takes."""


def require_name(name: str | None) -> None:
    """Raise a FieldError if a name for a run directory is given and cannot be one."""
    expected = "a file name of at most 60 letters, digits, spaces and .+=@_-, such as tiles-320"
    require(name is None or NAME.fullmatch(name) is not None, "name", repr(name), expected)


def require_free(folder: Path) -> None:
    """Raise an InputError if there is a folder or file already where a named run is to be."""
    if folder.exists():
        raise InputError(f"`name` {folder.name} is taken, as {folder} exists: choose another name.")


def put(temporary: Path, parent: Path, name: str | None) -> Path:
    """Give a folder its name, or else ``run-001`` or the next free number, and return its path."""
    if name:
        with suppress(InputError):
            place(temporary, parent / name)
            return parent / name
        require_free(parent / name)
    taken = [int(p.name[4:]) for p in parent.glob("run-*") if p.name[4:].isdecimal()]
    for number in count(max(taken, default=0) + 1):
        folder = parent / f"run-{number:03}"
        with suppress(InputError):  # another run starts at the same time
            place(temporary, folder)
            break
    return folder


def leading_out(run: Path) -> Path | None:
    """Return a link in a run that leads out of it; files at its top do not count, as they are replaced as a whole."""
    top = run.resolve()
    for parent, folders, files in os.walk(run):
        names = folders if Path(parent) == run else folders + files
        links = [path for name in names if (path := Path(parent, name)).is_symlink()]
        if outside := [link for link in links if not link.resolve().is_relative_to(top)]:
            return outside[0]
    return None


def versions() -> dict[str, Any]:
    """Return the versions of the libraries that make a run."""
    packages = {name: version(name) for name in ("torch", "timm", "lightning", "numpy", "pillow")}
    return {"layout": LAYOUT, "anomalib_flows": __version__, "python": platform.python_version(), **packages}


def is_exported(path: Path) -> bool:
    """Return whether a path names an exported model (.xml) instead of a run."""
    return path.suffix.lower() == ".xml"
