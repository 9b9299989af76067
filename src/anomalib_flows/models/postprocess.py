"""From raw anomaly maps to decisions: smoothing, scores, thresholds, p-values, labels and masks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.types import ImageResult, ImageSize, Prediction
from anomalib_flows.run.decision import AREAS


class Postprocess(nn.Module):
    r"""Decide with constants that were calibrated on held-out normal images and are part of the model.

    Raw maps have shape (B, M, H, W) with M = 1 or 2: the first map is shown, the last one scores the image. The image
    score is the maximum of that map, or the mean of its highest values. An image is anomalous if its score is above
    the image threshold, a pixel if its value in the shown map is above the pixel threshold. The p-value of a score s
    among the n calibration scores is

    .. math::
        p = \frac{1 + \#\{i : s_i \ge s\}}{n + 1}

    Args:
        calibration_size: Number n of calibration scores.
        top_percent: Percentage of the pixels whose mean is the image score; 0 for the maximum.

    Attributes:
        image_threshold: Score above which an image is anomalous; NaN before calibration.
        pixel_threshold: Value above which a pixel is anomalous; NaN before calibration.
        typical: Median of the shown maps of normal images, which is displayed as 0.
        calibration_scores: Sorted scores of the calibration images, of shape (n,).
        calibration_maxima: Sorted maxima of their shown maps, of shape (n,).
        calibration_tops: For each of the K areas above 0 that ``mask_area`` may be, the sorted values that this
            percentage of the pixels of their shown maps lies above, of shape (K, n).

    References:
        Distribution-free predictive inference (Lei et al., 2018), https://arxiv.org/abs/1604.04173; p-values as in
        Testing for outliers with conformal p-values (Bates et al., 2023), https://arxiv.org/abs/2104.08279, eq. 2.
    """

    image_threshold: Tensor
    pixel_threshold: Tensor
    typical: Tensor
    calibration_scores: Tensor
    calibration_maxima: Tensor
    calibration_tops: Tensor

    def __init__(self, calibration_size: int = 0, top_percent: float = 0.0) -> None:
        super().__init__()
        self.top_percent = top_percent
        for name in ("image_threshold", "pixel_threshold", "typical"):
            self.register_buffer(name, torch.tensor(torch.nan))
        for name in ("calibration_scores", "calibration_maxima"):
            self.register_buffer(name, torch.empty(calibration_size))
        self.register_buffer("calibration_tops", torch.full((len(AREAS) - 1, calibration_size), torch.nan))

    @property
    def calibration_size(self) -> int:
        """Number n of calibration scores."""
        return len(self.calibration_scores)

    def calibration_levels(self, mask_area: float) -> Tensor:
        r"""Return the sorted values (n,) of calibration maps that set the pixel threshold.

        Of P pixels it is the k-th highest of each map, :math:`k = \lfloor a P / 100 \rfloor + 1`. More than a percent
        of a map's pixels lie above a threshold exactly if this value does. An area a of 0 gives the maxima.

        Raises:
            InputError: If the model is of an earlier version, which kept the maxima only.
        """
        if mask_area == 0:
            return self.calibration_maxima
        levels = self.calibration_tops[AREAS.index(mask_area) - 1]
        if levels.isnan().any():
            raise InputError(
                "`decision.mask_area` needs values of maps that this model of an earlier version does not keep: give "
                "`images` to calibrate with."
            )
        return levels

    @property
    def calibrated(self) -> bool:
        """Whether thresholds are set."""
        return not bool(self.image_threshold.isnan())

    def forward(self, maps: Tensor) -> Prediction:
        """Decide on raw maps of shape (B, M, H, W)."""
        scores = self.scores(maps)
        labels, p_values = self.labels(scores), self.p_values(scores)
        return Prediction(scores=scores, labels=labels, p_values=p_values, maps=maps, masks=self.masks(maps))

    def image_results(self, maps: Tensor, contents: Sequence[ImageSize]) -> list[ImageResult]:
        """Return one result for each image, without its padding.

        Args:
            maps: Raw maps on the CPU, of shape (B, M, H, W).
            contents: For each image its height and width within (H, W); the rest is padding.
        """
        decided = self(maps)
        scores, shown = self.normalise_scores(decided.scores).tolist(), self.normalise(maps[:, 0]).numpy()
        labels, p_values, raw_scores = (x.tolist() for x in (decided.labels, decided.p_values, decided.scores))
        masks, raw = decided.masks[:, 0].numpy(), maps[:, 0].numpy()
        return [
            ImageResult(
                score=scores[i],
                label=labels[i],
                p_value=p_values[i],
                raw_score=raw_scores[i],
                anomaly_map=shown[i, :height, :width],
                mask=masks[i, :height, :width],
                raw_map=raw[i, :height, :width],
            )
            for i, (height, width) in enumerate(contents)
        ]

    def scores(self, maps: Tensor) -> Tensor:
        """Return image scores of maps: (B, M, H, W) -> (B,)."""
        return image_scores(maps[:, -1:], self.top_percent)

    def labels(self, scores: Tensor) -> Tensor:
        """Return 1 for scores above the threshold and for NaN, else 0: (B,) -> (B,)."""
        return ((scores > self.image_threshold) | scores.isnan()).long()

    def masks(self, maps: Tensor) -> Tensor:
        """Return where shown maps are above the pixel threshold: (B, M, H, W) -> (B, 1, H, W)."""
        return maps[:, :1] > self.pixel_threshold

    def p_values(self, scores: Tensor) -> Tensor:
        """Return the share of normal images that score at least as high: (B,) -> (B,), from 1 / (n + 1) to 1."""
        count = len(self.calibration_scores)
        at_least = count - torch.searchsorted(self.calibration_scores, scores, side="left")
        return (1 + at_least) / (count + 1)

    def normalise(self, shown: Tensor) -> Tensor:
        """Scale values of shown maps: 0 is typical of normal images, 0.5 the pixel threshold, 1 as far beyond it."""
        return rescale(shown, self.typical, self.pixel_threshold)

    @property
    def typical_score(self) -> Tensor:
        """Score that is normalised to 0: the typical value of shown maps, or the lowest normal score if lower."""
        return torch.cat((self.typical[None], self.calibration_scores[:1])).amin(0)

    def normalise_scores(self, scores: Tensor) -> Tensor:
        """Scale scores: 0 is :attr:`typical_score`, 0.5 the image threshold, 1 as far beyond it."""
        return rescale(scores, self.typical_score, self.image_threshold)

    def move_thresholds(self, image: float | None, pixel: float | None) -> None:
        """Set thresholds to normalised values, of which 0.5 is the present threshold; None leaves one as it is.

        With z the value that is normalised to 0, a threshold h moved to t becomes :math:`z + 2 t (h - z)`.
        """
        if image is not None:
            self.image_threshold = restore(image, self.typical_score, self.image_threshold)
        if pixel is not None:
            self.pixel_threshold = restore(pixel, self.typical, self.pixel_threshold)


def restore(value: float, zero: Tensor, half: Tensor) -> Tensor:
    """Return the raw value that :func:`rescale` scales to ``value``; 0.5 gives exactly ``half``."""
    return torch.where(half > zero, half + (2 * value - 1) * (half - zero), half)


def rescale(values: Tensor, zero: Tensor, half: Tensor) -> Tensor:
    """Scale values so that ``zero`` becomes 0 and ``half`` 0.5, clipped to [0, 1]."""
    span = (half - zero).clamp_min(torch.finfo(values.dtype).tiny)
    return (0.5 * (values - zero) / span).clamp(0, 1)


def smooth(maps: Tensor, sigma: float) -> Tensor:
    """Convolve each map of a batch (B, M, H, W) with a Gaussian that is cut off at four standard deviations.

    Maps are padded with the values at their border.
    """
    if sigma == 0:
        return maps
    radius = int(4 * sigma + 0.5)
    offsets = torch.arange(-radius, radius + 1, dtype=maps.dtype, device=maps.device)
    kernel = torch.softmax(-0.5 * (offsets / sigma) ** 2, dim=0)
    count = int(maps.shape[1])  # a constant in traced graphs
    rows, columns = kernel.view(1, 1, -1, 1).expand(count, 1, -1, 1), kernel.view(1, 1, 1, -1).expand(count, 1, 1, -1)
    maps = F.conv2d(F.pad(maps, (0, 0, radius, radius), mode="replicate"), rows, groups=count)
    return F.conv2d(F.pad(maps, (radius, radius, 0, 0), mode="replicate"), columns, groups=count)


def image_scores(maps: Tensor, top_percent: float) -> Tensor:
    """Return the maximum of each map, or the mean of its highest values: (B, 1, H, W) -> (B,)."""
    values = maps.flatten(1)
    if top_percent == 0:
        return values.amax(1)
    count = max(1, math.floor(values.shape[1] * top_percent / 100))
    return values.topk(count, sorted=False).values.mean(1)
