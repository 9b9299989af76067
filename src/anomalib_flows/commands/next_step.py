"""The line that ends a command: what to type next."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomalib_flows.core.shell import path_text, typed

if TYPE_CHECKING:
    from anomalib_flows.experiment.options import CheckOptions
    from anomalib_flows.run.component import Component

NEW_PHOTOS = ("--input", "PHOTOS", "--output", "predicted")
"""Options of ``predict`` that nobody can know."""


def next_step(*words: object) -> str:
    """Return the line that ends a command."""
    return f"Next: {typed(*words)}"


def after_training(run: Path) -> str:
    """Return the next step after a training."""
    return next_step("predict", run, *NEW_PHOTOS)


def after_test(run: Path) -> str:
    """Return the next step after a test of a run."""
    return next_step("export", run)


def after_results(report: Path) -> str:
    """Return the next step after results of a model that needs no further command: to look at them."""
    return f"Next: open {path_text(report)} in a browser."


def after_calibration(run: Path) -> str:
    """Return the next step after a calibration: a test, if the run has test images."""
    from anomalib_flows.data.splits import read_splits, select
    from anomalib_flows.run.directory import Run

    file = Run(run).splits_file  # a calibration for a rate does without
    tested = file.is_file() and select(read_splits(file), "test")
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
    """Return the options that name a dataset, without defaults and what is empty."""
    from anomalib_flows.core import registry

    usual = defaults(registry.load("datasets", data.class_path))
    options = ["--data", data.class_path]
    for name, value in data.init_args.items():
        if value not in (None, [], "") and value != usual.get(name):
            options += [f"--data.{name}", option_text(value)]
    return options


def defaults(dataset: type[Any]) -> dict[str, Any]:
    """Return the default arguments of a dataset in plain types, those that are made by a function among them."""
    from anomalib_flows.core import registry
    from anomalib_flows.run.validation import plain

    made = {f.name: f.default_factory() for f in fields(dataset) if callable(f.default_factory)}
    return {name: plain(made.get(name, given.default)) for name, given in registry.parameters(dataset).items()}


def option_text(value: Any) -> str:
    """Return the value of an option as it is typed.

    Example:
        >>> option_text(["a/*.png", "b,c"]), option_text(True), option_text(3)
        ('[a/*.png,"b,c"]', 'true', '3')
    """
    if isinstance(value, list):
        return f"[{','.join(map(quoted, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def quoted(element: Any) -> str:
    """Return an element of a list as it is typed: in quotation marks if it has a comma, space at an end, or a mark."""
    text = option_text(element)
    mark = "'" if '"' in text else '"'
    return f"{mark}{text}{mark}" if "," in text or text != text.strip() or text[:1] in ("'", '"') else text
