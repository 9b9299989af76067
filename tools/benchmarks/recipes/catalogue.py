"""The recipes that compare_recipes.py compares, by model and name."""

from __future__ import annotations

from typing import Any

from anomalib_flows.models.fastflow import FastFlow
from recipes.recipe import Recipe
from recipes.scores import SCORES

PAPER = {name: value for name, value in FastFlow.published.items() if name != "backbone"}

FASTFLOW = {
    "default": Recipe(),
    "default, every score": Recipe(scores=tuple(SCORES)),
    "paper": Recipe(PAPER),
    "paper, whitened": Recipe(PAPER | {"norm": "whitened"}),
    "paper, strides 8, 16, 32": Recipe(PAPER | {"strides": [8, 16, 32]}),
    "paper, clamp 0.5": Recipe(PAPER | {"clamp": 0.5}),
    "paper, 4 steps": Recipe(PAPER | {"steps": 4}),
    "paper, cosine": Recipe(PAPER | {"schedule": "cosine"}),
    "no local scale": Recipe({"local_scale": 0.0}),
    "local scale 1": Recipe({"local_scale": 1.0}),
    "strides 4, 8, 16": Recipe({"strides": [4, 8, 16]}),
    "strides 8, 16": Recipe({"strides": [8, 16]}),
    "channels standardised": Recipe({"shrinkage": 1.0}),
    "shrinkage 0.1": Recipe({"shrinkage": 0.1}),
    "shrinkage 0.001": Recipe({"shrinkage": 0.001}),
    "one mean": Recipe({"local_mean": False}),
    "clamp 2": Recipe({"clamp": 2.0}),
    "clamp 0.5": Recipe({"clamp": 0.5}),
    "clamp 0.25": Recipe({"clamp": 0.25}),
    "8 steps": Recipe({"steps": 8}),
    "2 steps": Recipe({"steps": 2}),
    "half the hidden channels": Recipe({"hidden_ratio": 0.5}),
    "kernels 3, 1": Recipe({"kernel_sizes": [3, 1]}),
    "kernels 1": Recipe({"kernel_sizes": [1]}),
    "constant rate": Recipe({"schedule": "constant"}),
    "weight decay 0.001": Recipe({"weight_decay": 1e-3}),
    "noise 0.1": Recipe(noise=(0.1, 0.1)),
    "noise 0.3": Recipe(noise=(0.3, 0.3)),
    "noise 0.5 to 0": Recipe(noise=(0.5, 0.0)),
    "average of weights": Recipe({"schedule": "constant"}, average=0.98),
    "base distribution learnt": Recipe(base=True),
    "fused": Recipe(fused=True),
}
# CFLOW before its clamp and rate became 0.5 and 0.005. Each recipe of docs/reference/recipe-experiments.md changes one
# option of it.
FREE: dict[str, Any] = {"clamp": 1.9, "learning_rate": 2e-3, "components": None}
BARE = FREE | {"norm": "none", "local_scale": 0.0, "learning_rate": 1e-3}
CFLOW = {
    "default": Recipe(),
    "free": Recipe(FREE),
    "bare": Recipe(BARE),
    "bare, whitened": Recipe(BARE | {"norm": "whitened"}),
    "free, one mean": Recipe(FREE | {"local_mean": False}),
    "free, no local scale": Recipe(FREE | {"local_scale": 0.0}),
    "free, 4 steps": Recipe(FREE | {"steps": 4}),
    "free, clamp 0.5": Recipe(FREE | {"clamp": 0.5}),
    "free, clamp 1": Recipe(FREE | {"clamp": 1.0}),
    "free, cosine": Recipe(FREE | {"schedule": "cosine"}),
    "free, rate 0.001": Recipe(FREE | {"learning_rate": 1e-3}),
    "free, rate 0.005": Recipe(FREE | {"learning_rate": 5e-3}),
    "free, rate 0.005, cosine": Recipe(FREE | {"learning_rate": 5e-3, "schedule": "cosine"}),
}
RECIPES = {"fastflow": FASTFLOW, "cflow": CFLOW}
