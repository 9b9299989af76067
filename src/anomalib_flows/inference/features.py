"""Features of images: computed once by the frozen encoder, and kept on disk for later epochs, runs and models."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from torch import Tensor

from anomalib_flows.core.store import Store, Tensors, cache_folder
from anomalib_flows.core.types import Batch, ImageSize, Sample
from anomalib_flows.data.loading.augmentation import change
from anomalib_flows.data.loading.cache import Item
from anomalib_flows.data.loading.loader import Loader, collate
from anomalib_flows.models.base import Detector, Features
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.run.options import AugmentOptions

VERSION = "2"
"""Part of every name on disk: to be raised when reading, resizing, changing or encoding comes to give other values."""
LIBRARIES = torch.__version__, np.__version__, PIL.__version__
"""What decodes, resizes and encodes, in versions that may differ in the last digit."""
CONTENT = "content"


@dataclass(frozen=True)
class FeatureOptions:
    """How features are computed and kept.

    Args:
        precision: What the encoder computes in: float32, or another type by autocast.
        limit: Room on disk in bytes; 0 keeps nothing.
        dtype: What features are kept in; None for what they were computed in.
        variants: How many variants of each image are kept where images are changed at random.
    """

    precision: torch.dtype = torch.float32
    limit: int = 0
    dtype: torch.dtype | None = None
    variants: int = 0


COMPUTED = FeatureOptions()
"""Features are computed each time."""


@dataclass
class FeatureBatch:
    """Features of B images.

    Args:
        features: Feature maps of shape (B, C, h, w).
        contents: For each image the height and width of its own pixels; the rest is padding.
    """

    features: Features
    contents: list[ImageSize]

    def __len__(self) -> int:
        return len(self.contents)

    def split(self) -> list[FeatureBatch]:
        """Split into batches of one image."""
        return [FeatureBatch([f[i : i + 1] for f in self.features], [c]) for i, c in enumerate(self.contents)]

    @staticmethod
    def join(batches: Sequence[FeatureBatch]) -> FeatureBatch:
        """Join batches into one."""
        features = [torch.cat(of_layer) for of_layer in zip(*(b.features for b in batches), strict=True)]
        return FeatureBatch(features, [content for batch in batches for content in batch.contents])


class FeatureCache:
    """Keep the features of images by names that say of which bytes of which encoder, and how they were computed.

    So models share what their encoders have in common, and nothing is taken for what it is not.

    Args:
        pipeline: What encodes.
        key: What its detector's features depend on.
        options: How features are computed, and room for them.
        device: Where they are computed.
    """

    def __init__(self, pipeline: Pipeline, key: str, options: FeatureOptions, device: torch.device) -> None:
        preprocess = pipeline.preprocess
        self.dtype, self.device = options.dtype, device
        self.store = Store(
            cache_folder("features"), options.limit, "--trainer.cache_size", "features are computed each time"
        )
        self.kind: list[Any] = [
            *(VERSION, LIBRARIES, key, device.type, options.precision, self.dtype),
            *(preprocess.size, preprocess.mode, preprocess.mean.tolist(), preprocess.std.tolist()),
        ]

    def name(self, sample: Sample, *variant: Any) -> str:
        """Name of the features of an image, or of a variant of it.

        Raises:
            OSError: If the image cannot be read.
        """
        parts = [*self.kind, digest_of(sample.path), *variant]
        return hashlib.sha256(repr(parts).encode(errors="surrogateescape")).hexdigest()[:40]

    def get(self, name: str) -> FeatureBatch | None:
        """Return the features of a name, laid out as encoders give them."""
        kept = self.store.get(name)
        if kept is None:
            return None
        height, width = kept.pop(CONTENT).tolist()
        features = [kept[layer].to(self.device) for layer in sorted(kept)]
        return FeatureBatch([f.contiguous(memory_format=torch.channels_last) for f in features], [(height, width)])

    def put(self, name: str, features: FeatureBatch) -> None:
        """Keep the features of one image, if there is room."""
        tensors: Tensors = {f"{i:03}": feature.cpu() for i, feature in enumerate(features.features)}
        self.store.put(name, tensors | {CONTENT: torch.tensor(features.contents[0])})


def rounded(feature: Tensor, dtype: torch.dtype | None) -> Tensor:
    """Turn a feature into the type that it is kept in, unless that holds no such values."""
    converted = feature.to(dtype or feature.dtype)
    return converted if converted.isfinite().all() else feature


class FeatureLoader:
    """Iterate over batches of features in float32, in a loader's order of images, which are read where nothing is kept.

    Args:
        pipeline: What encodes.
        images: Where images come from.
        device: Where to compute; preprocessing and detector are there already.
        options: How features are computed and kept.
        changes: How far images are changed at random, otherwise in each epoch or, if variants are kept, in as many.
        seed: Decides the changes.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        images: Loader,
        device: torch.device,
        options: FeatureOptions = COMPUTED,
        changes: AugmentOptions = AugmentOptions(),  # noqa: B008 (frozen)
        seed: int = 0,
    ) -> None:
        self.pipeline, self.images, self.device, self.options = pipeline, images, device, options
        self.changes, self.seed = changes, seed
        again = options.variants > 0 or not changes.active
        key = features_key(pipeline.detector) if options.limit and again else None
        self.cache = None if key is None else FeatureCache(pipeline, key, options, device)

    def __iter__(self) -> Iterator[FeatureBatch]:
        for samples, found in self.images.ahead(self._read):
            batch = self._complete(samples, found)
            yield replace(batch, features=[feature.float() for feature in batch.features])

    def _read(self, sample: Sample) -> FeatureBatch | tuple[str, Item]:
        """Return what is kept of an image, else the image and the name to keep its features by."""
        name = self._name(sample)
        if self.cache is None or not name:
            return name, self.images.read(sample)
        kept = self.cache.get(name)
        # Not from a cache of images, which may hold an earlier state of the file.
        return (name, self.images.read_file(sample)) if kept is None else kept

    def _name(self, sample: Sample) -> str:
        """Name of what is kept of an image; none if nothing is, or the image is not there."""
        if self.cache is None:
            return ""
        try:
            return self.cache.name(sample, *(self._changed(sample) if self.changes.active else ()))
        except OSError:
            return ""

    def _changed(self, sample: Sample) -> list[Any]:
        """Return what the changes of an image depend on, besides its content."""
        return [version("kornia"), asdict(self.changes), self.seed, self._variant, *sample.path.parts[-2:]]

    def _complete(self, samples: list[Sample], found: list[FeatureBatch | tuple[str, Item]]) -> FeatureBatch:
        """Encode those images of a batch of which nothing is kept."""
        missing = [(s, *read) for s, read in zip(samples, found, strict=True) if isinstance(read, tuple)]
        computed = iter(self._compute(*map(list, zip(*missing, strict=True))) if missing else ())
        return FeatureBatch.join([next(computed) if isinstance(read, tuple) else read for read in found])

    def _compute(self, samples: list[Sample], names: list[str], items: list[Item]) -> list[FeatureBatch]:
        """Encode images, and keep their features, except where the file has changed meanwhile."""
        computed = self._encode(collate(samples, items)).split()
        for sample, name, features in zip(samples, names, computed, strict=True):
            if self.cache and name and name == self._name(sample):
                self.cache.put(name, features)
        return computed

    def _encode(self, batch: Batch) -> FeatureBatch:
        """Encode images, changed if that is asked for."""
        batch.images = batch.images.to(self.device)
        images = change(batch, self.changes, self.seed, self._variant).images
        mixed = self.options.precision != torch.float32
        with torch.no_grad(), torch.autocast(self.device.type, self.options.precision if mixed else None, mixed):
            features = self.pipeline.features(images)
        # Rounded whether they are kept or not, so that a run does not depend on what was there before.
        return FeatureBatch([rounded(feature, self.options.dtype) for feature in features], batch.contents)

    @property
    def _variant(self) -> int:
        """Which changes of the images this epoch takes."""
        return self.images.epoch % self.options.variants if self.options.variants else self.images.epoch


def features_key(detector: Detector) -> str | None:
    """Return what a detector's features depend on, unless it was said by a class before ``encode`` was written anew."""
    for cls in type(detector).__mro__:
        if "features_key" in vars(cls):
            return detector.features_key()
        if "encode" in vars(cls):
            return None
    return None


def digest_of(file: Path) -> str:
    """SHA-256 of a file, read once as long as it does not change.

    Raises:
        OSError: If it cannot be read.
    """
    state = file.stat()
    return _digest(file, state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino)


@cache
def _digest(file: Path, *state: int) -> str:
    del state  # which only tells one state of a file from another
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
