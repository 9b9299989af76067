"""Exports of anomalib. Needs anomalib."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import openvino as ov
import torch
from anomalib.deploy import CompressionType
from anomalib.models import Cflow, Fastflow

from comparison.settings import STAGES
from exports.settings import Setting, megabytes, timed


def export(setting: Setting, folder: Path) -> dict[str, float]:
    """Export a module, and return seconds and megabytes."""
    module, size = make_module(setting), (setting.size, setting.size)
    path, exporting = timed(lambda: module.to_openvino(folder, input_size=size))
    core = ov.Core()
    ov.save_model(core.read_model(path), folder / "fp16.xml")  # as `to_openvino` does with CompressionType.FP16
    loader = Batches([{"image": torch.rand(1, 3, *size)} for _ in range(setting.images)])
    data = SimpleNamespace(setup=lambda stage: stage, val_dataloader=lambda: loader)
    compress = module._compress_ov_model  # noqa: SLF001 (`to_openvino` calls it after another conversion)
    int8, quantising = timed(lambda: compress(core.read_model(path), CompressionType.INT8_PTQ, data))
    ov.save_model(int8, folder / "int8.xml", compress_to_fp16=False)
    for suffix in (".xml", ".bin"):
        path.with_suffix(suffix).replace(folder / f"model{suffix}")
    sizes = {"fp32_size": megabytes(folder / "model.xml"), "fp16_size": megabytes(folder / "fp16.xml")}
    return {"export": exporting, "int8": quantising} | sizes


class Batches(list[Any]):
    """Batches with the attribute of a data loader that anomalib reads."""

    @property
    def dataset(self) -> Batches:
        """The batches, one image each."""
        return self


def make_module(setting: Setting) -> Any:
    """Make a module with random weights, and with limits and thresholds: NNCF cannot compile its graph without them."""
    module, flows = make_model(setting)
    for block in flows.modules():  # no buffers: in some blocks permutations are buffers of numbers
        for parameter in block.parameters(recurse=False):
            if parameter.requires_grad:
                parameter.data.add_(0.01 * torch.randn_like(parameter))
    module.eval()
    with torch.no_grad():
        maps = module.model(torch.rand(2, 3, setting.size, setting.size)).anomaly_map
    limits = {"min": maps.min(), "max": maps.max(), "threshold": maps.mean()}
    for name, buffer in module.post_processor.named_buffers():
        if (limit := limits.get(name.rpartition("_")[2])) is not None:
            buffer.copy_(limit)
    return module


def make_model(setting: Setting) -> tuple[Any, torch.nn.Module]:
    """Make a module, and return it with its flows."""
    if setting.model == "fastflow":
        module: Any = Fastflow(setting.backbone, pre_trained=False)
        return module, torch.nn.ModuleList([module.model.fast_flow_blocks, module.model.norms])
    module = Cflow(setting.backbone, [f"layer{i}" for i in STAGES[setting.backbone]], pre_trained=False)
    return module, module.model.decoders
