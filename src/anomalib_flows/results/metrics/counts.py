"""Counts of wrong decisions, with intervals of the rates behind them."""

from __future__ import annotations

import math
from typing import Any

CONFIDENCE = 0.95
"""Confidence of the intervals."""


def counted(count: int, total: int) -> dict[str, Any]:
    """Return a count as plain numbers: ``count``, ``of`` and the ``interval`` of the rate; None without images."""
    return {"count": count, "of": total, "interval": list(exact_interval(count, total)) if total else None}


def exact_interval(count: int, total: int) -> tuple[float, float]:
    r"""Return the Clopper-Pearson interval of a rate, of which ``count`` of ``total`` independent draws are a sample.

    With k of n draws its ends are the quantiles of level :math:`(1 - c) / 2` of Beta(k, n - k + 1) and of level
    :math:`(1 + c) / 2` of Beta(k + 1, n - k), where c = 0.95. It covers the rate with at least that probability.

    References:
        The use of confidence or fiducial limits illustrated in the case of the binomial (Clopper and Pearson, 1934).

    Example:
        >>> [round(end, 4) for end in exact_interval(2, 24)]
        [0.0103, 0.27]
    """
    from scipy.special import betaincinv  # takes a while, and evaluation is imported before images are checked

    tail = (1 - CONFIDENCE) / 2
    low = float(betaincinv(count, total - count + 1, tail)) if count else 0.0
    high = float(betaincinv(count + 1, total - count, 1 - tail)) if count < total else 1.0
    return low, high


def images_to_show(rate: float) -> int:
    """Return how many images without a false alarm take the interval's upper end down to a rate.

    Example:
        >>> images_to_show(0.01), round(exact_interval(0, 368)[1], 4)
        (368, 0.01)
    """
    return math.ceil(math.log((1 - CONFIDENCE) / 2) / math.log1p(-rate))
