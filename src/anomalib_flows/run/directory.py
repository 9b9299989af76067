"""The run directory: the result of a training, and the input of every other command."""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from anomalib_flows import __version__
from anomalib_flows.core.errors import InputError
from anomalib_flows.core.files import atomic
from anomalib_flows.run.config import TrainConfig

LAYOUT = 2
"""Version of the layout of a run directory."""


@dataclass(frozen=True)
class Run:
    """Paths of a run directory, ``OUTPUT/MODEL/DATASET/SUBSET/run-001``.

    Args:
        path: The directory.
    """

    path: Path

    @property
    def config_file(self) -> Path:
        """Configuration that makes the same run again."""
        return self.path / "config.yaml"

    @property
    def model_file(self) -> Path:
        """The whole pipeline: encoder, flow, thresholds."""
        return self.path / "model.safetensors"

    @property
    def resume_file(self) -> Path:
        """Lightning's checkpoint after the last complete epoch, for resuming only."""
        return self.path / "resume.ckpt"

    @property
    def splits_file(self) -> Path:
        """Images with their splits."""
        return self.path / "splits.csv"

    @property
    def metrics_file(self) -> Path:
        """Metrics on the test split."""
        return self.path / "metrics.json"

    @property
    def predictions_file(self) -> Path:
        """Score, p-value and label of each test image."""
        return self.path / "predictions.csv"

    @property
    def images(self) -> Path:
        """Figures of the test images."""
        return self.path / "images"

    @property
    def validation(self) -> Run:
        """Results on held-out normal images, as they are and with synthetic defects."""
        return Run(self.path / "validation")

    @property
    def drawn(self) -> Path:
        """Images with synthetic defects, and their masks; of the part ``validation`` only."""
        return self.path.absolute() / "drawn"

    @property
    def disturbed(self) -> Run:
        """Results of the last test on disturbed images."""
        return Run(self.path / "disturbed")

    @classmethod
    def create(cls, output: Path, model: str, dataset: str, subset: str) -> Run:
        """Create a new directory with the next free number."""
        parent = output / model / dataset / subset
        parent.mkdir(parents=True, exist_ok=True)
        taken = [int(p.name[4:]) for p in parent.glob("run-*") if p.name[4:].isdigit()]
        number = max(taken, default=0) + 1
        while True:
            try:
                (parent / f"run-{number:03}").mkdir()
                break
            except FileExistsError:
                number += 1
        run = cls(parent / f"run-{number:03}")
        run.write_json("versions.json", versions())
        return run

    @classmethod
    def open(cls, path: Path) -> Run:
        """Return the run in a directory.

        Raises:
            InputError: If the directory is not a run.
        """
        run = cls(path)
        if not run.config_file.is_file():
            raise InputError(f"{path} is not a run: it holds no config.yaml; name a run directory.")
        return run

    def config(self) -> TrainConfig:
        """Read the configuration that the run was made with.

        Raises:
            InputError: If the file is damaged, or was written by another version.
        """
        try:
            loaded = yaml.safe_load(self.config_file.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError):
            loaded = None
        if not isinstance(loaded, dict):
            raise InputError(f"{self.config_file} is damaged: name another run.")
        try:
            return TrainConfig.from_dict(loaded)
        except InputError as error:
            older = "trainer" in loaded and "loader" not in loaded
            if older:
                raise InputError(f"{self.path} was written by an earlier version: train again.") from error
            raise InputError(f"{self.config_file} is damaged ({str(error).rstrip('.')}): name another run.") from error

    def write_config(self, config: TrainConfig) -> None:
        """Write the configuration that makes the same run again."""
        with atomic(self.config_file) as temporary:
            text = yaml.safe_dump(config.to_dict(), sort_keys=False, allow_unicode=True)
            temporary.write_text(text, encoding="utf-8")

    def metrics(self) -> dict[str, Any] | None:
        """Read the metrics on the test split; None if nothing was tested."""
        if not self.metrics_file.is_file():
            return None
        read: dict[str, Any] = json.loads(self.metrics_file.read_text(encoding="utf-8"))
        return read

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Write a JSON file into the directory."""
        with atomic(self.path / name) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def versions() -> dict[str, Any]:
    """Return the versions of the libraries that make a run."""
    packages = {name: version(name) for name in ("torch", "timm", "lightning", "numpy", "pillow")}
    return {"layout": LAYOUT, "anomalib_flows": __version__, "python": platform.python_version(), **packages}


def is_exported(path: Path) -> bool:
    """Return whether a path names an exported model instead of a run.

    Example:
        >>> is_exported(Path("model.xml")), is_exported(Path("results/run-001"))
        (True, False)
    """
    return path.suffix.lower() == ".xml"
