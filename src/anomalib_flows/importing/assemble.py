"""Our model, built from the parts of another code base's model."""

from __future__ import annotations

from typing import Any

import torch

from anomalib_flows.core.errors import InputError, first_line
from anomalib_flows.core.types import ImageSize
from anomalib_flows.encoders.weights import weights_follow
from anomalib_flows.importing import encoders, freia
from anomalib_flows.importing.code_bases import Parts
from anomalib_flows.importing.freia import State
from anomalib_flows.models.base import Detector
from anomalib_flows.models.cflow import CFlow
from anomalib_flows.models.fastflow import FastFlow

OWN_CONSTANTS = ("max_log_probs", "max_likelihood_sum", "scales.")
"""Prefixes of the constants that only our models have."""


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
        "upsampling": "bilinear",
    }
    return FastFlow(size, **options | parts.options | given)


def load_parts(detector: Detector, parts: Parts) -> None:
    """Load the weights of the parts into a model, all of them and no others."""
    wanted = detector.state_dict()
    state = rename_tensors(parts, [key for key in wanted if key.startswith("encoder.network.")])
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


def rename_tensors(parts: Parts, encoder_keys: list[str]) -> State:
    """Rename all weights to those of our model."""
    prefix = "encoder.network."
    encoder = encoders.select_encoder(parts.encoder, [key.removeprefix(prefix) for key in encoder_keys])
    layers = ("inner", "outer") if parts.model == "cflow" else ("0", "2")
    return {
        **{prefix + key: tensor for key, tensor in encoder.items()},
        **{f"norms.{key}": tensor for key, tensor in parts.norms.items()},
        **freia.translate_flows(parts.flows, layers),
    }
