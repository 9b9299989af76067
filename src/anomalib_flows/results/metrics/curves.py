"""Curves of a ranking, exact in every step, and then thinned to as many points as a picture shows."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from anomalib_flows.results.metrics.ranking import Ranking

POINTS, TOLERANCE = 200, 0.005
"""Most points of a curve, and the distance that the full curve may have from it."""
WINDOWS = 2000
"""Windows of recall in which a precision-recall curve is looked through before it is thinned."""
DIGITS = 6

Points = npt.NDArray[np.float64]


def curves_of(ranking: Ranking | None, *, pixels: bool = False) -> dict[str, Any]:
    """Return the curves of images or pixels as lists of points [x, y]; None where they are undefined.

    Example:
        >>> curves = curves_of(Ranking(np.array([2.0, 3.0]), [np.array([0.0, 2.0])]))
        >>> curves["roc"], curves["precision_recall"][-1]
        ([[0.0, 0.0], [0.0, 0.5], [0.5, 1.0], [1.0, 1.0]], [1.0, 0.5])
    """
    makers = {"roc": roc, "precision_recall": precision_recall, **({"pro": pro} if pixels else {})}
    return {name: make(ranking).round(DIGITS).tolist() if ranking else None for name, make in makers.items()}


def roc(ranking: Ranking) -> Points:
    """Return the curve of recall over false positive rate, thinned, of shape (K, 2)."""
    return thin_monotone(corners(ranking, None))


def pro(ranking: Ranking) -> Points:
    """Return the curve of mean per-region overlap over false positive rate, thinned, of shape (K, 2)."""
    return thin_monotone(corners(ranking, ranking.weights))


def precision_recall(ranking: Ranking) -> Points:
    """Return the curve of precision over recall, thinned, of shape (K, 2)."""
    return thin_saw(precision_recall_corners(ranking))


def corners(ranking: Ranking, weights: npt.NDArray[np.floating] | None) -> Points:
    """Return all corners of the curve of the (weighted) share of detected scores over false positive rate.

    From the highest anomalous score to the lowest, the curve runs level to the normal scores above it, and on a
    straight line to those that tie with it.
    """
    first = steps(ranking)
    weights = np.ones(ranking.scores.size) if weights is None else weights
    detected = np.cumsum(weights[::-1])[::-1][first]
    x = np.stack([ranking.above[first], ranking.at_least[first]], 1).ravel()
    y = np.stack([np.append(0, detected[:-1]), detected], 1).ravel()
    x, y = np.concatenate([[0], x, [ranking.negatives]]), np.concatenate([[0], y, [detected[-1]]])
    return straightened(np.stack([x / ranking.negatives, y / detected[-1]], 1))


def precision_recall_corners(ranking: Ranking) -> Points:
    """Return all corners of the curve of precision over recall; where nothing is detected precision is 1.

    Between two anomalous scores recall stays, and precision falls with the normal scores that are called anomalous.
    """
    first = steps(ranking)
    detected, at_least = ranking.true_positives[first], ranking.at_least[first]
    above_next = np.append(ranking.above[first][1:], ranking.negatives)
    precision = np.stack([detected / (detected + at_least), detected / (detected + above_next)], 1).ravel()
    curve = np.stack([np.repeat(detected / ranking.scores.size, 2), precision], 1)
    start = [[0.0, 1.0], [0.0, 0.0]] if ranking.above[first[0]] else [[0.0, 1.0]]  # normal scores are the highest
    return straightened(np.concatenate([start, curve]))


def steps(ranking: Ranking) -> npt.NDArray[np.intp]:
    """Return the first index of each distinct anomalous score, from the highest score to the lowest."""
    return np.flatnonzero(np.append(True, ranking.scores[1:] != ranking.scores[:-1]))[::-1]


def straightened(curve: Points) -> Points:
    """Remove repeated points, and those within level and upright lines."""
    curve = curve[np.append(True, (curve[1:] != curve[:-1]).any(1))]
    same = curve[1:] == curve[:-1]
    inner = (same[1:] & same[:-1]).any(1)
    return curve[np.concatenate([[True], ~inner, [True]])] if len(curve) > 2 else curve


def thin_monotone(curve: Points) -> Points:
    """Thin a curve of which x and y never fall and both end at 1, unless it has few corners.

    Points are taken at equal steps d of x + y. The piece between two of them lies in a rectangle of half perimeter d,
    so that it is at most d / sqrt(8) from their chord: 0.0036 for 200 points.
    """
    if len(curve) <= POINTS:
        return curve
    x, y = curve.T
    places = np.linspace(0, 2, POINTS)
    return np.stack([np.interp(places, x + y, x), np.interp(places, x + y, y)], 1)


def thin_saw(curve: Points) -> Points:
    """Thin a curve of which y may rise and fall, until there are few enough points.

    No point is further than ``TOLERANCE`` from what remains, except where that takes more than ``POINTS`` points: then
    the distance grows as little as it must.
    """
    curve, tolerance = extremes(curve), TOLERANCE - 1 / WINDOWS
    kept = curve
    while len(kept) > POINTS:
        kept = simplified(curve, tolerance)
        tolerance *= 1.2
    return kept


def extremes(curve: Points) -> Points:
    """Keep the first, lowest, highest and last point of each window of x, in their order."""
    if len(curve) <= WINDOWS:
        return curve
    window = np.minimum((curve[:, 0] * WINDOWS).astype(int), WINDOWS - 1)
    starts = np.flatnonzero(np.append(True, window[1:] != window[:-1]))
    ends = np.append(starts[1:], len(curve))
    pieces = [curve[start:end, 1] for start, end in zip(starts, ends, strict=True)]
    lowest = starts + [piece.argmin() for piece in pieces]
    highest = starts + [piece.argmax() for piece in pieces]
    kept: Points = curve[np.unique(np.concatenate([starts, lowest, highest, ends - 1]))]
    return kept


def simplified(curve: Points, tolerance: float) -> Points:
    """Keep those points that the others are near to, by the algorithm of Ramer, Douglas and Peucker."""
    kept, pieces = np.zeros(len(curve), bool), [(0, len(curve) - 1)]
    kept[[0, -1]] = True
    while pieces:
        start, end = pieces.pop()
        if end - start < 2:
            continue
        away = distances(curve[start + 1 : end], curve[start], curve[end])
        furthest = int(away.argmax())
        if away[furthest] > tolerance:
            middle = start + 1 + furthest
            kept[middle] = True
            pieces += [(start, middle), (middle, end)]
    return curve[kept]


def distances(points: Points, start: Points, end: Points) -> npt.NDArray[np.float64]:
    """Return the distances of points (K, 2) from the line between two points, of shape (K,)."""
    along, offset = end - start, points - start
    share = (offset @ along / max(float(along @ along), 1e-30)).clip(0, 1)
    apart: npt.NDArray[np.float64] = np.hypot(*(offset - share[:, None] * along).T)
    return apart
