"""Metrics in two processes of torch.distributed, and in a Lightning module, equal those of one process."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed
from torch.utils.data import DataLoader, TensorDataset

from anomalib_flows.metrics import AUPIMO, AUPRO, AUROC, F1, AveragePrecision, F1Max

GRID = torch.linspace(-3, 5, 100)


def metrics() -> dict[str, Any]:
    ranked = {"auroc": AUROC, "ap": AveragePrecision, "f1_max": F1Max, "aupro": AUPRO}
    exact = {name: kind() for name, kind in ranked.items()}
    binned = {f"{name}_binned": kind(thresholds=GRID) for name, kind in ranked.items()}
    return {**exact, **binned, "f1": F1(0.5), "aupimo": AUPIMO((0.01, 1.0)), "late": AUPRO(), "late_pimo": AUPIMO()}


def images() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(9, 8, 8, generator=generator) < 0.2
    masks[::3] = False
    return torch.randn(masks.shape, generator=generator) + masks, masks


def figures(rank: int = 0, ranks: int = 1) -> dict[str, list[float]]:
    """Return all metrics and bounds, of which each rank sees its share of images; only the last sees the late ones'."""
    scores, masks = images()
    values = {}
    for name, metric in metrics().items():
        shares = (
            [()] * (ranks - 1) + [range(len(scores))] if "late" in name else [range(i, 9, ranks) for i in range(ranks)]
        )
        for i in shares[rank]:
            metric.update(scores[i : i + 1], masks[i : i + 1])
        bounds = metric.bounds() if name.endswith("binned") else ()
        values[name] = [float(metric.compute()), *map(float, bounds)]
    return values


def on_rank(rank: int, folder: str) -> None:
    warnings.simplefilter("ignore")  # of metrics that are computed on a rank without data
    distributed.init_process_group("gloo", f"file://{folder}/meeting", world_size=2, rank=rank)
    (Path(folder) / f"{rank}.json").write_text(json.dumps(figures(rank, 2)))
    distributed.destroy_process_group()


def test_two_processes_equal_one(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(on_rank, (str(tmp_path),), nprocs=2)
    expected = figures()
    for rank in range(2):
        found = json.loads((tmp_path / f"{rank}.json").read_text())
        assert found.keys() == expected.keys()
        for name, values in expected.items():
            assert found[name] == pytest.approx(values, abs=1e-12), name


def validated(module: Any, tmp_path: Path, *tensors: Tensor) -> dict[str, float]:
    """Return what a Lightning module logs in a validation."""
    from lightning import Trainer  # not in the two processes, where it takes longer than the rest

    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(default_root_dir=tmp_path, accelerator="cpu", **quiet)
    [logged] = trainer.validate(module, DataLoader(TensorDataset(*tensors), batch_size=2), verbose=False)
    return logged


def test_a_lightning_module_logs_them(tmp_path: Path) -> None:
    import lightning

    class Anybodys(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.metrics = torch.nn.ModuleDict({name: one for name, one in metrics().items() if "late" not in name})

        def validation_step(self, batch: tuple[Tensor, Tensor]) -> None:
            for name, metric in self.metrics.items():
                metric.update(*batch)
                self.log(name, metric)

    logged, expected = validated(Anybodys(), tmp_path, *images()), figures()
    assert logged == {name: pytest.approx(expected[name][0], abs=1e-6) for name in expected if "late" not in name}


def test_the_example_of_the_documentation_runs(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs/how-to/metrics.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    exec(page.split("```python\n")[1].split("```")[0], names)  # noqa: S102 (our own page)
    scores, masks = images()
    logged = validated(names["Detector"](), tmp_path, scores[:, None].expand(-1, 3, -1, -1), masks)
    assert logged["aupro"] == pytest.approx(figures()["aupro"][0], abs=1e-6)
    assert logged["pixel_auroc_low"] <= figures()["auroc"][0] + 1e-6
    assert figures()["auroc"][0] - 1e-6 <= logged["pixel_auroc_high"]
