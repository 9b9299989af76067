"""Visual anomaly detection with normalizing flows, for factories.

Names are imported when they are first used, so that importing the package costs nothing.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_NAMES = {
    "BTAD": "data.datasets.btad",
    "CFlow": "models.cflow",
    "AugmentOptions": "run.options",
    "Dataset": "data.datasets.base",
    "Detector": "models.base",
    "FastFlow": "models.fastflow",
    "Folder": "data.datasets.folder",
    "HeatmapOptions": "run.options",
    "InputError": "core.errors",
    "MVTec": "data.datasets.mvtec",
    "MVTecAD2": "data.datasets.mvtec_ad2",
    "MVTecLOCO": "data.datasets.mvtec_loco",
    "Pipeline": "models.pipeline",
    "Run": "run.directory",
    "Sample": "core.types",
    "Synthetic": "data.datasets.synthetic",
    "TrainerOptions": "run.options",
    "VisA": "data.datasets.visa",
    "calibrate": "commands.calibrate",
    "load": "models.checkpoint",
    "predict": "commands.predict",
    "read_image": "data.loading.reading",
    "test": "commands.test",
    "train": "commands.train",
}

__all__ = ["__version__", *_NAMES]  # noqa: PLE0604 (names of strings)


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"anomalib_flows has no {name!r}; it has {', '.join(_NAMES)}")
    return getattr(importlib.import_module(f"anomalib_flows.{_NAMES[name]}"), name)
