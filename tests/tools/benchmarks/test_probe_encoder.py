"""The probe of encoders."""

import json
from pathlib import Path

import pytest

from probe_encoder import Probe, probe


def test_it_finds_a_plain_defect(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    probe(Probe(root=root, category="noise", image_size=64, patches=200))
    named, metrics = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert named == {"backbone": "tf_efficientnet_lite0", "weights": "pretrained", "category": "noise"}
    assert metrics["image_auroc"] == 1
    assert metrics["pixel_auroc"] > 0.9


def test_the_seed_determines_random_weights(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (0, 0, 1):
        probe(Probe(root=root, category="noise", weights="random", image_size=64, patches=20, seed=seed))
    first, again, other = capsys.readouterr().out.splitlines()[1::2]
    assert first == again != other
