"""Build our model from the parts of another."""

from __future__ import annotations

from typing import Any

import torch

from anomalib_flows.core.errors import InputError, first_line
from anomalib_flows.core.types import ImageSize
from anomalib_flows.encoders.weights import weights_follow
from anomalib_flows.importing import encoders, freia
from anomalib_flows.importing.freia import State
from anomalib_flows.importing.sources import Parts
from anomalib_flows.models.base import Detector
from anomalib_flows.models.cflow import CFlow
from anomalib_flows.models.fastflow import FastFlow

OURS = ("max_log_probs", "max_likelihood_sum", "scales.")
"""Beginnings of the names of constants that are ours alone."""


def assemble(parts: Parts, image_size: ImageSize | None, options: dict[str, Any]) -> Detector:
    """Build our model with the weights of another.

    Args:
        parts: The other model.
        image_size: Image size, if it was given.
        options: Options of our model that were given, in place of what the parts say.

    Raises:
        InputError: If the image size is missing, or weights are missing or do not fit.
    """
    size = image_size or parts.image_size
    if size is None:
        raise InputError("--image-size must be given, for the file does not tell: the size that it was trained with.")
    with weights_follow(), torch.random.fork_rng(devices=[]):
        detector = empty(parts, size, options)
    load(detector, parts)
    return detector.eval()


def empty(parts: Parts, size: ImageSize, given: dict[str, Any]) -> Detector:
    """Build the model without weights, with what its tensors tell of its options."""
    options: dict[str, Any] = {
        "backbone": parts.backbone,
        "layers": parts.layers,
        "steps": len(parts.flows[0]),
        "mean": Detector.IMAGENET_MEAN,
        "std": Detector.IMAGENET_STD,
    }
    if parts.model == "cflow":
        options |= {
            "condition": freia.condition(parts.flows[0]),
            "permutation": freia.permutation(parts.flows),
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


def load(detector: Detector, parts: Parts) -> None:
    """Give a model the weights of the parts, all of them and no others.

    Raises:
        InputError: If some are missing, left over or of another shape.
    """
    wanted = detector.state_dict()
    state = renamed(parts, [key for key in wanted if key.startswith("encoder.network.")])
    ours = {key: tensor for key, tensor in wanted.items() if key.startswith(OURS)}
    if missing := sorted(wanted.keys() - state.keys() - ours.keys()):
        raise InputError(f"The file lacks weights that its model needs, such as {missing[0]}: name another file.")
    if left := sorted(state.keys() - wanted.keys()):
        raise InputError(f"The file holds weights that its model has no place for, such as {left[0]}.")
    try:
        detector.load_state_dict(ours | state)
    except RuntimeError as error:
        fault = str(error).splitlines()[-1].strip() or first_line(error)
        raise InputError(f"The weights in the file do not fit their model: {fault}") from error


def renamed(parts: Parts, encoder_keys: list[str]) -> State:
    """Give all weights the names that they have in our model."""
    prefix = "encoder.network."
    encoder = encoders.select(parts.encoder, [key.removeprefix(prefix) for key in encoder_keys])
    layers = ("inner", "outer") if parts.model == "cflow" else ("0", "2")
    return {
        **{prefix + key: tensor for key, tensor in encoder.items()},
        **{f"norms.{key}": tensor for key, tensor in parts.norms.items()},
        **freia.translate(parts.flows, layers),
    }
