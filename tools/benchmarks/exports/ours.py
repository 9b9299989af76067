"""Exports of this package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from comparison.settings import STAGES
from exports.settings import KERNELS, OURS, Setting, megabytes, timed


def export(name: str, setting: Setting, folder: Path) -> dict[str, float]:
    """Export a pipeline, and return seconds and megabytes."""
    import openvino as ov

    from anomalib_flows.export.network import Network
    from anomalib_flows.export.openvino.graph import build_network, compress_to_fp16, decide
    from anomalib_flows.export.options import InputOptions

    pipeline = make_pipeline(name, setting)
    network, building = timed(lambda: build_network(Network(pipeline, InputOptions())))
    ov.save_model(decide(network.clone(), pipeline.postprocess, "native"), folder / "fp32.xml", compress_to_fp16=False)

    def finish(network: Any, file: str) -> None:
        model = decide(network, pipeline.postprocess, "native")
        compress_to_fp16(model)
        ov.save_model(model, folder / f"{file}.xml", compress_to_fp16=False)

    _, saving = timed(lambda: finish(network.clone(), "model"))
    _, quantising = timed(lambda: finish(quantised(network, setting), "int8"))
    sizes = {"fp32_size": megabytes(folder / "fp32.xml"), "fp16_size": megabytes(folder / "model.xml")}
    return {"export": building + saving, "int8": quantising} | sizes


def quantised(network: Any, setting: Setting) -> Any:
    """Quantise a graph with random images."""
    import numpy as np

    from anomalib_flows.export.openvino.quantization import quantize
    from anomalib_flows.export.options import QuantizationOptions

    shape = (setting.images, 1, setting.size, setting.size, 3)
    images = np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)
    return quantize(network, list(images), QuantizationOptions())


def make_pipeline(name: str, setting: Setting) -> Any:
    """Make a pipeline with random weights, constants and thresholds."""
    import torch

    from anomalib_flows.inference.fitting import calibrate_postprocess
    from anomalib_flows.models.pipeline import Pipeline
    from anomalib_flows.run.options import HeatmapOptions

    heatmap = HeatmapOptions(top_percent=0.0) if name == OURS else HeatmapOptions()
    detector = make_detector(name, setting)
    pipeline = Pipeline(detector, heatmap=heatmap).eval()
    for part in (detector.flows, detector.norms, detector.scales):
        perturb(part)
    with torch.no_grad():
        resized = torch.rand(4, 3, setting.size, setting.size) * 255
        detector.calibrate([pipeline.features(resized)])
        calibrate_postprocess(pipeline.postprocess, pipeline.maps(resized), false_alarm_rate=0.5)
    return pipeline


def make_detector(name: str, setting: Setting) -> Any:
    """Make a detector with anomalib's architecture, or with the default one."""
    from anomalib_flows import CFlow, FastFlow

    models: dict[str, Any] = {"fastflow": FastFlow, "cflow": CFlow}
    alike = {
        "fastflow": FastFlow.published | {"kernel_sizes": KERNELS},
        "cflow": {"norm": "none", "clamp": 1.9, "local_scale": 0.0, "layers": list(STAGES[setting.backbone])},
    }
    options = alike[setting.model] if name == OURS else {}
    encoder = {"backbone": setting.backbone, "weights": "random"}
    return models[setting.model]((setting.size, setting.size), **options | encoder)


def perturb(modules: Any) -> None:
    """Add noise to all parameters and constants, so that none is zero or one."""
    import torch

    with torch.no_grad():
        for tensor in [*modules.parameters(), *(b for b in modules.buffers() if b.is_floating_point())]:
            tensor.add_(0.01 * torch.randn_like(tensor))
