"""A pipeline in one safetensors file with a description of how to build it; reading never runs code from the file."""

from __future__ import annotations

import dataclasses
import errno
import json
import re
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from anomalib_flows import __version__
from anomalib_flows.core import registry
from anomalib_flows.core.errors import InputError, NotCalibratedError, first_line
from anomalib_flows.core.files import atomic
from anomalib_flows.encoders.weights import weights_follow
from anomalib_flows.models.base import Detector
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.models.postprocess import Postprocess
from anomalib_flows.run.directory import Run
from anomalib_flows.run.options import HeatmapOptions
from anomalib_flows.run.validation import plain

FORMAT = 4
"""Version of the file's layout."""


def save_pipeline(pipeline: Pipeline, file: Path) -> None:
    """Write all weights and constants of a pipeline, and how to build it, to a file."""
    description = {"format": FORMAT, "version": __version__, **describe_pipeline(pipeline)}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in pipeline.state_dict().items()}
    with atomic(file) as temporary:
        try:
            save_file(tensors, temporary, metadata={"anomalib_flows": json.dumps(description)})
        except SafetensorError as error:  # it hides the number of the system error in its text
            number = re.search(r"os error (\d+)", str(error))
            raise OSError(int(number[1]) if number else errno.EIO, str(error), str(file)) from error


def describe_pipeline(pipeline: Pipeline) -> dict[str, Any]:
    """Return the names and arguments of a pipeline's parts, in plain types and with absolute paths."""
    detector = pipeline.detector
    arguments = {k: v.absolute() if isinstance(v, Path) else v for k, v in detector.init_args.items()}
    return {
        "model": {"class_path": registry.name_of("models", type(detector)), "init_args": plain(arguments)},
        "image_size": list(detector.image_size),
        "resize": pipeline.preprocess.mode,
        "heatmap": dataclasses.asdict(pipeline.heatmap),
        "protocol": pipeline.protocol,
        "threshold_source": pipeline.threshold_source,
    }


def load_pipeline(file: Path | str, *, trust: bool = False) -> Pipeline:
    """Read a pipeline from a file, in evaluation mode.

    Args:
        file: Path of the file.
        trust: Whether to import the class that the file names, which runs its code, if no installed package registers
            it and this process has not imported it.

    Raises:
        InputError: If the file is missing, damaged, foreign, not trusted, or does not fit the model that it names.
    """
    file = Path(file)
    if not file.is_file():
        raise InputError(f"There is no model {file}: train one first, or name another run.")
    try:
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise InputError(f"The model {file} is damaged ({error}): train again, or restore it from a copy.") from error
    try:
        pipeline = build_pipeline(json.loads(metadata.get("anomalib_flows", "null")), file, trust)
    except (AttributeError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise InputError(
            f"The model {file} has an invalid description ({type(error).__name__}: {error}): train again, "
            f"or upgrade the package that its model comes from."
        ) from error
    count = tensors.get("postprocess.calibration_scores", torch.empty(0)).numel()
    pipeline.postprocess = Postprocess(count, pipeline.heatmap.top_percent)
    tensors.setdefault("postprocess.calibration_tops", pipeline.postprocess.calibration_tops)  # earlier: none
    try:
        pipeline.load_state_dict(tensors)
    except RuntimeError as error:
        name = type(pipeline.detector).__name__
        raise InputError(
            f"The model {file} does not hold the weights of the {name} that it names: {first_line(error)}"
        ) from error
    if broken := [name for name, tensor in pipeline.detector.state_dict().items() if not tensor.isfinite().all()]:
        raise InputError(
            f"The model {file} is damaged ({broken[0]} holds values that are not finite): train again, or restore it "
            "from a copy."
        )
    return pipeline.eval()


def load_calibrated(run: Run) -> Pipeline:
    """Read the pipeline of a run, and warn if its thresholds were set on test images.

    Raises:
        InputError: If the pipeline cannot be read or has no thresholds.
    """
    pipeline = load_pipeline(run.model_file, trust=run.trust)
    if not pipeline.postprocess.calibrated:
        raise NotCalibratedError(run.path)
    if pipeline.protocol == "paper":
        warnings.warn(
            f"The thresholds of {run.path} were set on its test images (`protocol` paper): calibrate it on normal "
            "images that it is not tested on before use.",
            UserWarning,
            stacklevel=2,
        )
    return pipeline


def build_pipeline(description: dict[str, Any] | None, file: Path, trust: bool) -> Pipeline:
    """Build the pipeline that a checkpoint describes, without weights."""
    if description is None:
        raise InputError(f"{file} is not a model of anomalib-flows: it has no description of how to build one.")
    if description["format"] != FORMAT:
        newer = description["format"] > FORMAT
        advice = f": upgrade from {__version__}" if newer else " in a layout that is no longer read: train it again"
        raise InputError(f"The model {file} was written by anomalib-flows {description['version']}{advice}.")
    detector = registry.load("models", description["model"]["class_path"], trust=trust, named_by=file)
    if not (isinstance(detector, type) and issubclass(detector, Detector)):
        raise InputError(f"The model {file} names {detector!r}, which is not a detector: do not trust this file.")
    with weights_follow(), torch.random.fork_rng(devices=[]):
        made = detector(tuple(description["image_size"]), **description["model"]["init_args"])
    pipeline = Pipeline(made, description["resize"], HeatmapOptions(**description.get("heatmap", {})))
    pipeline.protocol = description.get("protocol", "calibrated")
    pipeline.threshold_source = description.get("threshold_source", "false-alarm-rate")
    return pipeline


load = load_pipeline
"""The name under which the package exports :func:`load_pipeline`."""
