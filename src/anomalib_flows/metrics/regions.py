"""Metrics of anomaly maps that count every region, or every image, alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from anomalib_flows.core.errors import FieldError, InputError
from anomalib_flows.metrics.ranked import RankMetric, ScoreMetric, checked, joined
from anomalib_flows.results.metrics.aupimo import LIMITS, aupimo
from anomalib_flows.results.metrics.histogram import Bounds, Histogram
from anomalib_flows.results.metrics.ranking import Ranks, region_weights


class AUPRO(RankMetric):
    r"""Area under the curve of per-region overlap over false positive rate up to a limit, divided by it.

    With the regions C, defective pixels that touch also at a corner, and the false positive rate F of all normal
    pixels, it is

    .. math:: \frac{1}{L} \int_0^L \frac{1}{|C|} \sum_{c \in C} \frac{|\{x \in c: s_x \ge t(F)\}|}{|c|} \, dF.

    Args:
        limit: The limit L of the false positive rate, in (0, 1].
        thresholds: None ranks all pixels exactly; ascending thresholds of shape (K,) keep K + 1 counts and sums
            instead: the curve at these thresholds, joined by straight lines. ``bounds()`` returns a range of the exact
            value.
        kwargs: Arguments of torchmetrics' ``Metric``.

    References:
        The MVTec Anomaly Detection Dataset (Bergmann et al., IJCV 2021), with a limit of 0.3.

    Example:
        >>> aupro = AUPRO()
        >>> aupro.update(torch.tensor([[[0.0, 5.0], [-7.0, 0.0]]]), torch.tensor([[[0, 1], [0, 0]]]))
        >>> aupro.compute()
        tensor(1., dtype=torch.float64)
    """

    regions: Any  # exact: a list, or after synchronization a tensor, of areas; binned: a tensor of sums

    def __init__(self, limit: float = 0.3, thresholds: Tensor | Sequence[float] | None = None, **kwargs: Any) -> None:
        super().__init__(thresholds, **kwargs)
        if not 0 < limit <= 1:
            raise FieldError("limit", limit, "above 0 and at most 1")
        self.limit = limit
        self._add_scores("regions", torch.float64)  # exact: area of the region of each defective pixel; else weights

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add maps and masks of shape (B, H, W) or (B, 1, H, W); maps of other updates may have another size."""
        scores, truth = checked_maps(preds, target)
        self._add(scores, truth)
        weights = torch.from_numpy(np.concatenate([np.empty(0), *map(region_weights, truth.cpu().numpy())]))
        if self.thresholds is None:
            self.regions.append((1 / weights).round().to(self.device, self.dtype))
        else:
            bins = self._bins(scores[truth]).cpu()  # a weighted count is not deterministic on CUDA
            sums = torch.bincount(bins, weights, self._bin_count)
            self.regions = self.regions + sums.to(self.device)

    def _weights(self) -> npt.NDArray[np.float64]:
        regions = self._kept("regions").astype(np.float64)
        return 1 / regions if self.thresholds is None else regions

    def _value(self, ranks: Ranks) -> float:
        return ranks.aupro(self.limit)

    def _bounds(self, histogram: Histogram) -> Bounds:
        return histogram.aupro_bounds(self.limit)


class AUPIMO(ScoreMetric):
    r"""Mean area under the per-image overlap at low false positive rates of normal images.

    With F(t) the mean over normal images of the share of pixels that score at least t, and T_i(t) the share of the
    defective pixels of anomalous image i that do, it is the mean over i of

    .. math:: \frac{1}{\log(U / L)} \int_{F(t) = L}^{U} T_i(t) \, d\log F(t).

    Normal pixels of anomalous images are not counted. All pixels are kept, so memory grows with the maps.

    Args:
        limits: The rates L and U, with 0 < L < U <= 1. Normal images should have more than 1 / L pixels in total.
        average: Return the mean; else the values of all anomalous images, of shape (A,), in the order of processes.
        kwargs: Arguments of torchmetrics' ``Metric``.

    References:
        AUPIMO: Redefining Visual Anomaly Detection Benchmarks with High Speed and Low Tolerance (Bertoldo et al., 2024,
        arXiv 2401.01984).

    Example:
        >>> metric = AUPIMO(limits=(0.01, 1.0))
        >>> metric.update(torch.arange(10.0).view(1, 2, 5), torch.zeros(1, 2, 5))
        >>> metric.update(torch.tensor([[[8.5, 10.0, 99.0]]]), torch.tensor([[[1, 1, 0]]]))
        >>> metric.compute()
        tensor(0.7500, dtype=torch.float64)
    """

    STATES = "normal", "normal_sizes", "anomalous", "anomalous_sizes"
    UNIT = 4096  # sizes are kept in two parts, since float32 does not hold all sizes beyond 2^24

    def __init__(self, limits: tuple[float, float] = LIMITS, *, average: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 < limits[0] < limits[1] <= 1:
            raise FieldError("limits", limits, "two rates above 0 and at most 1, in ascending order")
        self.limits, self.average = limits, average
        for name in self.STATES:
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add maps and masks of shape (B, H, W) or (B, 1, H, W); an image with an empty mask is normal."""
        scores, truth = checked_maps(preds, target)
        defective = truth.flatten(1).sum(1)
        kept = {
            "normal": scores[defective == 0].flatten(),
            "normal_sizes": self._parts(torch.full_like(defective[defective == 0], truth.shape[1:].numel())),
            "anomalous": scores[truth],
            "anomalous_sizes": self._parts(defective[defective > 0]),
        }
        for name, values in kept.items():
            getattr(self, name).append(values.to(self.dtype))

    def compute(self) -> Tensor:
        """Return the mean or the values; nan with a warning if there are no anomalous or no normal images."""
        normal, anomalous = (self._images(name) for name in ("normal", "anomalous"))
        if not (normal and anomalous):
            return self._undefined()
        found = torch.from_numpy(aupimo(normal, anomalous, self.limits)).to(self.device)
        return found.mean() if self.average else found

    def _parts(self, sizes: Tensor) -> Tensor:
        return torch.stack([sizes // self.UNIT, sizes % self.UNIT], 1).flatten()

    def _images(self, name: str) -> list[npt.NDArray[Any]]:
        """Return the kept scores of each image."""
        scores, parts = joined(getattr(self, name)), joined(getattr(self, f"{name}_sizes"))
        sizes = parts.reshape(-1, 2).astype(int) @ [self.UNIT, 1]
        return np.split(scores, np.cumsum(sizes)[:-1]) if len(sizes) else []


def checked_maps(preds: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return maps and masks (as bool) of shape (B, H, W)."""
    scores, truth = checked(preds, target)
    if scores.ndim == 4 and scores.shape[1] == 1:
        scores, truth = scores[:, 0], truth[:, 0]
    if scores.ndim != 3:
        raise InputError(f"`preds` of shape {tuple(preds.shape)} must be maps of shape (B, H, W) or (B, 1, H, W).")
    return scores, truth
