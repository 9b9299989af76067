"""Detection metrics from one exact ranking of raw scores, which is combined from the scores of each kind of image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.floating]
Counts = npt.NDArray[np.integer]


class Ranks:
    """Ranks of P anomalous scores among N normal ones, from which all metrics follow.

    Every metric is a mean or a maximum over the anomalous scores of a function of these counts, because recall changes
    nowhere else. Scores that are equal change sides together.

    Args:
        above: For each entry the number of normal scores above it, of shape (K,).
        at_least: For each entry the number of normal scores that are not below it, of shape (K,).
        true_positives: For each entry the number of anomalous scores that are not below it, of shape (K,).
        negatives: Number N of normal scores, N > 0.
        counts: Number of anomalous scores that each entry stands for, of shape (K,); one each by default.
        weights: Weight of each entry in `aupro`, of shape (K,); see `region_weights`.
    """

    def __init__(
        self,
        above: Counts,
        at_least: Counts,
        true_positives: Counts,
        negatives: int,
        counts: Counts | None = None,
        weights: Scores | None = None,
    ) -> None:
        self.above, self.at_least, self.true_positives = above, at_least, true_positives
        self.negatives, self.counts, self.weights = negatives, counts, weights
        self.positives = above.size if counts is None else int(counts.sum())

    def auroc(self) -> float:
        """Area under the curve of recall over false positive rate; a tie counts half.

        Example:
            >>> Ranking(np.array([2.0, 3.0]), [np.array([0.0, 2.0])]).auroc()
            0.875
        """
        return float(np.average(self._detected_share(1.0), weights=self.counts))

    def aupro(self, limit: float = 0.3) -> float:
        """Area under the curve of per-region overlap over false positive rate up to ``limit``, divided by it.

        The overlap is the detected share of a region, averaged over regions: recall with the weights of
        `region_weights`. Points of the curve are joined by straight lines, also at the limit.

        References:
            Bergmann et al., The MVTec Anomaly Detection Dataset, IJCV 2021 (a limit of 0.3).

        Example:
            A region of one pixel counts as much as a region of two:

            >>> large, small = [3.0, 3.0], [0.0]
            >>> weights = np.array([0.5, 0.5, 1.0])
            >>> Ranking(np.array(large + small), [np.array([1.0, 2.0])], weights).aupro()
            0.5
        """
        return float(np.average(self._detected_share(limit), weights=self.weights))

    def average_precision(self) -> float:
        """Mean precision at the scores of the anomalous ones: the sum of (R_n - R_(n-1)) P_n over thresholds.

        Example:
            >>> round(Ranking(np.array([1.0, 3.0]), [np.array([0.0, 2.0])]).average_precision(), 4)
            0.8333
        """
        precision = self.true_positives / np.maximum(self.true_positives + self.at_least, 1)  # 0 / 0 weighs nothing
        return float(np.average(precision, weights=self.counts))

    def best_f1(self) -> tuple[float, int]:
        """Highest F1 = 2 TP / (2 TP + FP + FN) of all entries, and the index of the first that has it."""
        f1 = 2 * self.true_positives / (self.positives + self.true_positives + self.at_least)
        best = int(np.argmax(f1))
        return float(f1[best]), best

    def _detected_share(self, limit: float) -> npt.NDArray[np.float64]:
        """Share of the false positive rates up to ``limit`` at which each entry is detected, of shape (K,).

        Detection starts at the rate above / N and rises on a straight line until it is full at at_least / N.
        """
        end = limit * self.negatives
        rise = np.clip(end, self.above, self.at_least) - self.above
        rising = rise**2 / (2 * np.maximum(self.at_least - self.above, 1))
        share: npt.NDArray[np.float64] = (rising + np.maximum(end - self.at_least, 0)) / end
        return share


class Ranking(Ranks):
    """Count, for each of P anomalous scores, the N normal ones above it and the ones it ties with.

    Only the (usually few) anomalous scores are looked up in the sorted normal ones, and no threshold is left out.

    Args:
        anomalous: Scores of anomalous images or pixels, of shape (P,), P > 0.
        normals: Scores of normal ones in one or more arrays, each sorted ascending, N > 0 in total.
        weights: Weight of each anomalous score in `aupro`, of shape (P,); see `region_weights`.

    Example:
        >>> ranking = Ranking(np.array([2.0, 3.0, 5.0]), [np.array([0.0, 1.0, 2.0, 4.0])])
        >>> ranking.above, ranking.at_least
        (array([1, 1, 0]), array([2, 1, 0]))
    """

    def __init__(self, anomalous: Scores, normals: Sequence[Scores], weights: Scores | None = None) -> None:
        order = np.argsort(anomalous)
        self.scores = anomalous[order]  # sorted scores are found ten times faster: neighbours share the cache
        self.normals = normals
        negatives = sum(normal.size for normal in normals)
        places = [_places(normal, self.scores) for normal in normals if normal.size]
        super().__init__(
            above=np.asarray(negatives - sum(after for _, after in places)),
            at_least=np.asarray(negatives - sum(before for before, _ in places)),
            true_positives=self.scores.size - np.searchsorted(self.scores, self.scores, "left"),
            negatives=negatives,
            weights=None if weights is None else weights[order],
        )

    def f1_max(self) -> tuple[float, float]:
        """Highest F1 of all thresholds, and a threshold that reaches it.

        A score *above* a threshold is anomalous, so the threshold is the next number below the best score.

        Example:
            >>> f1, threshold = Ranking(np.array([1.0, 3.0]), [np.array([0.0, 2.0])]).f1_max()
            >>> f1, round(threshold, 6)
            (0.8, 1.0)
        """
        f1, best = self.best_f1()
        return f1, float(np.nextafter(self.scores[best], self.scores.dtype.type(-np.inf)))

    def f1(self, threshold: float) -> float:
        """F1 when scores above ``threshold`` are called anomalous.

        Example:
            >>> Ranking(np.array([1.0, 3.0]), [np.array([0.0, 2.0])]).f1(2.0)
            0.6666666666666666
        """
        true_positives = np.count_nonzero(self.scores > threshold)
        false_positives = sum(np.count_nonzero(normal > threshold) for normal in self.normals)
        return float(2 * true_positives / (self.scores.size + true_positives + false_positives))


def _places(ordered: Scores, scores: Scores) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Count the values below each score, and those that are not above it; both are of shape (P,)."""
    after = np.searchsorted(ordered, scores, "right")
    before = after.copy()
    tied = np.flatnonzero(ordered[after - 1] == scores)  # at place 0 this looks at the highest: no tie either
    before[tied] = np.searchsorted(ordered, scores[tied], "left")
    return before, after


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
