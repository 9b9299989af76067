"""The comparison of recipes runs, continues where it stopped, and its table agrees with its lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from anomalib_flows import FastFlow
from anomalib_flows.core import registry
from compare_recipes import Comparison, compare
from recipes.catalogue import RECIPES
from recipes.recipe import Changes, Recipe
from recipes.scores import p_values
from recipes.table import read, table

OPTIONS: dict[str, Any] = {"seeds": 1, "epochs": 2, "evaluations": 1, "batch_size": 2, "image_size": 64}
CHOSEN = {
    "fastflow": [
        "default",
        "default, every score",
        "paper",
        "noise 0.5 to 0",
        "average of weights",
        "base distribution learnt",
        "fused",
    ],
    "cflow": ["default", "bare"],
}


@pytest.mark.parametrize("model", ["fastflow", "cflow"])
def test_recipes_are_compared(model: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "recipes.jsonl"
    options = OPTIONS | {"root": root, "category": "noise", "model": model, "recipes": CHOSEN[model]}
    comparison = Comparison(output=file, **options)
    compare(comparison)
    lines = read(file)
    assert [(line["recipe"], line["epoch"]) for line in lines] == [(name, e) for name in CHOSEN[model] for e in (0, 2)]
    assert all(0 <= line["ours"]["image_1"] <= 1 and 0 <= line["ours"]["pixel"] <= 1 for line in lines)
    printed = capsys.readouterr().out
    assert f"| {CHOSEN[model][1]} | ours | 1 | 0: {lines[2]['ours']['image_1']:.3f}" in printed
    compare(comparison)
    assert read(file) == lines  # nothing is trained twice


def test_every_recipe_is_one_of_its_model() -> None:
    for name, recipes in RECIPES.items():
        for recipe in recipes.values():
            model = registry.load("models", name)
            made = model((64, 64), backbone="tf_efficientnet_lite0", **recipe.options)
            assert {key: made.init_args[key] for key in recipe.options} == recipe.options


def test_means_over_seeds() -> None:
    line = {"data": "a", "model": "m", "backbone": "b", "recipe": "r", "of": 1, "epoch": 1, "held_out": 2.0, "cpu_s": 3}
    score = {"image_1": 0.5, "pixel": 0.25}
    other = {"image_1": 0.7, "pixel": 0.35}
    written = table([line | {"seed": 0, "ours": score}, line | {"seed": 1, "ours": other}])
    assert "| r | ours | 2 | 1: 0.600 / 0.300 | 0.141 | 2 | 3 |" in written


def test_fused_scales_are_a_density_of_all_maps_together() -> None:
    """The log-determinant is that of the Jacobian of all maps with respect to all maps."""
    detector = FastFlow((32, 32), backbone="tf_efficientnet_lite0", strides=(8, 16), steps=1, norm="none")
    Changes(Recipe(fused=True), detector)
    detector.double()
    features = [torch.randn(1, *shape, dtype=torch.float64)[..., :2, :2] for shape in detector.encoder.shapes]
    with torch.no_grad():
        plain = [z for z, _ in FastFlow.transform(detector, features)]
        for (z, _), expected in zip(detector.transform(features), plain, strict=True):
            torch.testing.assert_close(z, expected)  # nothing is changed before training
        for parameter in detector.fusions.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    sizes = [f.numel() for f in features]

    def joint(x: torch.Tensor) -> torch.Tensor:
        parts = [p.view_as(f) for p, f in zip(x.split(sizes), features, strict=True)]
        return torch.cat([z.flatten() for z, _ in detector.transform(parts)])

    jacobian = torch.autograd.functional.jacobian(joint, torch.cat([f.flatten() for f in features]))
    log_det = sum(float(d.detach()) for _, d in detector.transform(features))
    assert float(torch.linalg.slogdet(jacobian).logabsdet) == pytest.approx(log_det, abs=1e-4)


def test_noise_is_white_after_whitening() -> None:
    torch.manual_seed(0)
    detector = FastFlow((64, 64), layers=[3])
    features = [torch.randn(50, 112, 4, 4) * torch.logspace(-1, 1, 112)[:, None, None]]
    detector.fit_statistics([features])
    changes = Changes(Recipe(noise=(0.3, 0.3)), detector)
    added = detector.norms[0](changes.disturb(features, 0.0)[0]) - detector.norms[0](features[0])
    covariance = torch.cov(added.movedim(1, 0).flatten(1))
    torch.testing.assert_close(covariance, 0.09 * torch.eye(112), rtol=0, atol=0.03)


def test_p_values_add_up_over_layers() -> None:
    normal = [torch.arange(99.0).view(1, 1, 9, 11), torch.arange(99.0).view(1, 1, 9, 11)]
    found = p_values(normal, [torch.tensor([[[[200.0]]]]), torch.tensor([[[[49.0]]]])])
    expected = -torch.tensor([1 / 100, 51 / 100]).log().sum()
    torch.testing.assert_close(found.flatten()[0], expected)


def test_lines_are_json(tmp_path: Path) -> None:
    assert read(tmp_path / "none.jsonl") == []
    (tmp_path / "one.jsonl").write_text(json.dumps({"a": 1}) + "\n")
    assert read(tmp_path / "one.jsonl") == [{"a": 1}]
