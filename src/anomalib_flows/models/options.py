"""The base class of models without torch, so that the command line's help and errors come at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any


class Model(ABC):
    """A class that ``model`` may name; :class:`anomalib_flows.models.base.Detector` documents it."""

    @abstractmethod
    def encode(self, images: Any) -> Any:
        """Return the features of images."""
