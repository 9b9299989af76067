"""Command lines to type: the next one after each command, and those that messages recommend."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anomalib_flows.experiment.options import CheckOptions
    from anomalib_flows.run.component import Component

NEW_PHOTOS = ("--input", "PHOTOS", "--output", "predicted")
"""Options of ``predict`` that nobody can know."""


def typed(*words: object) -> str:
    """Write a command line as it is typed: quoted for the shell, with paths in the current folder shortened.

    Example:
        >>> typed("predict", Path("my run"), *NEW_PHOTOS)
        "anomalib-flows predict 'my run' --input PHOTOS --output predicted"
    """
    texts = [path_text(word) if isinstance(word, Path) else str(word) for word in words]
    if os.name == "nt":
        return subprocess.list2cmdline(["anomalib-flows", *texts])
    return shlex.join(["anomalib-flows", *texts])


def path_text(path: Path) -> str:
    """Return a path from the current folder if it is in it; it never looks like an option."""
    here = Path.cwd()
    text = str(path.relative_to(here) if path.is_relative_to(here) else path)
    return str(Path(".", text)) if not text.startswith("-") else f".{os.sep}{text}"


def next_step(*words: object, more: str = "") -> str:
    """Return the line that ends a command; ``more`` names further commands."""
    return f"Next: {typed(*words)}{more}"


def after_training(run: Path) -> str:
    """Return the next step after a training."""
    return next_step("predict", run, *NEW_PHOTOS, more=" (or report, or export)")


def after_test(folder: Path) -> str:
    """Return the next step after a test or a prediction, whose results are in a folder."""
    return next_step("report", folder)


def after_calibration(run: Path) -> str:
    """Return the next step after a calibration: a test, if the run has test images."""
    from anomalib_flows.data.splits import read_splits, select
    from anomalib_flows.run.directory import Run

    tested = select(read_splits(Run(run).splits_file), "test")
    return next_step("test", run) if tested else next_step("predict", run, *NEW_PHOTOS)


def after_export(model: Path) -> str:
    """Return the next step after an export that our runtime reads."""
    return next_step("predict", model, *NEW_PHOTOS)


def after_import(run: Path) -> str:
    """Return the next step after an import."""
    return next_step("calibrate", run, "--images", "FOLDER")


def after_preparation(name: str, root: Path, category: list[str]) -> str:
    """Return the next step after the archives of a dataset were unpacked."""
    return next_step("data", "check", "--data", name, "--data.root", root, *category)


def after_check(data: Component, options: CheckOptions) -> str:
    """Return the next step after the check of a dataset without faults: a training that reads its images alike."""
    from anomalib_flows.experiment.options import CheckOptions

    image, usual = options.image, CheckOptions()
    given = {
        "--image.size": ",".join(map(str, image.height_width)) if image.size != usual.image.size else "",
        "--image.resize": image.resize if image.resize != usual.image.resize else "",
        "--loader.max_megapixels": options.max_megapixels if options.max_megapixels != usual.max_megapixels else "",
    }
    reading = [word for option, value in given.items() if value for word in (option, value)]
    return next_step("train", "--model", "fastflow", *data_options(data), *reading)


def data_options(data: Component) -> list[str]:
    """Return the options that name a dataset, without defaults."""
    from anomalib_flows.core import registry
    from anomalib_flows.run.validation import plain

    parameters: Mapping[str, Any] = registry.parameters(registry.load("datasets", data.class_path))
    options = ["--data", data.class_path]
    for name, value in data.init_args.items():
        if value is not None and (name not in parameters or value != plain(parameters[name].default)):
            options += [f"--data.{name}", option_text(value)]
    return options


def option_text(value: Any) -> str:
    """Return the value of an option as it is typed.

    Example:
        >>> option_text(["a/*.png", "b"]), option_text(True), option_text(3)
        ('[a/*.png,b]', 'true', '3')
    """
    if isinstance(value, list):
        return f"[{','.join(map(option_text, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)
