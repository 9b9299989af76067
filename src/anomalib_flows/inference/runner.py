"""Run a pipeline over samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from anomalib_flows.core.cuda import full_float32, to_device
from anomalib_flows.core.errors import InputError
from anomalib_flows.core.images import Pixels
from anomalib_flows.core.types import Batch, ImageResult, Sample
from anomalib_flows.data.loading.loader import Loader
from anomalib_flows.inference.feature_cache import COMPUTED, FeatureBatch, FeatureOptions
from anomalib_flows.inference.features import FeatureLoader
from anomalib_flows.inference.memory import memory_explained
from anomalib_flows.inference.photos import read_batches
from anomalib_flows.models.pipeline import Pipeline, hide_padding
from anomalib_flows.results.sinks import Thresholds
from anomalib_flows.run.options import ImageOptions, LoaderOptions


@dataclass(frozen=True)
class PipelineRunner:
    """Run a pipeline over samples: the predictor of a trained model.

    Decisions are made on the CPU; only the modules that compute maps move to the device.

    Args:
        pipeline: The pipeline; its own size and resizing apply.
        device: Device to compute on.
        loader: How images are read.
        features: How features to train or calibrate on are computed and kept.
    """

    pipeline: Pipeline
    device: torch.device
    loader: LoaderOptions = field(default_factory=LoaderOptions)
    features: FeatureOptions = COMPUTED

    @property
    def image(self) -> ImageOptions:
        """Size of the pipeline's images."""
        return ImageOptions(size=self.pipeline.preprocess.size, resize=self.pipeline.preprocess.mode)

    @property
    def exact(self) -> PipelineRunner:
        """The same with features as in prediction: computed in float32, and kept without rounding."""
        return replace(self, features=replace(self.features, precision=torch.float32, dtype=None))

    @property
    def thresholds(self) -> Thresholds:
        """Thresholds of raw scores and maps."""
        of = self.pipeline.postprocess
        return Thresholds(*(float(value) for value in (of.image_threshold, of.pixel_threshold, of.typical_score)))

    def encode(self, samples: Sequence[Sample], title: str) -> Iterator[FeatureBatch]:
        """Yield batches of features in float32, kept ones or computed ones."""
        with self._on_device(), tqdm(total=len(samples), desc=title, unit="image", delay=1, leave=False) as bar:
            images = Loader(samples, self.image, self.loader)
            for batch in FeatureLoader(self.pipeline, images, self.device, self.features):
                yield batch
                bar.update(len(batch))

    def maps(
        self, samples: Sequence[Sample], title: str, alter: Callable[[Batch], Batch] | None = None, done: int = 0
    ) -> Iterator[tuple[Batch, Tensor]]:
        """Yield batches with their raw maps (B, M, H, W) on the CPU; ``alter`` changes a batch of resized images first.

        Batches whose samples are all among the first ``done`` ones are left out. Each file is read once. One that
        cannot be read raises an InputError, unless ``loader.on_error`` is ``skip``.
        """
        with self.memory_explained(), self._on_device():
            for read in read_batches(samples, self.image, self.loader, title, done):
                batch = alter(read) if alter else read
                with torch.inference_mode():  # not around modules that move: their weights could not be trained again
                    maps = self.pipeline.maps(to_device(batch.images, self.device))
                yield batch, hide_padding(maps.cpu(), batch.contents)
                del read, batch, maps  # not kept while the next ones are computed

    def predict(
        self, samples: Sequence[Sample], alter: Callable[[Batch], Batch] | None = None, done: int = 0
    ) -> Iterator[ImageResult]:
        """Yield the result of each image but the first ``done`` ones, in their order; values do not depend on it."""
        before = {sample.path for sample in samples[max(0, done - self.loader.images_per_batch) : done]}
        for batch, maps in self.maps(samples, "Predicting", alter, done):
            for result in self.decide(batch, maps):
                if not (before and result.sample and result.sample.path in before):
                    yield result
                del result
            del batch, maps  # here as well

    def decide(self, batch: Batch, maps: Tensor) -> Iterator[ImageResult]:
        """Yield the results of a batch from its raw maps (B, M, H, W)."""
        pictures: Sequence[Pixels | None] = batch.pictures or [None] * len(batch.samples)
        results = self.pipeline.postprocess.image_results(maps, batch.contents)
        for result, sample, picture, mask in zip(results, batch.samples, pictures, batch.masks, strict=True):
            height, width = result.mask.shape
            truth = None if mask is None else mask[:height, :width].numpy()
            yield replace(result, sample=sample, picture=picture, ground_truth=truth)

    def memory_explained(self) -> AbstractContextManager[None]:
        """Name the batch size in one sentence where memory ends."""
        return memory_explained(self.pipeline.detector, self.loader.images_per_batch, self.device)

    @contextmanager
    def _on_device(self) -> Iterator[None]:
        """Move the modules that compute maps to the device, in evaluation mode, and back."""
        detector = self.pipeline.detector
        computing, training = [self.pipeline.preprocess, detector], detector.training
        detector.eval()
        try:
            for module in computing:
                module.to(self.device)
            with full_float32():
                yield
        finally:
            for module in computing:
                module.cpu()
            detector.train(training)


def choose_precision(precision: str, device: torch.device) -> str:
    """Return the precision of training; for ``auto`` bfloat16 where the device has instructions for it."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32"
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # torch 2.7 has none
    return "bf16-mixed" if any(map(capabilities.get, ("avx512_bf16", "amx_bf16", "bf16"))) else "32"


def choose_device(accelerator: str) -> torch.device:
    """Return the device for ``auto``, ``cpu`` or ``cuda``; raise an InputError if CUDA is not available."""
    available = torch.cuda.is_available()
    if accelerator == "cuda" and not available:
        raise InputError("'cuda' is not available: torch finds no CUDA device. Choose 'cpu' or 'auto'.")
    return torch.device("cuda" if available and accelerator != "cpu" else "cpu")
