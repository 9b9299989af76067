"""Which losses become CUDA graphs, and when. What a GPU does with them is in test_gpu.py."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from anomalib_flows import CFlow, FastFlow
from anomalib_flows.training import graphs
from anomalib_flows.training.graphs import MOST, GraphedLoss, is_static

SHAPE = (64, 64), "test_resnet"


class Overriding(FastFlow):
    """Another loss, which may do anything."""

    def loss(self, batch: Any) -> torch.Tensor:
        return super().loss(batch)


class Declaring(Overriding):
    """A loss that is known to be static."""

    static_loss = True


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Take a CPU for a GPU: a graph reads and writes memory of its own, and has its gradient recorded."""
    counted: list[int] = []

    def record(loss: Any, inputs: Any, allow_unused_input: bool) -> Any:
        counted.append(len(inputs))
        memory, gradients = torch.zeros(()), {}
        trained = [i for i, one in enumerate(inputs) if one.requires_grad]

        class Replay(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, *given: torch.Tensor) -> torch.Tensor:
                for own, one in zip(inputs, given, strict=True):
                    if own.data_ptr() != one.data_ptr():
                        assert not own.requires_grad, "weights share their memory"
                        own.copy_(one)
                with torch.enable_grad():
                    found = loss(*inputs)
                wanted = [inputs[i] for i in trained]
                gradients.update(
                    zip(trained, torch.autograd.grad(found, wanted, allow_unused=allow_unused_input), strict=True)
                )
                return memory.copy_(found.detach()).detach()

            @staticmethod
            def backward(ctx: Any, *of_loss: torch.Tensor) -> Any:
                found = [gradients.get(i) for i in range(len(inputs))]
                return tuple(None if one is None else one * of_loss[0] for one in found)

        return Replay.apply

    monkeypatch.setattr(graphs, "make_graphed_callables", record)
    monkeypatch.setattr(graphs, "on_cuda", bool)
    monkeypatch.setattr(graphs, "memory_allows", lambda device: True)
    return counted


def batches(detector: Any, *images: int) -> list[Any]:
    return [
        batch
        for count in images
        for batch in detector.training_batches([torch.randn(count, *s) for s in detector.encoder.shapes])
    ]


def trained(detector: Any, loss: Any, given: list[Any]) -> torch.Tensor:
    """Return the losses of a training, all read at its end."""
    optimizer, losses = torch.optim.SGD([p for p in detector.parameters() if p.requires_grad], 1e-5), []
    for batch in given:
        losses.append((loss or detector.loss)(batch))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    return torch.stack(losses)


@pytest.mark.parametrize("options", [{"order": "together"}, {"order": "published"}, None], ids=str)
def test_each_shape_is_recorded_once_after_a_usual_step(recorded: list[int], options: Any) -> None:
    kind: Any = FastFlow if options is None else CFlow
    detector = kind(*SHAPE, weights="random", steps=1, **(options or {}))
    loss, given = GraphedLoss(detector), batches(detector, 4, 4, 2, 2, 4, 4, 2)
    other = copy.deepcopy(detector)
    found, expected = trained(detector, loss, given), trained(other, None, given)
    torch.testing.assert_close(found, expected)
    shapes = {(batch[0].layer, batch[0].vectors.shape) if options else batch[0].shape for batch in given}
    assert len(recorded) == len(shapes)


def test_a_limited_number_of_shapes_is_recorded(recorded: list[int]) -> None:
    detector = FastFlow(*SHAPE, weights="random", steps=1)
    loss = GraphedLoss(detector)
    for batch in batches(detector, *2 * tuple(range(1, MOST + 4))):
        torch.testing.assert_close(loss(batch), detector.loss(batch))
    assert len(recorded) == MOST


def test_little_memory_and_cpus_need_no_graph(recorded: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    detector = FastFlow(*SHAPE, weights="random", steps=1)
    given = batches(detector, 2, 2, 2)
    for name in ("memory_allows", "on_cuda"):
        monkeypatch.setattr(graphs, name, lambda _: False)
        loss = GraphedLoss(detector)
        assert all(loss(batch).requires_grad for batch in given)
    assert not recorded


def test_a_loss_that_is_overridden_must_be_declared_again() -> None:
    made = {kind: kind(*SHAPE, weights="random", steps=1) for kind in (FastFlow, CFlow, Overriding, Declaring)}
    assert [kind for kind, detector in made.items() if is_static(detector)] == [FastFlow, CFlow, Declaring]
