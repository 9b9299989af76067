"""Visual anomaly detection with normalizing flows, for factories.

Names are imported when they are first used, so that importing the package costs nothing.
"""

import importlib
import sys
from typing import Any

__version__ = "0.1.0"

# OpenVINO and NNCF report their use to a host on the network if they find this module. None stands for a missing one.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # documented for imports

_NAMES = {
    "AugmentOptions": "run.options",
    "BTAD": "data.datasets.btad",
    "CFlow": "models.cflow",
    "CalibrateOptions": "experiment.options",
    "Component": "run.component",
    "Dataset": "data.datasets.base",
    "DecisionOptions": "run.decision",
    "Detector": "models.base",
    "ExportOptions": "export.options",
    "FastFlow": "models.fastflow",
    "FlowDetector": "models.flow_detector",
    "Folder": "data.datasets.folder",
    "HeatmapOptions": "run.options",
    "ImageOptions": "run.options",
    "ImageResult": "core.types",
    "InputError": "core.errors",
    "LoaderOptions": "run.options",
    "MVTec": "data.datasets.mvtec",
    "MVTecAD2": "data.datasets.mvtec_ad2",
    "MVTecLOCO": "data.datasets.mvtec_loco",
    "Pipeline": "models.pipeline",
    "PredictOptions": "experiment.options",
    "Run": "run.directory",
    "Sample": "core.types",
    "SplitOptions": "run.options",
    "Synthetic": "data.datasets.synthetic",
    "TestOptions": "experiment.options",
    "TrainConfig": "run.config",
    "TrainerOptions": "run.options",
    "VisA": "data.datasets.visa",
    "calibrate": "experiment.calibrate",
    "export_run": "export.export:export",
    "load": "models.checkpoint:load_pipeline",
    "predict": "experiment.predict",
    "read_image": "data.loading.reading",
    "test": "experiment.test",
    "train": "experiment.train",
}
"""Modules of the public names, with the name there if it differs."""

__all__ = ["__version__", *_NAMES]  # noqa: PLE0604 (names of strings)


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"anomalib_flows has no {name!r}; it has {', '.join(_NAMES)}")
    module, _, attribute = _NAMES[name].partition(":")
    return getattr(importlib.import_module(f"anomalib_flows.{module}"), attribute or name)
