"""What the command line must know of models: without torch, so that help and mistakes come at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any


class Model(ABC):
    """What ``--model`` may name; :class:`anomalib_flows.models.base.Detector` says what it is."""

    @abstractmethod
    def encode(self, images: Any) -> Any:
        """Return the features of images."""
