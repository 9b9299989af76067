"""What all metrics of one ranking of scores share: their states, in an exact and in a binned form."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import rank_zero_warn

from anomalib_flows.core.errors import InputError
from anomalib_flows.results.metrics.histogram import Bounds, Histogram
from anomalib_flows.results.metrics.ranking import Ranking, Ranks


class ScoreMetric(Metric, ABC):
    """Metric of raw scores."""

    is_differentiable = False
    higher_is_better: bool | None = True
    full_state_update = False
    plot_lower_bound: float | None = 0.0
    plot_upper_bound: float | None = 1.0

    def set_dtype(self, dst_type: str | torch.dtype) -> Metric:
        """Keep scores as float32 or float64; other types are ignored, since they hold no sizes of images."""
        return super().set_dtype(dst_type) if dst_type in (torch.float32, torch.float64) else self

    def _result(self, value: float) -> Tensor:
        return torch.tensor(value, dtype=torch.float64, device=self.device)

    def _undefined(self) -> Tensor:
        """Warn, and return nan."""
        rank_zero_warn("The metric is nan: it needs both anomalous and normal scores.", UserWarning)
        return self._result(float("nan"))


class RankMetric(ScoreMetric):
    """Metric of the ranks of anomalous scores among normal ones.

    Without ``thresholds`` all scores are kept, as numbers of the metric's ``dtype`` (float32 unless ``set_dtype`` has
    changed it). With K thresholds only the numbers of scores in the K + 1 bins around them are kept: bin k has the
    scores above threshold k - 1 that are not above threshold k. Scores beyond the ends are in the outermost bins.

    Args:
        thresholds: Ascending numbers of shape (K,), K > 0; None keeps all scores.
        kwargs: Arguments of torchmetrics' ``Metric``.

    Raises:
        InputError: If the thresholds do not ascend, or scores or labels cannot be used.
    """

    thresholds: Tensor | None = None

    def __init__(self, thresholds: Tensor | Sequence[float] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if thresholds is not None:  # a state, so that collections do not join metrics with other thresholds
            self.add_state("thresholds", ascending(thresholds), dist_reduce_fx="max")
        for name in ("normal", "anomalous"):
            self._add_scores(name, torch.int64)

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add scores and labels: images of shape (B,), or maps with masks of shape (B, H, W).

        Args:
            preds: Raw scores, any real numbers; higher is more anomalous.
            target: 1 or true where anomalous, of the same shape.
        """
        self._add(*checked(preds, target))

    def _add(self, scores: Tensor, truth: Tensor) -> None:
        self._keep("normal", scores[~truth])
        self._keep("anomalous", scores[truth])

    def compute(self) -> Tensor:
        """Return the metric; nan with a warning if there are no anomalous or no normal scores."""
        ranks = self._ranks()
        return self._undefined() if ranks is None else self._result(self._value(ranks))

    def bounds(self) -> tuple[Tensor, Tensor]:
        """Return a lower and an upper bound of the exact metric: both are the metric itself without ``thresholds``."""
        with self.sync_context(self.dist_sync_fn, should_sync=self._to_sync, should_unsync=self._should_unsync):
            ranks = self._ranks()
        if ranks is None:
            return (self._undefined(),) * 2
        low, high = self._bounds(ranks) if isinstance(ranks, Histogram) else (self._value(ranks),) * 2
        return self._result(low), self._result(high)

    def set_dtype(self, dst_type: str | torch.dtype) -> Metric:
        """Keep scores in another type; counts do not change theirs, since float32 cannot count beyond 2^24."""
        return super().set_dtype(dst_type) if self.thresholds is None else self

    @abstractmethod
    def _value(self, ranks: Ranks) -> float:
        """Return the metric of ranks."""

    @abstractmethod
    def _bounds(self, histogram: Histogram) -> Bounds:
        """Return a lower and an upper bound of the metric of scores with this histogram."""

    def _ranks(self) -> Ranks | None:
        """Return the ranks of all scores, None if there are no anomalous or no normal ones."""
        anomalous, normal = self._kept("anomalous"), self._kept("normal")
        binned = self.thresholds is not None
        if not all(kept.any() if binned else kept.size for kept in (anomalous, normal)):
            return None
        if binned:
            return Histogram(anomalous, normal, self._weights())
        normal.sort()
        return Ranking(anomalous, [normal], self._weights())

    def _weights(self) -> npt.NDArray[np.float64] | None:
        """Return the weight of each anomalous score, or the sum of each bin; None if all weigh the same."""
        return None

    def _add_scores(self, name: str, dtype: torch.dtype) -> None:
        """Add a state of scores: a list of them, or a sum for each bin."""
        if self.thresholds is None:
            self.add_state(name, [], dist_reduce_fx="cat")
        else:
            self.add_state(name, torch.zeros(len(self.thresholds) + 1, dtype=dtype), dist_reduce_fx="sum")

    def _keep(self, name: str, scores: Tensor) -> None:
        if self.thresholds is None:
            getattr(self, name).append(scores.to(self.dtype))
        else:
            setattr(self, name, getattr(self, name) + torch.bincount(self._bins(scores), minlength=self._bin_count))

    def _bins(self, scores: Tensor) -> Tensor:
        """Return the bin of each score, of shape (P,)."""
        assert self.thresholds is not None  # noqa: S101 (for type checkers)
        return torch.bucketize(scores.double(), self.thresholds)

    @property
    def _bin_count(self) -> int:
        return 0 if self.thresholds is None else len(self.thresholds) + 1

    def _kept(self, name: str) -> npt.NDArray[Any]:
        return joined(getattr(self, name))


def ascending(thresholds: Tensor | Sequence[float]) -> Tensor:
    """Return thresholds as numbers of double precision, of shape (K,)."""
    grid = torch.as_tensor(thresholds, dtype=torch.float64).detach().clone()
    if grid.ndim != 1 or not len(grid) or not grid.isfinite().all() or not (grid.diff() > 0).all():
        raise InputError("`thresholds` must be finite numbers in ascending order, at least one.")
    return grid


def checked(preds: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return scores and labels (as bool) that can be ranked, of the same shape."""
    if preds.shape != target.shape:
        raise InputError(f"`preds` of shape {tuple(preds.shape)} and `target` of shape {tuple(target.shape)} differ.")
    if not preds.is_floating_point():
        raise InputError(f"`preds` of {preds.dtype} must be floating-point scores.")
    if bad := int((~preds.isfinite()).sum()):
        raise InputError(f"{bad} of {preds.numel()} scores in `preds` are NaN or infinite.")
    if not ((target == 0) | (target == 1)).all():
        raise InputError("`target` must be 0 for normal and 1 for anomalous.")
    return preds.detach(), target.bool()


def joined(state: Tensor | Sequence[Tensor]) -> npt.NDArray[Any]:
    """Return a state of torchmetrics as a new array; a list of tensors is joined."""
    if isinstance(state, Tensor):
        return np.array(state.cpu().numpy())
    return np.concatenate([np.empty(0, np.float32), *(part.cpu().numpy() for part in state)])
