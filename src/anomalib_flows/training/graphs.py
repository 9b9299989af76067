"""The loss as a CUDA graph: a flow has many small operations, and starting each takes longer than computing it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.cuda import make_graphed_callables
from torch.func import functional_call
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from anomalib_flows.inference.memory import available
from anomalib_flows.models.base import Detector

MOST = 8
"""Shapes of batches that get a graph; each takes memory of its own."""


class GraphedLoss:
    """Compute a detector's loss; on CUDA record it as a graph for each shape of batch, and replay that.

    The first step of a shape is computed as usual: it makes libraries ready, and shows how much memory a step takes.

    Args:
        detector: The detector; only a loss that is declared ``static_loss`` is recorded.
    """

    def __init__(self, detector: Detector) -> None:
        self.detector, self.recorded = detector, is_static(detector)
        self.calls: dict[Any, Callable[..., Tensor] | None] = {}

    def __call__(self, batch: Any) -> Tensor:
        """Return the loss of a training batch."""
        leaves, structure = tree_flatten(batch) if self.recorded else ([], None)
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        if structure is None or not on_cuda(tensors):
            return self.detector.loss(batch)
        shape = structure, *map(described, leaves)
        if shape not in self.calls:
            if len(self.calls) < MOST:
                self.calls[shape] = None
            return self.detector.loss(batch)
        call = self.calls[shape]
        if call is None:
            call = self.calls[shape] = self._record(leaves, structure, tensors)
        return call(*tensors).clone()  # the next replay writes to the same memory

    def _record(self, leaves: list[Any], structure: TreeSpec, tensors: list[Tensor]) -> Callable[..., Tensor]:
        loss = LossOfTensors(self.detector, leaves, structure)
        return replayed(loss, tensors) if memory_allows(tensors[0].device) else loss


class LossOfTensors(nn.Module):
    """The loss as a function of the tensors in a batch; all else in it stays as it was."""

    def __init__(self, detector: Detector, leaves: list[Any], structure: TreeSpec) -> None:
        super().__init__()
        self.detector, self.structure = detector, structure
        self.others = [None if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        self.places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]

    def forward(self, *tensors: Tensor) -> Tensor:
        """Return the loss of the batch with these tensors."""
        leaves: list[Any] = list(self.others)
        for place, tensor in zip(self.places, tensors, strict=True):
            leaves[place] = tensor
        return self.detector.loss(tree_unflatten(leaves, self.structure))


def replayed(loss: LossOfTensors, tensors: list[Tensor]) -> Callable[..., Tensor]:
    """Record a loss and its gradient as graphs, and return a function that replays them.

    Weights are recorded under other names for the same memory. Otherwise their gradients would be bound to the stream
    of any loss that is still referred to, which ends the recording with an error.
    """
    trained = {name: weight for name, weight in loss.named_parameters() if weight.requires_grad}

    def of_all(*given: Tensor) -> Tensor:
        weights = dict(zip(trained, given[len(tensors) :], strict=True))
        result: Tensor = functional_call(loss, weights, given[: len(tensors)])
        return result

    aliases = [weight.detach().requires_grad_() for weight in trained.values()]
    own = [tensor.clone() for tensor in tensors]  # each replay copies its batch to them
    replay: Any = make_graphed_callables(of_all, (*own, *aliases), allow_unused_input=True)
    return lambda *given: replay(*given, *trained.values())


def is_static(detector: Detector) -> bool:
    """Return whether the class that defines a detector's loss, or one derived from it, declares it to be static."""
    for cls in type(detector).__mro__:
        if "static_loss" in vars(cls):
            return bool(vars(cls)["static_loss"])
        if "loss" in vars(cls):
            return False
    return False


def described(leaf: Any) -> Any:
    """Return what a graph depends on: shape, strides and type of a tensor, and anything else as it is."""
    return (leaf.shape, leaf.stride(), leaf.dtype) if isinstance(leaf, Tensor) else leaf


def on_cuda(tensors: list[Tensor]) -> bool:
    """Return whether there are tensors, and all are on CUDA."""
    return bool(tensors) and all(tensor.device.type == "cuda" for tensor in tensors)


def memory_allows(device: torch.device) -> bool:
    """Return whether a graph, which takes as much memory as a step, fits beside it."""
    return 2 * torch.cuda.max_memory_allocated(device) < available(device)
