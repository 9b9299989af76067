"""Metrics of scores of images, or of pixels regardless of their regions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from anomalib_flows.metrics.ranked import RankMetric, ScoreMetric, checked
from anomalib_flows.results.metrics.histogram import Bounds, Histogram
from anomalib_flows.results.metrics.ranking import Ranking, Ranks


class AUROC(RankMetric):
    r"""Area under the curve of recall over false positive rate, of images or pixels.

    It is the probability that an anomalous score is above a normal one; a tie counts half:

    .. math:: P(s_a > s_n) + P(s_a = s_n) / 2.

    Args:
        thresholds: None ranks all scores exactly; ascending thresholds of shape (K,) keep K + 1 counts instead. Then
            the error is at most half of :math:`\sum_k p_k n_k / (P N)`, with the share of pairs in the same bin k.
            ``bounds()`` returns the range of the exact value.
        kwargs: Arguments of torchmetrics' ``Metric``.

    References:
        An introduction to ROC analysis (Fawcett, 2006).

    Example:
        >>> auroc = AUROC()
        >>> auroc.update(torch.tensor([-300.0, -20.0, 5.0]), torch.tensor([0, 0, 1]))
        >>> auroc.update(torch.tensor([-50.0]), torch.tensor([1]))
        >>> auroc.compute()
        tensor(0.7500, dtype=torch.float64)
    """

    def _value(self, ranks: Ranks) -> float:
        return ranks.auroc()

    def _bounds(self, histogram: Histogram) -> Bounds:
        return histogram.auroc_bounds()


class AveragePrecision(RankMetric):
    r"""Area under the steps of precision over recall, of images or pixels.

    .. math:: \sum_n (R_n - R_{n-1}) P_n

    over all thresholds n, from the highest: the mean precision at the anomalous scores.

    Args:
        thresholds: None ranks all scores exactly; ascending thresholds of shape (K,) keep K + 1 counts instead, and
            ``bounds()`` returns a range of the exact value.
        kwargs: Arguments of torchmetrics' ``Metric``.

    References:
        The Pascal Visual Object Classes (VOC) challenge (Everingham et al., 2010), without its interpolation.

    Example:
        >>> precision = AveragePrecision(thresholds=[-1.0, 0.0, 1.0])
        >>> precision.update(torch.tensor([-2.0, 0.5, 2.0, -0.5]), torch.tensor([0, 0, 1, 1]))
        >>> precision.compute(), precision.bounds()[1]
        (tensor(0.8333, dtype=torch.float64), tensor(0.8333, dtype=torch.float64))
    """

    def _value(self, ranks: Ranks) -> float:
        return ranks.average_precision()

    def _bounds(self, histogram: Histogram) -> Bounds:
        return histogram.average_precision_bounds()


class F1Max(RankMetric):
    r"""Highest F1 of all thresholds, of images or pixels.

    .. math:: \max_t \frac{2 TP(t)}{2 TP(t) + FP(t) + FN(t)}

    Args:
        thresholds: None ranks all scores exactly; ascending thresholds of shape (K,) keep K + 1 counts instead. Then
            the value is the highest F1 at them (or with all called anomalous), and ``bounds()`` returns a range of the
            exact value.
        kwargs: Arguments of torchmetrics' ``Metric``.

    References:
        Information Retrieval (van Rijsbergen, 1979).

    Example:
        >>> f1 = F1Max()
        >>> f1(torch.tensor([0.0, 1.0, 2.0, 3.0]), torch.tensor([0, 1, 0, 1]))
        tensor(0.8000, dtype=torch.float64)
    """

    def _value(self, ranks: Ranks) -> float:
        return ranks.best_f1()[0]

    def _bounds(self, histogram: Histogram) -> Bounds:
        return histogram.best_f1_bounds()


class F1MaxThreshold(F1Max):
    """Threshold that reaches the highest F1: scores above it are anomalous.

    It is -inf if the highest F1 takes a threshold below all of ``thresholds``. ``bounds`` are those of `F1Max`.

    Example:
        >>> threshold = F1MaxThreshold(thresholds=[0.5, 1.5, 2.5])
        >>> threshold(torch.tensor([0.0, 1.0, 2.0, 3.0]), torch.tensor([0, 1, 0, 1]))
        tensor(0.5000, dtype=torch.float64)
    """

    higher_is_better = None
    plot_lower_bound = plot_upper_bound = None

    def compute(self) -> Tensor:
        """Return the threshold; nan with a warning if there are no anomalous or no normal scores."""
        ranks = self._ranks()
        if ranks is None:
            return self._undefined()
        if isinstance(ranks, Ranking):
            return self._result(ranks.f1_max()[1])
        best, thresholds = ranks.best_f1()[1], self.thresholds
        return self._result(float("-inf") if not best or thresholds is None else float(thresholds[best - 1]))


class F1(ScoreMetric):
    r"""F1 at a threshold, of images or pixels: exact from four counts.

    .. math:: \frac{2 TP}{2 TP + FP + FN}

    Args:
        threshold: Scores above it are called anomalous.
        kwargs: Arguments of torchmetrics' ``Metric``.

    Example:
        >>> f1 = F1(threshold=-10.0)
        >>> f1(torch.tensor([-300.0, -20.0, 5.0]), torch.tensor([0, 1, 1]))
        tensor(0.6667, dtype=torch.float64)
    """

    threshold: Tensor  # a state, so that collections do not join metrics with other thresholds
    counts: Tensor

    def __init__(self, threshold: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("threshold", torch.tensor(float(threshold), dtype=torch.float64), dist_reduce_fx="max")
        self.add_state("counts", torch.zeros(4, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add scores and labels: images of shape (B,), or maps with masks of shape (B, H, W)."""
        scores, truth = checked(preds, target)
        called = scores.to(self.dtype) > self.threshold
        counts = [(called & truth).sum(), called.sum(), truth.sum(), (~truth).sum()]
        self.counts = self.counts.long() + torch.stack(counts)

    def compute(self) -> Tensor:
        """Return F1; nan with a warning if there are no anomalous or no normal scores."""
        true_positives, called, anomalous, normal = self.counts.double()
        if not (anomalous and normal):
            return self._undefined()
        f1: Tensor = 2 * true_positives / (anomalous + called)
        return f1
