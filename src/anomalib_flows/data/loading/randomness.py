"""Random generators that are seeded by names."""

from __future__ import annotations

import numpy as np


def generator(*names: object) -> np.random.Generator:
    """Make a random generator whose numbers depend only on the names, on every machine."""
    return np.random.default_rng(list("/".join(map(str, names)).encode(errors="surrogateescape")))
