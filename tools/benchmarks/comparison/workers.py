"""A worker: one contender in a process of its own, which makes one call for each line on its standard input."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from comparison.settings import INFERENCE, KERNELS, STAGES, TIMM_ARGS, Contender, Setting

SIDE, PRODUCTS = 2048, 5
"""Rows of the square matrices whose products give the floor, and the number of products; the fastest one counts."""


def mixed(precision: str) -> Any:
    """Return the autocast of Lightning's precision bf16-mixed."""
    import torch

    return torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16", cache_enabled=False)


class Ours:
    """This package's detector."""

    def __init__(self, setting: Setting, contender: Contender, images: Any) -> None:
        from anomalib_flows.core.allocation import keep_memory

        keep_memory()  # as the command line does
        self.contender, self.images = contender, images
        self.model = our_model(setting, contender)
        self.loss = self.model.loss
        self.optimizer = self.model.optimizer()
        self.features = self.encode() if contender.cached else None
        if contender.work == INFERENCE and contender.precision == "bfloat16":
            self.images = images.bfloat16()
            for part in self.model.children():
                part.bfloat16()

    def compile(self) -> None:
        """Compile the loss."""
        from anomalib_flows.training.module import compiled_loss

        self.loss = compiled_loss(self.model)

    def encode(self) -> Any:
        """Return the features, in float32 as in training."""
        import torch

        with torch.no_grad(), mixed(self.contender.precision):
            return [feature.float() for feature in self.model.encode(self.images)]

    def train(self) -> None:
        """Train on one batch of images."""
        for batch in self.model.training_batches(self.features or self.encode()):
            with mixed(self.contender.precision):
                loss = self.loss(batch)
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()

    def predict(self) -> Any:
        """Return score and map of one image."""
        maps = self.model.anomaly_map(self.model.encode(self.images[:1]))
        return maps.amax((-2, -1)), maps


def our_model(setting: Setting, contender: Contender) -> Any:
    """Make a detector with anomalib's architecture."""
    from anomalib_flows import CFlow, FastFlow

    options = {"backbone": setting.backbone, "weights": setting.weights, "timm_args": TIMM_ARGS.get(setting.backbone)}
    size = (setting.size, setting.size)
    if setting.model == "fastflow":
        return FastFlow(size, **FastFlow.published | options | {"kernel_sizes": KERNELS[setting.backbone]})
    options |= {"norm": "none", "clamp": 1.9, "local_scale": 0.0, "layers": list(STAGES[setting.backbone])}
    if contender.vectors:
        options |= {"order": "published", "vectors_per_step": contender.vectors}
    return CFlow(size, **options)


class AnomalibFastFlow:
    """anomalib's FastFlow."""

    def __init__(self, setting: Setting, contender: Contender, images: Any) -> None:
        from comparison.peers import TimmFastflow

        self.contender, self.images = contender, images
        self.module = TimmFastflow(setting.backbone, setting.size, setting.weights)
        self.model, self.optimizer = self.module.model, self.module.configure_optimizers()

    def train(self) -> None:
        """Train on one batch of images."""
        with mixed(self.contender.precision):
            loss = self.module.loss(*self.model(self.images))
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def predict(self) -> Any:
        """Return score and map of one image."""
        with mixed(self.contender.precision):
            return self.model(self.images[:1])


class AnomalibCFlow(AnomalibFastFlow):
    """anomalib's CFLOW, whose training step updates the weights itself."""

    def __init__(self, setting: Setting, contender: Contender, images: Any) -> None:
        from comparison.peers import TimmCflow, batch_of, without_trainer

        self.contender, self.images, self.batch = contender, images, batch_of(images)
        self.module = without_trainer(TimmCflow(setting.backbone, setting.size, setting.weights))
        self.model = self.module.model

    def train(self) -> None:
        """Train on one batch of images."""
        with mixed(self.contender.precision):
            self.module.training_step(self.batch)


IMPLEMENTATIONS: dict[tuple[str, str], Any] = {
    ("ours", "fastflow"): Ours,
    ("ours", "cflow"): Ours,
    ("anomalib", "fastflow"): AnomalibFastFlow,
    ("anomalib", "cflow"): AnomalibCFlow,
}


def prepare(setting: Setting, contender: Contender) -> tuple[Callable[[], float], dict[str, Any]]:
    """Return a function that measures milliseconds per image, and the facts about the contender."""
    import torch

    images = torch.randn(setting.batch, 3, setting.size, setting.size)
    implementation = IMPLEMENTATIONS[contender.package, setting.model](setting, contender, images)
    trains = contender.work != INFERENCE
    implementation.model.train(trains)
    call, count = (implementation.train, len(images)) if trains else (implementation.predict, 1)
    with torch.inference_mode(not trains):
        counted = multiply_adds(call) / count
    if contender.compiled:  # after the count: compiled code cannot be counted
        implementation.compile()

    def measure() -> float:
        with torch.inference_mode(not trains):
            return milliseconds(call) / count

    return measure, {
        "version": version({"ours": "anomalib-flows", "anomalib": "anomalib"}[contender.package]),
        "torch": torch.__version__,
        "parameters": sum(p.numel() for p in implementation.model.parameters() if p.requires_grad),
        "multiply_adds": counted,
    }


def multiply_adds(call: Callable[[], Any]) -> float:
    """Count the multiply-adds of products and convolutions, backward ones included, in units of 1e9.

    The second call is counted: in the first one our encoder folds its batch norms, for which it encodes twice more.
    """
    from torch.utils.flop_counter import FlopCounterMode

    call()
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() / 2e9


def products(precision: str) -> Callable[[], float]:
    """Return a function that measures the milliseconds that this machine takes for 1e9 multiply-adds."""
    import torch

    a, b = torch.randn(2, SIDE, SIDE, dtype=getattr(torch, precision))
    return lambda: min(milliseconds(lambda: a @ b) for _ in range(PRODUCTS)) / (SIDE**3 / 1e9)


def milliseconds(call: Callable[[], Any]) -> float:
    """Return the duration of a call."""
    start = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - start)


def work(setting: Setting, contender: Contender) -> None:
    """Describe the contender, then reply to each line on standard input with milliseconds per image and memory."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print there; replies have a stream of their own
    import torch

    torch.set_num_threads(setting.threads)
    torch.manual_seed(0)
    is_floor = contender.package == "products"
    measure, about = (products(contender.precision), {}) if is_floor else prepare(setting, contender)
    print(json.dumps(about), file=replies, flush=True)
    for _ in sys.stdin:
        reply = {"milliseconds": measure(), "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
        print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    work(Setting(**json.loads(sys.argv[1])), Contender(**json.loads(sys.argv[2])))
