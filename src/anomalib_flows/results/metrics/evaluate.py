"""All metrics of a test, overall and for each kind of defect."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Sized
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from anomalib_flows.core.errors import InputError
from anomalib_flows.results.metrics.aupimo import aupimo_of_images
from anomalib_flows.results.metrics.curves import curves_of
from anomalib_flows.results.metrics.ranking import Group, Mask, Ranking, Scores, image_group, pixel_group, rank

Metrics = dict[str, float | None]


def evaluate(
    scores: Sequence[float] | Scores,
    labels: Sequence[int] | npt.NDArray[np.integer | np.bool_],
    threshold: float,
    maps: Sequence[npt.ArrayLike],
    masks: Sequence[npt.ArrayLike | None],
    defects: Sequence[str],
    pixel_threshold: float,
) -> dict[str, Any]:
    """Compare the scores of B test images with the truth.

    Each kind of defect is compared with all normal images. Metrics are None where they are undefined: without
    anomalous or without normal images or pixels, and AUPIMO with fewer than 100,000 pixels of normal images. Scores are
    ranked without rounding.

    Args:
        scores: Raw image scores of shape (B,); higher is more anomalous.
        labels: 0 for a normal image, 1 for an anomalous one, of shape (B,).
        threshold: Images that score above it are called anomalous.
        maps: B raw anomaly maps of shape (H, W); sizes may differ between images.
        masks: For each image the mask of its defects, of the shape of its map. An anomalous image without a
            mask (None) is left out of the pixel metrics. All pixels of a normal image are normal.
        defects: The kind of defect of each image; not read for normal images.
        pixel_threshold: Pixels that score above it are called anomalous.

    Returns:
        Plain numbers under ``image`` and ``pixel``, the same two for each kind under ``defects``, and the points of
        the curves of all images under ``curves``.

    Raises:
        InputError: If lengths or shapes do not match, a label is not 0 or 1, or a score is NaN or infinite.

    Example:
        >>> maps = [[[0.0, 0.1]], [[0.2, 0.9]], [[0.1, 0.3]]]
        >>> masks = [None, [[False, True]], None]
        >>> metrics = evaluate([0.1, 0.9, 0.3], [0, 1, 1], 0.5, maps, masks, ["good", "crack", "dent"], 0.5)
        >>> metrics["image"]["auroc"], metrics["pixel"]["aupro"], metrics["pixel"]["masked_images"]
        (1.0, 1.0, 1)
        >>> metrics["defects"]["dent"]["image"]["f1"], metrics["defects"]["dent"]["pixel"]["f1"]
        (0.0, None)
    """
    _check_lengths(scores=scores, labels=labels, maps=maps, masks=masks, defects=defects)
    [image_scores] = _as_scores("image scores", [scores], dimensions=1)
    pixel_scores = _as_scores("pixel scores", maps, dimensions=2)
    truth = [_truth(i, *image) for i, image in enumerate(zip(labels, pixel_scores, masks, strict=True))]

    images: dict[str | None, Group] = {}
    pixels: dict[str | None, Group] = {}
    by_kind, overlaps = _by_kind(labels, defects), aupimo_of_images(pixel_scores, truth, labels)
    for kind, members in by_kind.items():
        images[kind] = image_group(image_scores[members], anomalous=kind is not None)
        pixels[kind] = pixel_group([(pixel_scores[i], mask) for i in members if (mask := truth[i]) is not None])

    def against_normal(kinds: Sequence[str], *, curves: bool = False) -> dict[str, Any]:
        of_images, of_pixels = (Compared.of(groups, kinds) for groups in (images, pixels))
        found: dict[str, Any] = {
            "image": _metrics(of_images, float(threshold)),
            "pixel": _metrics(of_pixels, float(pixel_threshold), pixels=True),
        }
        found["pixel"]["aupimo"] = _mean(overlaps[[i for kind in kinds for i in by_kind[kind]]])
        if curves:
            found["curves"] = {
                "image": curves_of(of_images.ranking),
                "pixel": curves_of(of_pixels.ranking, pixels=True),
            }
        return found

    kinds = sorted(kind for kind in images if kind is not None)
    every = against_normal(kinds, curves=True)
    return {**every, "defects": {kind: against_normal([kind]) for kind in kinds}}


class Compared(NamedTuple):
    """Ranking of kinds of defects among normal images or pixels, and the numbers of images of both."""

    ranking: Ranking | None
    normal: int
    anomalous: int

    @classmethod
    def of(cls, groups: Mapping[str | None, Group], kinds: Sequence[str]) -> Compared:
        """Rank the groups of ``kinds`` among that of normal images."""
        normal, defects = groups[None], [groups[kind] for kind in kinds]
        return cls(rank(normal, defects), normal.images, sum(group.images for group in defects))


def _metrics(compared: Compared, threshold: float, *, pixels: bool = False) -> Metrics:
    """Return the metrics of images or pixels, and the number of images; those without a mask have no pixels."""
    ranking = compared.ranking
    f1_max, f1_max_threshold = ranking.f1_max() if ranking else (None, None)
    return {
        "auroc": ranking.auroc() if ranking else None,
        "average_precision": ranking.average_precision() if ranking else None,
        "f1_max": f1_max,
        "f1_max_threshold": f1_max_threshold,
        "f1": ranking.f1(threshold) if ranking else None,
        "threshold": threshold,
        **({"aupro": ranking.aupro() if ranking else None} if pixels else {}),
        "normal_images": compared.normal,
        "masked_images" if pixels else "anomalous_images": compared.anomalous,
    }


def _mean(values: npt.NDArray[np.float64]) -> float | None:
    """Return the mean of the values that are defined; None if there are none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else None


def _check_lengths(**inputs: Sized) -> None:
    lengths = {name: len(values) for name, values in inputs.items()}
    if len(set(lengths.values())) > 1:
        given = ", ".join(f"{length} {name}" for name, length in lengths.items())
        raise InputError(f"evaluate needs one of each per image, and was given {given}.")


def _as_scores(name: str, arrays: Sequence[npt.ArrayLike], dimensions: int) -> list[Scores]:
    """Convert arrays to one floating point type that holds all their values, and check them."""
    given = [np.asarray(array) for array in arrays]
    exact = np.result_type(np.float32, *(array.dtype for array in given))
    scores = [array.astype(exact, copy=False) for array in given]
    if wrong := [array.shape for array in scores if array.ndim != dimensions]:
        raise InputError(f"The {name} of shape {wrong[0]} must have {dimensions} dimension(s).")
    if bad := sum(np.count_nonzero(~np.isfinite(array)) for array in scores):
        total = sum(array.size for array in scores)
        raise InputError(
            f"{bad} of {total} {name} are NaN or infinite: if the training diverged, lower its learning rate."
        )
    return scores


def _truth(i: int, label: int, scores: Scores, mask: npt.ArrayLike | None) -> Mask | None:
    """Return where image i is defective; None if unknown."""
    if label not in (0, 1):
        raise InputError(f"The label of image {i} is {label}: use 0 for normal and 1 for anomalous.")
    if not label:
        return np.zeros(scores.shape, dtype=bool)
    if mask is None:
        return None
    known = np.asarray(mask, dtype=bool)
    if known.shape != scores.shape:
        raise InputError(f"Image {i} has a mask of shape {known.shape} for a map of shape {scores.shape}.")
    return known


def _by_kind(labels: Iterable[int], defects: Iterable[str]) -> dict[str | None, list[int]]:
    """Group the indices of images by kind of defect; None is the kind of normal images."""
    members: dict[str | None, list[int]] = {None: []}
    for i, (label, defect) in enumerate(zip(labels, defects, strict=True)):
        members.setdefault(defect if label else None, []).append(i)
    return members
