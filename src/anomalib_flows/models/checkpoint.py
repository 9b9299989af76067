"""A pipeline in one safetensors file with a description of how to build it; reading never runs code from the file."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from anomalib_flows import __version__
from anomalib_flows.core import registry
from anomalib_flows.core.errors import InputError, NotCalibratedError, first_line, require
from anomalib_flows.core.files import atomic
from anomalib_flows.core.parsing import parse_json
from anomalib_flows.core.types import ImageSize, Protocol, ResizeMode, ThresholdSource
from anomalib_flows.encoders.weights import weights_follow
from anomalib_flows.models.base import Detector
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.models.postprocess import Postprocess
from anomalib_flows.models.weight_limit import MOST_WEIGHTS, limited_weights
from anomalib_flows.run.component import Component
from anomalib_flows.run.directory import Run
from anomalib_flows.run.options import HeatmapOptions, parse_size
from anomalib_flows.run.validation import plain, validated

FORMAT = 4
"""Version of the file's layout."""
TOPS = "postprocess.calibration_tops"
"""NaN in models of an earlier version."""


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a file says about how to build its pipeline; see :func:`describe_pipeline`."""

    format: int
    version: str = ""
    sha256: str = ""  # of the tensors; earlier versions wrote none
    model: Component
    image_size: ImageSize
    resize: ResizeMode
    heatmap: HeatmapOptions = field(default_factory=HeatmapOptions)
    protocol: Protocol = "calibrated"
    threshold_source: ThresholdSource = "false-alarm-rate"

    def __post_init__(self) -> None:
        require(min(self.image_size) > 0, "image_size", self.image_size, "positive")
        parse_size(self.image_size, "image_size")


def save_pipeline(pipeline: Pipeline, file: Path) -> None:
    """Write all weights and constants of a pipeline, and how to build it, to a file."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in pipeline.state_dict().items()}
    facts = {"format": FORMAT, "version": __version__, "sha256": digest_of(tensors)}
    description = {**facts, **describe_pipeline(pipeline)}
    with atomic(file) as temporary:
        try:
            save_file(tensors, temporary, metadata={"anomalib_flows": json.dumps(description)})
        except SafetensorError as error:  # it hides the number of the system error in its text
            number = re.search(r"os error (\d+)", str(error))
            code = int(number[1]) if number else errno.EIO
            raise OSError(code, os.strerror(code), str(file)) from error


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of tensors with their names, types and shapes; a gigabyte takes 0.7 s."""
    digest = sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(repr((name, tensor.dtype, tuple(tensor.shape))).encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


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
        raise InputError(absent(file))
    try:
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise InputError(f"The model {file} is damaged ({error}): train again, or restore it from a copy.") from error
    description = read_description(metadata.get("anomalib_flows"), file)
    if description.sha256 and description.sha256 != digest_of(tensors):
        raise InputError(
            f"The model {file} is damaged (its weights were changed): restore it from a copy, or train again."
        )
    weights = sum(tensor.numel() for tensor in tensors.values())
    larger = f"The model {file} describes a much larger model than it holds the weights of: do not use this file."
    with limited_weights(4 * weights + MOST_WEIGHTS, larger):  # encoders are built twice, at first with all layers
        pipeline = build_pipeline(description, file, trust)
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
    unset = () if pipeline.postprocess.calibrated else ("postprocess.",)
    state = {name: tensor for name, tensor in pipeline.state_dict().items() if not name.startswith((*unset, TOPS))}
    if broken := [name for name, tensor in state.items() if not tensor.isfinite().all()]:
        raise InputError(
            f"The model {file} is damaged ({broken[0]} holds values that are not finite): train again, or restore it "
            "from a copy."
        )
    scores = pipeline.postprocess.calibration_scores
    if not scores.equal(scores.sort().values):
        raise InputError(f"The model {file} is damaged (its calibration scores are not sorted): calibrate it again.")
    return pipeline.eval()


def absent(file: Path) -> str:
    """Return the message for a model that does not exist; its folder may be that of the table of several runs."""
    runs = [run for run in sorted(file.parent.parent.glob(f"*/{file.parent.name}")) if (run / file.name).is_file()]
    if runs:
        return f"There is no model {file}: name a run of its table, such as {runs[0]}."
    advice = "resume its training" if Run(file.parent).config_file.is_file() else "train one first"
    return f"There is no model {file}: {advice}, or name another run."


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


def read_description(text: str | None, file: Path) -> Description:
    """Read the description of a pipeline, or raise an InputError if it is missing, invalid or of another version."""
    if text is None:
        raise InputError(f"{file} is not a model of anomalib-flows: it has no description of how to build one.")
    try:
        values = parse_json(text)
        if isinstance(values, dict) and values.get("format") != FORMAT:
            raise InputError(other_format(values, file))
        description: Description = validated(Description, values)
    except (ValueError, TypeError, AttributeError) as error:
        if str(file) in str(error):
            raise
        raise InputError(invalid(file, error)) from error
    return description


def other_format(values: dict[str, Any], file: Path) -> str:
    """Return the message for a file of another layout."""
    newer = isinstance(values.get("format"), int) and values["format"] > FORMAT
    advice = f": upgrade from {__version__}" if newer else " in a layout that is no longer read: train it again"
    return f"The model {file} was written by anomalib-flows {values.get('version', 'of another version')}{advice}."


def invalid(file: Path, error: Exception) -> str:
    """Return the message for a description that is invalid."""
    fault = first_line(error).rstrip(".")
    return (
        f"The model {file} has an invalid description ({fault}): train again, or upgrade the package that its model "
        "comes from."
    )


def build_pipeline(description: Description, file: Path, trust: bool) -> Pipeline:
    """Build the pipeline that a checkpoint describes, without weights."""
    try:
        detector = registry.load("models", description.model.class_path, trust=trust, named_by=file)
        if not (isinstance(detector, type) and issubclass(detector, Detector)):
            raise InputError(f"The model {file} names {detector!r}, which is not a detector: do not trust this file.")
        with weights_follow(), torch.random.fork_rng(devices=[]):
            made = description.model.completed("models").build("models", description.image_size)
    except (AttributeError, KeyError, TypeError, ValueError) as error:  # as InputError is one
        if str(file) in str(error):
            raise
        raise InputError(invalid(file, error)) from error
    pipeline = Pipeline(made, description.resize, description.heatmap)
    pipeline.protocol = description.protocol
    pipeline.threshold_source = description.threshold_source
    return pipeline


load = load_pipeline
"""The name under which the package exports :func:`load_pipeline`."""
