"""anomalib's FastFlow and CFLOW in turn with ours: its model classes alone, from a folder, without its dependencies."""

from __future__ import annotations

import statistics
import sys
from collections import namedtuple
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F

from comparison.settings import KERNELS, STAGES, Contender, Setting
from comparison.workers import our_model
from cuda_checks.place import Place, demand
from cuda_checks.processes import Row
from cuda_checks.speed import Steps, images_per_second

TURNS = {"cuda": 3, "cpu": 1}
ALL_VECTORS = 1
"""Images in a batch where each step takes 64 feature vectors: a batch of 32 would take minutes, at the same speed."""


def beside_anomalib(place: Place, model: str, backbone: str) -> list[Row]:
    """Measure training steps of the same architecture, encoder included, in turn; ratios are of the same turn."""
    import_parts(Path(place.anomalib))
    rows = []
    for precision in ("float32", "bfloat16"):
        steps = {"anomalib": peer(place, model, backbone, precision)}
        for name, (vectors, cached) in ours(model).items():
            images = ALL_VECTORS if vectors else place.scale.batch
            setting = Setting(model, backbone, images, place.scale.size, 0)
            made = our_model(setting, Contender("ours", "", precision, vectors=vectors))
            steps[name] = Steps(place, made, precision, cached=cached, images=images)
        trained = {name: weights(one) for name, one in steps.items()}
        demand(len(set(trained.values())) == 1, f"numbers of trained weights differ: {trained}")
        turns = [
            {name: images_per_second(place, one.train, len(one.images)) for name, one in steps.items()}
            for _ in range(TURNS[place.device])
        ]
        for name in steps:
            row = {"model": model, "encoder": backbone, "precision": precision, "steps of": name}
            row["batch"] = len(steps[name].images)
            row["images/s"] = statistics.median(turn[name] for turn in turns)
            rows.append(row | {"ours / anomalib": statistics.median(turn[name] / turn["anomalib"] for turn in turns)})
    return rows


def ours(model: str) -> dict[str, tuple[int, bool]]:
    """Return vectors per step and whether features are cached, for each way in which our model trains."""
    ways = {"ours": (0, False), "ours, cached": (0, True)}
    return ways | ({"ours, all vectors": (64, False)} if model == "cflow" else {})


def weights(steps: Any) -> int:
    """Count the trained weights."""
    return sum(p.numel() for p in steps.detector.parameters() if p.requires_grad)


def import_parts(folder: Path) -> None:
    """Let the modules of anomalib's models be imported without its packages' own imports, which need far more."""
    root = folder / "anomalib"
    demand((root / "models" / "image" / "fastflow").is_dir(), f"there is no anomalib in {folder}")
    for name in ("", ".models", ".models.components", ".models.image", ".models.image.fastflow", ".models.image.cflow"):
        package = ModuleType(f"anomalib{name}")
        package.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
        sys.modules[package.__name__] = package
    data = ModuleType("anomalib.data")
    data.InferenceBatch = namedtuple("InferenceBatch", "pred_score anomaly_map")  # type: ignore[attr-defined]
    sys.modules["anomalib.data"] = data
    try:
        import omegaconf  # noqa: F401
    except ImportError:  # its FastFlow names a type of it
        stub = ModuleType("omegaconf")
        stub.ListConfig = list  # type: ignore[attr-defined]
        sys.modules["omegaconf"] = stub
    extractors: Any = import_module("anomalib.models.components.feature_extractors")
    sys.modules["anomalib.models.components"].TimmFeatureExtractor = extractors.TimmFeatureExtractor  # type: ignore[attr-defined]


def peer(place: Place, model: str, backbone: str, precision: str) -> Any:
    """Make anomalib's model with its optimizer."""
    return {"fastflow": FastFlow, "cflow": CFlow}[model](place, backbone, precision)


class Peer(Steps):
    """Steps of a model of anomalib."""

    def __init__(self, place: Place, model: Any, precision: str, images: int, options: dict[str, float]) -> None:
        self.device, self.dtype = torch.device(place.device), getattr(torch, precision)
        self.detector = model.to(self.device).train()
        trained = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(trained, **options)
        self.images = torch.rand(images, 3, place.scale.size, place.scale.size)


class FastFlow(Peer):
    """anomalib's FastFlow."""

    def __init__(self, place: Place, backbone: str, precision: str) -> None:
        made: Any = import_module("anomalib.models.image.fastflow.torch_model")
        size, only_3x3 = (place.scale.size, place.scale.size), KERNELS[backbone] == (3,)
        model = made.FastflowModel(size, backbone, pre_trained=False, conv3x3_only=only_3x3)
        super().__init__(place, model, precision, place.scale.batch, {"lr": 1e-3, "weight_decay": 1e-5})
        self.criterion = import_module("anomalib.models.image.fastflow.loss").FastflowLoss()

    def train(self) -> None:
        """Train on the batch."""
        with self.mixed():
            loss = self.criterion(*self.detector(self.images.to(self.device)))
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


class CFlow(Peer):
    """anomalib's CFLOW, with the order of its training step: one decoder after the other, 64 shuffled vectors each."""

    def __init__(self, place: Place, backbone: str, precision: str) -> None:
        made: Any = import_module("anomalib.models.image.cflow.torch_model")
        layers = [f"layer{stage}" for stage in STAGES[backbone]]
        network = made.CflowModel(backbone, layers, pre_trained=False)
        super().__init__(place, network, precision, ALL_VECTORS, {"lr": 1e-4})
        self.parts: Any = import_module("anomalib.models.image.cflow.utils")

    def train(self) -> None:
        """Train on the batch."""
        with torch.no_grad(), self.mixed():
            maps = self.detector.encoder(self.images.to(self.device))
        for decoder, feature in zip(self.detector.decoders, maps.values(), strict=True):
            self.train_decoder(decoder, feature.float())

    def train_decoder(self, decoder: Any, feature: Any) -> None:
        """Train a decoder on all vectors of a feature map, with its share of the optimizer's steps."""
        B, C, H, W = feature.shape
        code = self.parts.positional_encoding_2d(self.detector.condition_vector, H, W).to(self.device)
        codes, vectors = (x.movedim(1, 3).reshape(B * H * W, -1) for x in (code.expand(B, -1, -1, -1), feature))
        at_once = self.detector.fiber_batch_size
        for chosen in torch.split(torch.randperm(B * H * W), at_once)[: B * H * W // at_once]:
            with self.mixed():
                z, log_det = decoder(vectors[chosen], [codes[chosen]])
                loss = -F.logsigmoid(self.parts.get_logp(C, z, log_det) / C).mean()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
