"""From raw anomaly maps to decisions: scores, thresholds, p-values, labels and masks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anomalib_flows.core.types import Prediction
from anomalib_flows.models.heatmap import image_scores


class Postprocess(nn.Module):
    r"""Decide with constants that were calibrated on held-out normal images and are part of the model.

    The image score is the maximum of the map, or the mean of its highest values. An image is
    anomalous if its score lies above the image threshold, a pixel if its value lies above the pixel threshold. The
    p-value of a score s among the n calibration scores is

    .. math::
        p = \frac{1 + \#\{i : s_i \ge s\}}{n + 1}

    Args:
        calibration_size: Number n of calibration scores.
        top_percent: Percentage of the pixels whose mean is the image score; 0 for the maximum.

    Attributes:
        image_threshold: Score above which an image is anomalous; NaN before calibration.
        pixel_threshold: Value above which a pixel is anomalous; NaN before calibration.
        typical: Median of the maps of normal images, where heatmaps begin.
        calibration_scores: Sorted scores of the calibration images, of shape (n,).
        calibration_maxima: Sorted maxima of their maps, of shape (n,); the scores, unless these are means.

    References:
        Distribution-free predictive inference (Lei et al., 2018), https://arxiv.org/abs/1604.04173; p-values as in
        Testing for outliers with conformal p-values (Bates et al., 2023), https://arxiv.org/abs/2104.08279, eq. 2.
    """

    image_threshold: Tensor
    pixel_threshold: Tensor
    typical: Tensor
    calibration_scores: Tensor
    calibration_maxima: Tensor

    def __init__(self, calibration_size: int = 0, top_percent: float = 0.0) -> None:
        super().__init__()
        self.top_percent = top_percent
        for name in ("image_threshold", "pixel_threshold", "typical"):
            self.register_buffer(name, torch.tensor(torch.nan))
        for name in ("calibration_scores", "calibration_maxima"):
            self.register_buffer(name, torch.empty(calibration_size))

    @property
    def calibration_size(self) -> int:
        """Number n of calibration scores."""
        return len(self.calibration_scores)

    @property
    def calibrated(self) -> bool:
        """Whether thresholds have been set."""
        return not bool(self.image_threshold.isnan())

    def forward(self, maps: Tensor) -> Prediction:
        """Decide on raw maps of shape (B, 1, H, W)."""
        scores = self.scores(maps)
        return Prediction(
            scores=scores,
            labels=self.labels(scores),
            p_values=self.p_values(scores),
            maps=maps,
            masks=self.masks(maps),
        )

    def scores(self, maps: Tensor) -> Tensor:
        """Image scores of maps: (B, 1, H, W) -> (B,)."""
        return image_scores(maps, self.top_percent)

    def labels(self, scores: Tensor) -> Tensor:
        """1 for scores above the threshold, and for those that are no numbers: (B,) -> (B,)."""
        return ((scores > self.image_threshold) | scores.isnan()).long()

    def masks(self, maps: Tensor) -> Tensor:
        """Where maps lie above the threshold, in their shape."""
        return maps > self.pixel_threshold

    def p_values(self, scores: Tensor) -> Tensor:
        """Share of normal images that score at least as high: (B,) -> (B,), from 1 / (n + 1) to 1."""
        count = len(self.calibration_scores)
        at_least = count - torch.searchsorted(self.calibration_scores, scores, side="left")
        return (1 + at_least) / (count + 1)

    def normalise(self, maps: Tensor) -> Tensor:
        """Scale maps for display: 0 is typical of normal images, 0.5 the pixel threshold, 1 as far beyond it."""
        return normalise(maps, self.typical, self.pixel_threshold)

    @property
    def typical_score(self) -> Tensor:
        """Score that is normalised to 0: the typical value of maps, unless whole normal images score lower."""
        return torch.cat((self.typical[None], self.calibration_scores[:1])).amin(0)

    def normalise_scores(self, scores: Tensor) -> Tensor:
        """Scale scores: 0.5 is the image threshold, 0 the typical value of normal pixels, 1 as far beyond it."""
        return normalise(scores, self.typical_score, self.image_threshold)


def normalise(values: Tensor, zero: Tensor, half: Tensor) -> Tensor:
    """Scale values so that ``zero`` becomes 0 and ``half`` 0.5, within 0 and 1.

    Example:
        >>> normalise(torch.tensor([1.0, 2.0, 5.0]), torch.tensor(1.0), torch.tensor(3.0))
        tensor([0.0000, 0.2500, 1.0000])
    """
    span = (half - zero).clamp_min(torch.finfo(values.dtype).tiny)
    return (0.5 * (values - zero) / span).clamp(0, 1)
