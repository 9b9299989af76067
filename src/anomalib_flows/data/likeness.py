"""Find images of different splits that look nearly the same, by a perceptual hash."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from anomalib_flows.core.images import as_pixels, decode
from anomalib_flows.core.remember import remembered
from anomalib_flows.core.types import Sample
from anomalib_flows.data.identity import is_digest

SIDE = 16
"""Side of the hash, which has SIDE * SIDE bits."""
NEAR = 20
"""Largest number of bits in which the hashes of nearly equal images differ (docs/how-to/own-photos.md)."""
FLAT = 8
"""Largest range of grey values of an image that counts as one of one colour."""
ROWS = 1024
"""Images that are compared with all others at once."""


def near_duplicates(samples: Sequence[Sample]) -> list[tuple[Sample, Sample]]:
    """Return for each image the most similar one of another split before it, if it is similar enough.

    Images are compared by ImageHash's ``phash``: the signs of their lowest frequencies. Images of one colour are left
    out, as all of them look the same. Images of the same content count as well.

    Args:
        samples: Images that can be read.
    """
    paths = [sample.path for sample in samples]
    found = remembered("phash 1", perceptual_hash, paths, "hashing", lambda text: text == "" or is_digest(text))
    samples = [sample for sample, text in zip(samples, found, strict=True) if text]
    hashes = np.array([bits(text) for text in found if text])
    splits = np.array([sample.split for sample in samples])
    pairs = []
    for start in range(0, len(samples), ROWS):
        rows = slice(start, start + ROWS)
        distances = (SIDE * SIDE - hashes[rows] @ hashes.T) / 2  # of values 1 and -1
        earlier = np.arange(len(samples)) < np.arange(start, start + len(distances))[:, None]
        distances[~earlier | (splits[rows, None] == splits)] = np.inf
        near = np.flatnonzero(distances.min(1) <= NEAR)
        pairs += [(samples[start + i], samples[int(distances[i].argmin())]) for i in near]
    return pairs


def bits(text: str) -> npt.NDArray[np.float32]:
    """Return the bits of a hash as 1 and -1."""
    values = np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8))
    return values.astype(np.float32) * 2 - 1


def perceptual_hash(path: Path) -> str:
    """Return the perceptual hash of an image, in hexadecimal; empty text for an image of one colour."""
    from imagehash import phash  # imports SciPy's transforms

    small = Image.fromarray(as_pixels(decode(path, math.inf), path)).convert("L").resize((64, 64), reducing_gap=3)
    if np.ptp(np.asarray(small)) <= FLAT:
        return ""
    return np.packbits(phash(small, SIDE).hash).tobytes().hex()
