"""Compare encoders by the whole commands of a user: train, latency and export.

Prints a Markdown table. An encoder whose weights are random shows time and size only, not detection.

    python tools/benchmarks/compare_encoders.py --root $DATA --category magnetic_tile --output encoders/ \\
      --mobilenetv2 $WEIGHTS/mobilenetv2_100_tf_in1k.safetensors
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jsonargparse import auto_cli

COMMAND = [sys.executable, "-m", "anomalib_flows.cli"]
RANDOM = ["--model.weights=random"]
ENCODERS: dict[str, list[str]] = {
    "tf_efficientnet_lite0": [],
    "tf_efficientnet_lite2": [],
    "mobilenetv2_100": [
        "--model.timm_args.pad_type=same",
        "--model.mean=[0.5,0.5,0.5]",
        "--model.std=[0.5,0.5,0.5]",
    ],
    "resnet18": RANDOM,
    "wide_resnet50_2": RANDOM,
    "vit_small_patch14_dinov2": [*RANDOM, "--image.size=252"],
}
COLUMNS = (
    "encoder",
    "image / pixel AUROC",
    "AUPRO",
    "train, s",
    "torch, ms",
    "OpenVINO f32, ms",
    "bf16, ms",
    "INT8, ms",
    "INT8: AUROC, labels that differ",
    "INT8, MB",
)


@dataclass(frozen=True, kw_only=True)
class Encoders:
    """Options of the comparison.

    Args:
        root: Folder of a dataset in MVTec AD's layout.
        category: Category of the dataset.
        output: Folder for runs and exported models; what it holds is not measured again.
        model: Registered model.
        encoders: Names of encoders; by default all.
        mobilenetv2: File with ImageNet weights of MobileNetV2; without it they are random.
        seeds: Number of seeds; detection is the mean over them, the rest is measured with the first.
        options: Further options of ``train``.
        exports: Whether to export, and to measure exported models.
    """

    root: Path
    category: str
    output: Path
    model: str = "fastflow"
    encoders: tuple[str, ...] = tuple(ENCODERS)
    mobilenetv2: Path | None = None
    seeds: int = 1
    options: tuple[str, ...] = ()
    exports: bool = True


def training(comparison: Encoders, encoder: str, seed: int) -> list[str]:
    """Return the options of a training."""
    given = [f"--model.weights={comparison.mobilenetv2}"] if comparison.mobilenetv2 else RANDOM
    own = ENCODERS[encoder] + given * (encoder == "mobilenetv2_100")
    data = ["--data=mvtec", f"--data.root={comparison.root}", f"--data.category={comparison.category}"]
    model = [f"--model={comparison.model}", f"--model.backbone={encoder}", *own]
    return [*model, *data, f"--seed={seed}", "--pictures=0", *comparison.options]


def call(*arguments: str, cache: Path | None = None) -> float:
    """Run a command, with a feature cache of its own if one is given, and return its seconds."""
    env = os.environ | ({"XDG_CACHE_HOME": str(cache)} if cache else {})
    began = time.perf_counter()
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, env=env, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)}\n{done.stderr}")
    return time.perf_counter() - began


def trained(comparison: Encoders, encoder: str, seed: int) -> tuple[Path, float]:
    """Train once, and return the run and the seconds that it took."""
    folder = comparison.output / comparison.model / encoder / str(seed)
    if not (folder / "seconds").exists():
        seconds = call(
            "train", *training(comparison, encoder, seed), f"--output={folder}", cache=folder.absolute() / "cache"
        )
        (folder / "seconds").write_text(str(seconds))
    *_, run = sorted(file.parent for file in folder.glob("**/metrics.json"))
    return run, float((folder / "seconds").read_text())


def latencies(model: Path, file: Path, *options: str) -> dict[str, float]:
    """Measure the latency of a model, by precision, in milliseconds."""
    if not file.exists():
        call("latency", str(model), f"--output={file}", *options)
    return {row["precision"]: row["median_ms"] for row in json.loads(file.read_text())["rows"]}


def exported(run: Path, precision: str) -> tuple[Path, dict[str, Any]]:
    """Export a run, and return the file and its comparison with the trained model on the test images."""
    folder = run.absolute() / f"openvino-{precision}"
    if not folder.exists():
        call("export", str(run), f"--precision={precision}", "--images=test", f"--output={folder}")
    return folder / "model.xml", json.loads((folder / "parity.json").read_text())


def row(comparison: Encoders, encoder: str) -> list[str]:
    """Measure an encoder."""
    runs = [trained(comparison, encoder, seed) for seed in range(comparison.seeds)]
    run, seconds = runs[0]
    own = training(comparison, encoder, 0)
    detection = ["-", "-"] if RANDOM[0] in own else detected([run for run, _ in runs])
    torch_ms = latencies(run, run / "latency.json", "--precisions=f32")["f32"]
    cells = [f"`{encoder}`", *detection, f"{seconds:.0f}", f"{torch_ms:.1f}"]
    return cells + (deployed(run, known=detection[0] != "-") if comparison.exports else ["-"] * 5)


def detected(runs: list[Path]) -> list[str]:
    """Return the mean metrics of runs."""
    found = [json.loads((run / "metrics.json").read_text()) for run in runs]
    image, pixel, aupro = (
        statistics.fmean(metrics[kind][name] for metrics in found)
        for kind, name in (("image", "auroc"), ("pixel", "auroc"), ("pixel", "aupro"))
    )
    return [f"{image:.3f} / {pixel:.3f}", f"{aupro:.3f}"]


def deployed(run: Path, *, known: bool) -> list[str]:
    """Export a run in float32 and INT8, and measure both."""
    model, _ = exported(run, "fp32")
    whole = latencies(model, model.with_name("latency.json"))
    small, report = exported(run, "int8")
    own = latencies(small, small.with_name("latency.json"))
    compared = next(iter(report["computed_in"].values()))
    count = report["images"]["count"]
    differing = (count - compared["labels_agree"]) / count
    auroc = compared["image_auroc"]["exported"] if known else 0.0
    words = f"{auroc:.3f}, {differing:.1%}" if known else "-"
    size = sum(file.stat().st_size for file in small.parent.glob("model.*")) / 1e6
    bf16 = f"{whole['bf16']:.1f}" if "bf16" in whole else "-"
    return [f"{whole['f32']:.1f}", bf16, f"{min(own.values()):.1f}", words, f"{size:.1f}"]


def compare(comparison: Encoders) -> None:
    """Measure all encoders, and print the table."""
    lines = [COLUMNS, ["---"] * len(COLUMNS)]
    for encoder in comparison.encoders:
        lines.append(row(comparison, encoder))
        print(" | ".join(lines[-1]), file=sys.stderr, flush=True)
    print("\n".join(f"| {' | '.join(line)} |" for line in lines))


if __name__ == "__main__":
    compare(auto_cli(Encoders, as_positional=False))
