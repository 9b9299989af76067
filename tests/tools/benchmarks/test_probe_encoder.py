"""The probe of encoders."""

import json
from pathlib import Path

import pytest

from probe_encoder import probe


def test_it_finds_what_is_plain_to_see(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    probe(root, "noise", image_size=64, patches=200)
    named, figures = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert named == {"backbone": "texture13", "weights": "pretrained", "category": "noise"}
    assert figures["image_auroc"] == 1
    assert figures["pixel_auroc"] > 0.9


def test_the_seed_decides_random_weights(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (0, 0, 1):
        probe(root, "noise", weights="random", image_size=64, patches=20, seed=seed)
    first, again, other = capsys.readouterr().out.splitlines()[1::2]
    assert first == again != other
