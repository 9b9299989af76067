"""Import of a detector that was trained with another code base: our model is built from the parts of theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from anomalib_flows.core.errors import InputError, first_line
from anomalib_flows.core.files import fresh_folder
from anomalib_flows.core.outputs import require_place
from anomalib_flows.core.types import ImageSize, Sample
from anomalib_flows.data.splits import write_splits
from anomalib_flows.encoders.weights import weights_follow
from anomalib_flows.importing import encoders, freia
from anomalib_flows.importing.code_bases import Parts, read_parts
from anomalib_flows.importing.inert import open_checkpoint
from anomalib_flows.importing.options import ImportOptions, Source
from anomalib_flows.models.base import Detector
from anomalib_flows.models.cflow import CFlow
from anomalib_flows.models.checkpoint import describe_pipeline, save_pipeline
from anomalib_flows.models.fastflow import FastFlow
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.run.component import Component
from anomalib_flows.run.config import TrainConfig
from anomalib_flows.run.directory import Run, versions
from anomalib_flows.run.options import HeatmapOptions, ImageOptions, parse_size

OWN_CONSTANTS = ("max_log_probs", "max_likelihood_sum", "scales.")
"""Prefixes of the constants that only our models have."""


def import_checkpoint(
    file: Path,
    from_: Source,
    output: Path,
    options: ImportOptions = ImportOptions(),  # noqa: B008 (frozen)
) -> Run:
    """Make a run of a FastFlow or CFLOW that was trained with another code base; no code in its file is run.

    Values that are not given are read from the file, or else are the defaults of the code base. The run has no
    thresholds yet, since those in the file come from test or validation images.

    Args:
        file: Checkpoint that the other code base wrote.
        from_: The code base.
        output: New run directory.
        options: Values that the file does not contain.

    Raises:
        InputError: If the file is damaged, foreign or of another code base, a value is missing that it does not
            contain, or ``output`` is not empty.
    """
    require_place("output", output)
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise InputError(f"`output` {output} exists already: name a new folder.")
    if options.data:
        options.data.build("datasets")  # whose mistakes are found before a large file is read
    size = None if options.image_size is None else parse_size(options.image_size, "image_size")
    named = {"clamp": options.clamp, "mean": options.mean, "std": options.std}
    given = {key: value for key, value in named.items() if value is not None}
    with open_checkpoint(file) as checkpoint:
        detector = assemble_detector(read_parts(checkpoint, from_, options.backbone), size, given)
    return write_run(detector, output, options.data, {"from": from_, "file": str(file.absolute())})


def write_run(detector: Detector, output: Path, data: Component | None, source: dict[str, str]) -> Run:
    """Write a run directory as a whole; ``source`` is the code base and the file, for the record."""
    samples: list[Sample] = data.build("datasets").samples() if data else []
    pipeline = Pipeline(detector, heatmap=HeatmapOptions(top_percent=0))  # as the other code bases score
    config = TrainConfig(
        model=Component(**describe_pipeline(pipeline)["model"]),
        data=data,
        image=ImageOptions(size=detector.image_size, resize=pipeline.preprocess.mode),
        heatmap=pipeline.heatmap,
        output=output.absolute().parent,
    )
    with fresh_folder(output.absolute()) as temporary:
        run = Run(temporary)
        run.write_config(config)
        write_splits(samples, run.splits_file)
        run.write_json("versions.json", versions() | {"imported": source})
        save_pipeline(pipeline, run.model_file)
    return Run(output)


def assemble_detector(parts: Parts, image_size: ImageSize | None, options: dict[str, Any]) -> Detector:
    """Return our model with the weights of another; ``options`` replace those of its parts."""
    if (size := image_size or parts.image_size) is None:
        raise InputError(
            "`image_size` must be given: the size of the images in training, which the file does not contain."
        )
    with weights_follow(), torch.random.fork_rng(devices=[]):
        detector = build_detector(parts, size, options)
    load_parts(detector, parts)
    return detector.eval()


def build_detector(parts: Parts, size: ImageSize, given: dict[str, Any]) -> Detector:
    """Build the model without weights, with the options that follow from the shapes of its tensors."""
    options: dict[str, Any] = {
        "backbone": parts.backbone,
        "layers": parts.layers,
        "steps": len(parts.flows[0]),
        "mean": Detector.IMAGENET_MEAN,
        "std": Detector.IMAGENET_STD,
        "components": None,
    }
    if parts.model == "cflow":
        options |= {
            "condition": freia.condition_length(parts.flows[0]),
            "permutation": freia.permutation_kind(parts.flows),
            "norm": "none",
            "local_scale": 0.0,
            "clamp": 1.9,
            "upsampling": "bilinear-aligned",
        }
        return CFlow(size, **options | parts.options | given)
    options |= {
        "kernel_sizes": freia.kernel_sizes(parts.flows[0]),
        "hidden_ratio": freia.hidden_ratio(parts.flows),
        "norm": "layer" if parts.norms else "none",
        "clamp": 2.0,
        "local_scale": 0.0,
        "tail": 0.0,
        "coarse_weight": 1.0,
        "upsampling": "bilinear",
    }
    return FastFlow(size, **options | parts.options | given)


def load_parts(detector: Detector, parts: Parts) -> None:
    """Load the weights of the parts into a model, all of them and no others."""
    wanted = detector.state_dict()
    prefix, layers = "encoder.network.", ("inner", "outer") if parts.model == "cflow" else ("0", "2")
    encoder_keys = [key.removeprefix(prefix) for key in wanted if key.startswith(prefix)]
    state = {
        **{prefix + key: tensor for key, tensor in encoders.select_encoder(parts.encoder, encoder_keys).items()},
        **{f"norms.{key}": tensor for key, tensor in parts.norms.items()},
        **freia.translate_flows(parts.flows, layers),
    }
    own = {key: tensor for key, tensor in wanted.items() if key.startswith(OWN_CONSTANTS)}
    if missing := sorted(wanted.keys() - state.keys() - own.keys()):
        raise InputError(f"The file lacks weights that its model needs, such as {missing[0]}: name another file.")
    if left := sorted(state.keys() - wanted.keys()):
        raise InputError(
            f"The file holds weights that its model has no place for, such as {left[0]}: name another file."
        )
    try:
        detector.load_state_dict(own | state)
    except RuntimeError as error:
        fault = str(error).splitlines()[-1].strip() or first_line(error)
        raise InputError(f"The weights in the file do not fit their model: {fault}") from error
