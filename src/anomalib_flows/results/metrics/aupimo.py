"""AUPIMO: the overlap of each anomalous image at false positive rates that normal images alone define."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from anomalib_flows.results.metrics.ranking import Mask, Scores

LIMITS = 1e-5, 1e-4
"""False positive rates between which AUPIMO averages the overlap."""
Shares = npt.NDArray[np.float64]


def aupimo(
    normal: Sequence[Scores], anomalous: Sequence[Scores], limits: tuple[float, float] = LIMITS
) -> npt.NDArray[np.float64]:
    r"""Return the area under the per-image overlap of each anomalous image, of shape (A,).

    With F(t) the mean over normal images of the share of pixels that score at least t, and T_i(t) the share of the
    defective pixels of image i that do, it is

    .. math:: \frac{1}{\log(U / L)} \int_{F(t) = L}^{U} T_i(t) \, d\log F(t).

    It is exact: each defective pixel adds the share of the integral from the rate on at which it is detected. As in
    `Ranking`, a pixel that ties with normal ones is detected on a straight line over F.

    Args:
        normal: Scores of all pixels of each normal image, at least one image.
        anomalous: Scores of the defective pixels of each anomalous image, at least one pixel each.
        limits: The rates L and U.

    References:
        Bertoldo et al., AUPIMO: Redefining Visual Anomaly Detection Benchmarks with High Speed and Low Tolerance, 2024
        (arXiv 2401.01984).

    Example:
        Of two defective pixels one scores above all normal ones, and one is detected at a rate of 1 / 10:

        >>> aupimo([np.arange(10.0)], [np.array([8.5, 10.0])], limits=(0.01, 1.0))
        array([0.75])
    """
    scores, rates = _highest(normal, limits[1])
    sizes = [defects.size for defects in anomalous]
    pixels = np.concatenate(anomalous)
    above = rates[np.searchsorted(scores, pixels, "right")]
    at_least = rates[np.searchsorted(scores, pixels, "left")]
    starts = np.cumsum([0, *sizes[:-1]])
    return np.add.reduceat(_detected_share(above, at_least, limits), starts) / sizes


def aupimo_of_images(
    maps: Sequence[Scores], masks: Sequence[Mask | None], labels: Sequence[int] | npt.NDArray[np.integer | np.bool_]
) -> Shares:
    """Return the AUPIMO of each of B images, of shape (B,).

    It is NaN for images without defective pixels. It is NaN for all if the normal images have fewer pixels than one at
    the lowest rate.

    Args:
        maps: B anomaly maps of shape (H, W).
        masks: Where the images are defective; None if unknown.
        labels: 0 for a normal image, 1 for an anomalous one.
    """
    found = np.full(len(maps), np.nan)
    normal = [scores.ravel() for scores, label in zip(maps, labels, strict=True) if not label]
    defects = {i: maps[i][mask] for i, mask in enumerate(masks) if mask is not None and mask.any()}
    if defects and sum(scores.size for scores in normal) * LIMITS[0] >= 1:
        found[list(defects)] = aupimo(normal, list(defects.values()))
    return found


def _highest(normal: Sequence[Scores], limit: float) -> tuple[Scores, Shares]:
    """Return the scores with rates up to ``limit`` and perhaps more, ascending, and the rate F from each index on.

    A pixel that ``limit`` times the pixels of all images in its own image precede is at a higher rate for certain.
    """
    kept = [_top(scores, math.floor(limit * len(normal) * scores.size) + 1) for scores in normal]
    shares = [np.full(top.size, 1 / (scores.size * len(normal))) for top, scores in zip(kept, normal, strict=True)]
    scores = np.concatenate(kept)
    order = np.argsort(scores)
    rates = np.cumsum(np.concatenate(shares)[order][::-1])[::-1]
    return scores[order], np.append(rates, 0)


def _top(scores: Scores, count: int) -> Scores:
    """Return the ``count`` highest scores, and those that tie with the lowest of them."""
    if count >= scores.size:
        return scores
    top: Scores = scores[scores >= np.partition(scores, -count)[-count]]
    return top


def _detected_share(above: Shares, at_least: Shares, limits: tuple[float, float]) -> Shares:
    """Return the share of the logarithm of rates between the limits at which each pixel is detected, of shape (P,).

    Detection rises from 0 at the rate ``above`` to 1 at ``at_least``; its integral over dF / F is
    ``(F - above * log(F)) / (at_least - above)`` within, and log(F) beyond.
    """
    low, high = limits
    start, end = np.clip(above, low, high), np.clip(at_least, low, high)
    rise = np.maximum(at_least - above, np.finfo(float).tiny)
    rising = (end - start - above * np.log(end / start)) / rise
    share: Shares = (rising + np.log(high / end)) / math.log(high / low)
    return share
