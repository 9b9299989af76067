"""Features of images: computed once by the frozen encoder, or taken from the cache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from typing import Any

import torch

from anomalib_flows.core.cuda import to_device
from anomalib_flows.core.types import Batch, Sample
from anomalib_flows.data.loading.augmentation import augment_batch
from anomalib_flows.data.loading.cache import Item
from anomalib_flows.data.loading.loader import Loader, collate
from anomalib_flows.inference.feature_cache import COMPUTED, FeatureBatch, FeatureCache, FeatureOptions, rounded
from anomalib_flows.models.base import Detector
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.run.options import AugmentOptions


@dataclass(frozen=True)
class Augmentation:
    """Random changes of training images; the seed determines them, together with the epoch and the file."""

    options: AugmentOptions = field(default_factory=AugmentOptions)
    seed: int = 0


class FeatureLoader:
    """Iterate over batches of features in float32, in the order of a loader.

    Only images whose features are not kept are read and encoded. Preprocessing and detector are on the device already.
    Each epoch changes the images in a new way, or in one of the variants if those are kept.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        images: Loader,
        device: torch.device,
        options: FeatureOptions = COMPUTED,
        augmentation: Augmentation = Augmentation(),
    ) -> None:
        self.pipeline, self.images, self.device, self.options = pipeline, images, device, options
        self.changes, self.seed = augmentation.options, augmentation.seed
        repeated = options.variants > 0 or not self.changes.active
        key = features_key(pipeline.detector) if options.limit and repeated else None
        self.cache = None if key is None else FeatureCache(pipeline, key, options, device)

    def __iter__(self) -> Iterator[FeatureBatch]:
        for samples, found in self.images.ahead(self._read):
            batch = self._complete(samples, found)
            yield replace(batch, features=[feature.float() for feature in batch.features])

    def _read(self, sample: Sample) -> FeatureBatch | tuple[str, Item]:
        """Return the kept features of an image, else the image and the name of its features."""
        name = self._name(sample)
        if self.cache is None or not name:
            return name, self.images.read(sample)
        kept = self.cache.get(name)
        # Not from a cache of images, which may hold an earlier version of the file.
        return (name, self.images.read_file(sample)) if kept is None else kept

    def _name(self, sample: Sample) -> str:
        """Return the name of an image's features; empty if none are kept, or the image is missing."""
        if self.cache is None:
            return ""
        changes: list[Any] = []
        if self.changes.active:  # which depend on more than the content
            changes = [version("kornia"), asdict(self.changes), self.seed, self._variant, *sample.path.parts[-2:]]
        try:
            return self.cache.name(sample, *changes)
        except OSError:
            return ""

    def _complete(self, samples: list[Sample], found: list[FeatureBatch | tuple[str, Item]]) -> FeatureBatch:
        """Encode those images of a batch whose features are not kept."""
        missing = [(s, *read) for s, read in zip(samples, found, strict=True) if isinstance(read, tuple)]
        if not missing:
            return FeatureBatch.join([read for read in found if isinstance(read, FeatureBatch)]).on(self.device)
        computed = iter(self._compute(*map(list, zip(*missing, strict=True))))
        return FeatureBatch.join(
            [next(computed) if isinstance(read, tuple) else read.on(self.device) for read in found]
        )

    def _compute(self, samples: list[Sample], names: list[str], items: list[Item]) -> list[FeatureBatch]:
        """Encode images and keep their features, unless the file has changed meanwhile."""
        computed = self._encode(collate(samples, items))
        if self.cache:
            kept = computed.on(torch.device("cpu")).split()  # all at once, as each copy waits for the device
            for sample, name, features in zip(samples, names, kept, strict=True):
                if name and name == self._name(sample):
                    self.cache.put(name, features)
        return computed.split()

    def _encode(self, batch: Batch) -> FeatureBatch:
        """Encode images, augmented if asked for."""
        batch.images = to_device(batch.images, self.device)
        images = augment_batch(batch, self.changes, self.seed, self._variant).images
        mixed = self.options.precision != torch.float32
        with torch.no_grad(), torch.autocast(self.device.type, self.options.precision if mixed else None, mixed):
            features = self.pipeline.features(images)
        # Rounded whether they are kept or not: a run must not depend on what was cached before.
        return FeatureBatch([rounded(feature, self.options.dtype) for feature in features], batch.contents)

    @property
    def _variant(self) -> int:
        """Number of the variant of this epoch."""
        return self.images.epoch % self.options.variants if self.options.variants else self.images.epoch


def features_key(detector: Detector) -> str | None:
    """Return the key of a detector's features; None if a subclass overrides ``encode`` without a key of its own."""
    for cls in type(detector).__mro__:
        if "features_key" in vars(cls):
            return detector.features_key()
        if "encode" in vars(cls):
            return None
    return None
