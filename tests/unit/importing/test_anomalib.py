"""Checkpoints that anomalib itself wrote."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anomalib_flows.importing.code_bases import read_parts
from anomalib_flows.importing.convert import assemble_detector
from anomalib_flows.importing.inert import open_checkpoint

SCRIPT = Path(__file__).parents[2] / "reference/anomalib_checkpoint.py"


@pytest.mark.peer
@pytest.mark.parametrize("name", ["fastflow", "cflow", "cflow-soft"])
def test_a_model_that_anomalib_trained_gives_its_maps(tmp_path: Path, name: str) -> None:
    python = os.environ.get("ANOMALIB_FLOWS_PEER")
    if not python:
        pytest.skip("ANOMALIB_FLOWS_PEER names no interpreter that has anomalib")
    (tmp_path / "good").mkdir()
    for i in range(12):
        pixels = np.random.default_rng(i).integers(0, 256, (64, 96, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"good/{i}.png")
    subprocess.run([python, SCRIPT, name, tmp_path], check=True, capture_output=True, cwd=tmp_path)
    with open_checkpoint(tmp_path / "model.ckpt") as checkpoint:
        detector = assemble_detector(read_parts(checkpoint, "anomalib", None), None, {})
    theirs = torch.load(tmp_path / "maps.pt")
    assert detector.image_size == (64, 96)
    with torch.no_grad():
        features = detector.encode(theirs["images"])
        detector.calibrate([features])
        maps = detector.anomaly_map(features)
    assert float(theirs["maps"].std()) > 1e-3
    torch.testing.assert_close(maps, theirs["maps"], atol=1e-4, rtol=0)
