"""Stand-in until folding moves here from flows."""

from __future__ import annotations

from anomalib_flows.models.base import Detector


def deployable(detector: Detector) -> Detector:
    """Return a detector with the same maps that cannot be trained."""
    return detector.deployable()
