"""Connected regions of defects."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=bool)


def region_weights(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Weigh each defective pixel by 1 / area of its region, so that every region weighs 1.

    Pixels that touch, also diagonally, are one region.

    Args:
        mask: True where defective, of shape (H, W).

    Returns:
        The weights in the order of ``mask.nonzero()``, of shape (P,).

    Example:
        >>> region_weights(np.array([[True, False, False], [False, True, False], [False, False, False]]))
        array([0.5, 0.5])
        >>> region_weights(np.array([[True, False, True], [True, False, False]]))
        array([0.5, 1. , 0.5])
    """
    from scipy import ndimage  # takes half a second, and evaluation is imported before images are checked

    labels, _ = ndimage.label(mask, structure=EIGHT_NEIGHBOURS)
    regions = labels[mask]
    return 1 / np.bincount(regions)[regions]
