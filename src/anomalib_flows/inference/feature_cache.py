"""Keep the features of images on disk, for later epochs, runs and models."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL
import torch
from torch import Tensor

from anomalib_flows.core.cuda import to_device
from anomalib_flows.core.store import GB, Store, Tensors, cache_folder, digest_of
from anomalib_flows.core.types import ImageSize, Sample
from anomalib_flows.data.loading.cache import is_content
from anomalib_flows.models.base import Features
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.run.options import TrainerOptions

VERSION = "2"
"""Part of every name on disk. Raise it when reading, resizing, augmenting or encoding gives other values."""
LIBRARIES = torch.__version__, np.__version__, PIL.__version__
"""Versions of the libraries that decode, resize and encode; their results may differ in the last digit."""
CONTENT = "content"
PRECISIONS = {"32": torch.float32, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


@dataclass(frozen=True)
class FeatureOptions:
    """How features are computed and kept.

    Args:
        precision: Type that the encoder computes in: float32, or another one by autocast.
        limit: Size limit on disk in bytes; 0 keeps nothing, and computes them each time.
        dtype: Type of the kept features; None for the type that they were computed in.
        variants: Number of variants of each augmented image to keep.
    """

    precision: torch.dtype = torch.float32
    limit: int = 0
    dtype: torch.dtype | None = None
    variants: int = 0

    @classmethod
    def of(cls, options: TrainerOptions) -> FeatureOptions:
        """Return the options of features to train on."""
        return cls(
            precision=PRECISIONS[options.precision],
            limit=int(options.cache_size * GB) if options.cache == "disk" else 0,
            dtype=None if options.cache_dtype == "computed" else getattr(torch, options.cache_dtype),
            variants=options.cache_variants,
        )


COMPUTED = FeatureOptions()


@dataclass
class FeatureBatch:
    """Feature maps of B images, each of shape (B, C, h, w), and height and width of each image without padding."""

    features: Features
    contents: list[ImageSize]

    def __len__(self) -> int:
        return len(self.contents)

    def split(self) -> list[FeatureBatch]:
        """Split into batches of one image."""
        return [FeatureBatch([f[i : i + 1] for f in self.features], [c]) for i, c in enumerate(self.contents)]

    def on(self, device: torch.device) -> FeatureBatch:
        """Return the batch on a device."""
        return FeatureBatch([to_device(feature, device) for feature in self.features], self.contents)

    @staticmethod
    def join(batches: Sequence[FeatureBatch]) -> FeatureBatch:
        """Join batches into one."""
        features = [torch.cat(of_layer) for of_layer in zip(*(b.features for b in batches), strict=True)]
        return FeatureBatch(features, [content for batch in batches for content in batch.contents])


class FeatureCache:
    """Keep the features of images on disk.

    A name is a digest of the file's bytes, of the encoder's weights (``key``), and of how features are computed. So
    models with the same encoder share features, and features of another encoder are never mistaken for its own.
    """

    def __init__(self, pipeline: Pipeline, key: str, options: FeatureOptions, device: torch.device) -> None:
        preprocess = pipeline.preprocess
        self.dtype = options.dtype
        self.size, self.shapes = preprocess.size, getattr(getattr(pipeline.detector, "encoder", None), "shapes", None)
        self.store = Store(
            cache_folder("features"), options.limit, "trainer.cache_size", "features are computed each time"
        )
        self.kind: list[Any] = [
            *(VERSION, LIBRARIES, key, device.type, options.precision, self.dtype),
            *(preprocess.size, preprocess.mode, preprocess.mean.tolist(), preprocess.std.tolist()),
        ]

    def name(self, sample: Sample, *variant: Any) -> str:
        """Return the name of the features of an image, or of a variant of it; raise an OSError if it cannot be read."""
        parts = [*self.kind, digest_of(sample.path), *variant]
        return hashlib.sha256(repr(parts).encode(errors="surrogateescape")).hexdigest()[:40]

    def get(self, name: str) -> FeatureBatch | None:
        """Return the features of a name on the CPU, in the memory format of encoders."""
        kept = self.store.get(name)
        if kept is None:
            return None
        content = kept.pop(CONTENT, None)
        if content is None or not self._are_features(kept, content):
            return None
        height, width = content.tolist()
        features = [kept[layer] for layer in sorted(kept)]
        return FeatureBatch([f.contiguous(memory_format=torch.channels_last) for f in features], [(height, width)])

    def _are_features(self, kept: Tensors, content: Tensor) -> bool:
        """Return whether tensors can be the features of an image; the checksum of a file says nothing about that."""
        shapes = [tuple(kept[layer].shape) for layer in sorted(kept)]
        known = self.shapes is None or shapes == [(1, *shape) for shape in self.shapes]
        maps = all(
            len(shape) == 4 and shape[0] == 1 and kept[layer].is_floating_point()
            for shape, layer in zip(shapes, sorted(kept), strict=True)
        )
        return bool(kept) and known and maps and is_content(content, self.size)

    def put(self, name: str, features: FeatureBatch) -> None:
        """Keep the features of one image, which are on the CPU, if the limit allows."""
        tensors: Tensors = {f"{i:03}": feature for i, feature in enumerate(features.features)}
        self.store.put(name, tensors | {CONTENT: torch.tensor(features.contents[0])})


def rounded(feature: Tensor, dtype: torch.dtype | None) -> Tensor:
    """Convert a feature to the type that it is kept in, unless its values overflow there."""
    if dtype in (None, feature.dtype):  # the usual case, which need not wait for the device
        return feature
    converted = feature.to(dtype)
    return converted if converted.isfinite().all() else feature
