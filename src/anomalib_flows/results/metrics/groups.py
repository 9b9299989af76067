"""Scores of images and pixels by kind of image, from which rankings are combined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anomalib_flows.results.metrics.ranking import Ranking, Scores

Mask = npt.NDArray[np.bool_]
EMPTY: Scores = np.empty(0, dtype=np.float32)
EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=bool)


@dataclass(frozen=True)
class Group:
    """Scores of the images of one kind, or of all their pixels.

    Args:
        images: Number of images.
        normal: Scores of normal images or pixels, sorted ascending, of shape (N,).
        anomalous: Scores of anomalous images or pixels, of shape (P,).
        weights: Weight of each anomalous score in the per-region overlap, of shape (P,).
    """

    images: int
    normal: Scores
    anomalous: Scores
    weights: Scores


def image_group(scores: Scores, *, anomalous: bool) -> Group:
    """Group the scores of images that are all normal or all anomalous, of shape (B,)."""
    if anomalous:
        return Group(scores.size, EMPTY, scores, np.ones(scores.size))
    return Group(scores.size, np.sort(scores), EMPTY, EMPTY)


def pixel_group(images: Sequence[tuple[Scores, Mask]]) -> Group:
    """Group the pixels of images, given as pairs of map and mask of shape (H, W)."""
    normal = _join([scores[~mask] for scores, mask in images])
    normal.sort()  # in place, since this is by far the largest array
    anomalous = _join([scores[mask] for scores, mask in images])
    return Group(len(images), normal, anomalous, _join([region_weights(mask) for _, mask in images]))


def rank(normal: Group, defects: Sequence[Group]) -> Ranking | None:
    """Rank the anomalous scores of ``defects`` among the normal scores of all groups; None where either is missing."""
    around_defects = _join([group.normal for group in defects])
    around_defects.sort()  # two arrays to look scores up in, rather than one of each kind
    anomalous = _join([group.anomalous for group in defects])
    if not anomalous.size or not normal.normal.size + around_defects.size:
        return None
    return Ranking(anomalous, [normal.normal, around_defects], _join([group.weights for group in defects]))


def _join(parts: Sequence[Scores]) -> Scores:
    return np.concatenate([EMPTY, *parts])


def region_weights(mask: Mask) -> npt.NDArray[np.float64]:
    """Weigh each defective pixel by 1 / area of its region, so that every region weighs 1.

    Pixels that touch, also diagonally, are one region. The weights are in the order of ``mask.nonzero()``.

    Example:
        >>> region_weights(np.array([[True, False, True], [True, False, False]]))
        array([0.5, 1. , 0.5])
    """
    from scipy import ndimage  # takes half a second, and evaluation is imported before images are checked

    labels, _ = ndimage.label(mask, structure=EIGHT_NEIGHBOURS)
    regions = labels[mask]
    return 1 / np.bincount(regions)[regions]
