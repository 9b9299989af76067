"""Features of images: computed once by the frozen encoder, and kept on disk for later epochs, runs and models."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anomalib_flows.data.cache import Item
from anomalib_flows.data.changes import change
from anomalib_flows.data.loading import Loader, collate
from anomalib_flows.data.options import Changes
from anomalib_flows.models.base import Features
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.store import Store, Tensors, cache_folder
from anomalib_flows.types import Batch, ImageSize, Sample

VERSION = "1"
"""Part of every name on disk: to be raised when reading, resizing or encoding comes to give other values."""
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
        options: How features are computed, and room for them.
        device: Where they are computed.
    """

    def __init__(self, pipeline: Pipeline, options: FeatureOptions, device: torch.device) -> None:
        preprocess = pipeline.preprocess
        self.dtype, self.device = options.dtype, device
        self.store = Store(
            cache_folder("features"), options.limit, "--trainer.cache_size", "features are computed each time"
        )
        self.kind: list[Any] = [
            *(VERSION, torch.__version__, pipeline.detector.features_key(), device.type, options.precision, self.dtype),
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
        """Return the features of a name, as they were computed or, if kept in another type, in float32."""
        kept = self.store.get(name)
        if kept is None:
            return None
        height, width = kept.pop(CONTENT).tolist()
        features = [kept[layer].to(self.device) for layer in sorted(kept)]
        return FeatureBatch([f.float() if self.dtype else f for f in features], [(height, width)])

    def put(self, name: str, features: FeatureBatch) -> None:
        """Keep the features of one image, if there is room."""
        tensors: Tensors = {f"{i:03}": self._reduced(f.detach().cpu()) for i, f in enumerate(features.features)}
        self.store.put(name, tensors | {CONTENT: torch.tensor(features.contents[0])})

    def _reduced(self, feature: Tensor) -> Tensor:
        """Turn into the type that was asked for, unless it holds no such values."""
        reduced = feature.to(self.dtype or feature.dtype)
        return reduced if reduced.isfinite().all() else feature


class FeatureLoader:
    """Iterate over batches of features, in the order of a loader of images, which are read where nothing is kept.

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
        changes: Changes = Changes(),  # noqa: B008 (frozen)
        seed: int = 0,
    ) -> None:
        self.pipeline, self.images, self.device, self.options = pipeline, images, device, options
        self.changes, self.seed = changes, seed
        again = options.variants > 0 or not changes.active
        known = options.limit > 0 and pipeline.detector.features_key() is not None
        self.cache = FeatureCache(pipeline, options, device) if again and known else None

    def __iter__(self) -> Iterator[FeatureBatch]:
        for samples, found in self.images.ahead(self._read):
            yield self._complete(samples, found)

    def _read(self, sample: Sample) -> FeatureBatch | tuple[str, Item]:
        """Return what is kept of an image, else the image and the name to keep its features by."""
        name = self._name(sample)
        kept = self.cache.get(name) if self.cache and name else None
        return kept or (name, self.images.read(sample))

    def _name(self, sample: Sample) -> str:
        """Name of what is kept of an image; none if nothing is, or the image is not there."""
        if self.cache is None:
            return ""
        changed = [asdict(self.changes), self.seed, self._variant, sample.path.parent.name, sample.path.name]
        try:
            return self.cache.name(sample, *(changed if self.changes.active else []))
        except OSError:
            return ""

    def _complete(self, samples: list[Sample], found: list[FeatureBatch | tuple[str, Item]]) -> FeatureBatch:
        """Encode those images of a batch of which nothing is kept."""
        missing = [(s, *read) for s, read in zip(samples, found, strict=True) if isinstance(read, tuple)]
        if not missing:
            return FeatureBatch.join([kept for kept in found if isinstance(kept, FeatureBatch)])
        unkept, names, items = (list(column) for column in zip(*missing, strict=True))
        computed = self._encode(collate(unkept, items))
        for sample, name, features in zip(unkept, names, computed.split(), strict=True):
            if self.cache and name and name == self._name(sample):  # else the file has changed meanwhile
                self.cache.put(name, features)
        if len(missing) == len(samples):
            return computed
        rest = iter(computed.split())
        return FeatureBatch.join([next(rest) if isinstance(read, tuple) else read for read in found])

    def _encode(self, batch: Batch) -> FeatureBatch:
        """Encode images, changed if that is asked for."""
        batch.images = batch.images.to(self.device)
        images = change(batch, self.changes, self.seed, self._variant).images
        mixed = self.options.precision != torch.float32
        with torch.no_grad(), torch.autocast(self.device.type, self.options.precision if mixed else None, mixed):
            return FeatureBatch(self.pipeline.features(images), batch.contents)

    @property
    def _variant(self) -> int:
        """Which changes of the images this epoch takes."""
        return self.images.epoch % self.options.variants if self.options.variants else self.images.epoch


def digest_of(file: Path) -> str:
    """SHA-256 of a file, read once as long as it does not change.

    Raises:
        OSError: If it cannot be read.
    """
    state = file.stat()
    return _digest(file, state.st_size, state.st_mtime_ns)


@cache
def _digest(file: Path, size: int, changed: int) -> str:
    del size, changed  # which only tell one state of a file from another
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
