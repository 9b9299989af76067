"""Metrics of scores of which only a histogram is kept, and bounds of what the scores themselves would give."""

from __future__ import annotations

import numpy as np

from anomalib_flows.results.metrics.ranking import Counts, Ranks, Scores

Bounds = tuple[float, float]


class Histogram(Ranks):
    """Ranks of scores that are known up to their bin: all scores of a bin tie.

    Scores of a bin may in truth have any order. So the exact value of a metric lies between those of the two extreme
    orders, which the methods ``*_bounds`` return.

    Args:
        anomalous: Number of anomalous scores in each bin, of shape (K,), ascending; not all 0.
        normal: Number of normal scores in each bin, of shape (K,); not all 0.
        weights: Sum of the weights of each bin's anomalous scores in `aupro`, of shape (K,); see `region_weights`.

    Example:
        >>> histogram = Histogram(np.array([0, 1, 1]), np.array([2, 1, 0]))
        >>> histogram.auroc(), histogram.auroc_bounds()
        (0.9166666666666667, (0.8333333333333333, 1.0))
    """

    def __init__(self, anomalous: Counts, normal: Counts, weights: Scores | None = None) -> None:
        self.anomalous, at_least = anomalous, _not_below(normal)
        super().__init__(at_least - normal, at_least, _not_below(anomalous), int(normal.sum()), anomalous, weights)

    def auroc_bounds(self) -> Bounds:
        """Return the lowest and the highest AUROC of scores with this histogram."""
        return self._normals_first().auroc(), self._normals_last().auroc()

    def aupro_bounds(self, limit: float = 0.3) -> Bounds:
        """Return a lower and an upper bound of the AUPRO of scores with this histogram."""
        return self._normals_first().aupro(limit), self._normals_last().aupro(limit)

    def average_precision_bounds(self) -> Bounds:
        r"""Return a lower and an upper bound of the average precision of scores with this histogram.

        If a bin's p anomalous scores come after its normal ones, the i-th of them has the precision
        :math:`(T + i) / (T + i + F)`, with T anomalous scores in higher bins and F normal ones in this and higher bins.
        As this is concave in i, the sum is at least its integral from 1 / 2 to p + 1 / 2, which is
        :math:`p - F \log(1 + p / (T + F + 1 / 2))`.
        """
        higher = self.true_positives - self.anomalous
        least = self.anomalous - self.at_least * np.log1p(self.anomalous / (higher + self.at_least + 0.5))
        return float(least.sum() / self.positives), self._normals_last().average_precision()

    def best_f1_bounds(self) -> Bounds:
        """Return bounds of the highest F1; the lower one is that of the best edge of a bin, and is reached there."""
        return self.best_f1()[0], self._normals_last().best_f1()[0]

    def _normals_first(self) -> Ranks:
        return self._with(self.at_least, self.at_least)

    def _normals_last(self) -> Ranks:
        return self._with(self.above, self.above)

    def _with(self, above: Counts, at_least: Counts) -> Ranks:
        return Ranks(above, at_least, self.true_positives, self.negatives, self.counts, self.weights)


def _not_below(counts: Counts) -> Counts:
    """Sum the counts of each bin and of all higher ones, of shape (K,)."""
    return np.cumsum(counts[::-1])[::-1]
