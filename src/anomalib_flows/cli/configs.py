"""Configuration files: those that come with the package, by short name, and those of users."""

from __future__ import annotations

from pathlib import Path

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.registry import unknown

PACKAGE = Path(__file__).resolve().parents[1]


def config_folder() -> Path:
    """Return the folder of the configurations: in the package, or at the top of a working copy."""
    installed = PACKAGE / "configs"
    return installed if installed.is_dir() else PACKAGE.parents[1] / "configs"


def config_names() -> list[str]:
    """Return the short names of all configurations, such as ``fastflow/resnet18``."""
    folder = config_folder()
    return sorted(file.relative_to(folder).with_suffix("").as_posix() for file in folder.rglob("*.yaml"))


def find_config(name: str) -> Path:
    """Return the file of a configuration given by path or short name."""
    for file in (Path(name), config_folder() / f"{name}.yaml"):
        if file.is_file():
            return file
    raise InputError(unknown("configuration", name, config_names()))
