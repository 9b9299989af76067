"""Time whole commands, as a user types them, on a folder of images in MVTec AD's layout.

anomalib's commands name its models through `peers.py`, for weights from a file, the image size, and encoders that its
FastFlow does not accept; otherwise they are its own. `fit` trains on as many images as our `train`, which sets
thresholds on the images that it holds out; anomalib sets none, as its FastFlow cannot without defective images.
`ours as it comes` is given the model, the encoder and the images only. Evaluation is `test` in both, from start to end
of the command, with metrics and a figure of each image. Milliseconds per image are those of the command, divided by
the number of images of the folder. Memory is that of the largest process; anomalib's processes that read images are not
included.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from comparison.settings import KERNELS, STAGES, TIMM_ARGS, Setting
from comparison.turns import environment, ratios, show, show_head, spread, take_turns, written

COMMAND_ROWS = HELP, TRAIN_HELP, EPOCH, TEST = "help", "help of train", "one epoch", "evaluation"
NAMES = "anomalib, float32", "anomalib, bfloat16", "ours, float32", "ours, bfloat16", "ours as it comes"
COLUMNS = ["measured", "by", "seconds", "ms per image", "anomalib / this", "peak MiB"]
PROGRAMS = {"ours": ["-m", "anomalib_flows.cli"], "anomalib": ["-c", "from anomalib.cli.cli import main; main()"]}
HELD_OUT = 0.15
"""Default share of the normal images that ours holds out for thresholds."""
Words = Callable[[], list[str]]
"""Makes the words of a command when it runs: they may name a file that another command wrote."""


@dataclass(frozen=True)
class Place:
    """Folder of images, and folder of results."""

    root: Path
    category: str
    results: Path

    @property
    def images(self) -> Path:
        """Folder of the category."""
        return self.root / self.category

    def defects(self) -> list[str]:
        """Names of the kinds of defect."""
        return sorted(p.name for p in (self.images / "test").iterdir() if p.is_dir() and p.name != "good")

    def read(self, folder: str) -> int:
        """Read all files, so that they are in the system's cache for each command, and count them."""
        return len([file.read_bytes() for file in (self.images / folder).rglob("*") if file.is_file()])


@dataclass(frozen=True)
class Command:
    """A command that runs with empty caches for each measurement."""

    python: str
    package: str
    threads: int
    words: Words

    def measure(self) -> dict[str, float]:
        """Run the command, and return seconds and peak of memory in MiB."""
        command = [self.python, *PROGRAMS[self.package], *self.words()]
        with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryDirectory() as cache:
            variables = environment(self.threads) | {"XDG_CACHE_HOME": cache}
            start = time.perf_counter()
            process = subprocess.Popen(command, env=variables, stdout=output, stderr=output)
            _, status, used = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - start
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                output.seek(0)
                sys.exit(f"{output.read()}\nThis command failed:\n{' '.join(command)}")
        return {"seconds": seconds, "peak": used.ru_maxrss / 1024}


def compare_commands(
    pythons: dict[str, str], setting: Setting, place: Place, rows: Sequence[str], repeats: int
) -> None:
    """Print the table of one encoder."""
    print(f"\n{setting.backbone}, {place.category}\n")
    show_head(COLUMNS)
    images = {EPOCH: place.read("train/good"), TEST: place.read("test")}
    for row, by_name in commands(setting, place).items():
        if row not in rows:
            continue
        made = [
            Command(pythons[package_of(name)], package_of(name), setting.threads, by_name[name]) for name in by_name
        ]
        replies = take_turns(made, repeats, warm_up=0 if row in images else 1)
        seconds = [[reply["seconds"] for reply in of_one] for of_one in replies]
        for name, own, of_one in zip(by_name, seconds, replies, strict=True):
            each = written(1000 * statistics.median(own) / images[row]) if row in images else ""
            peak = max(reply["peak"] for reply in of_one)
            show([row, name, spread(own), each, spread(ratios(seconds[0], own)), f"{peak:.0f}"])


def package_of(name: str) -> str:
    """Return the package of a row of the table."""
    return name.partition(",")[0].partition(" ")[0]


def commands(setting: Setting, place: Place) -> dict[str, dict[str, Words]]:
    """Return the commands of each row, anomalib in float32 first."""
    train_peer, train_our = partial(anomalib_fit_words, setting, place), partial(our_train_words, setting, place)
    test_peer, test_our = partial(anomalib_test_words, setting, place), partial(our_test_words, setting, place)
    peer, peer16, ours, ours16, default = NAMES
    return {
        HELP: {"anomalib": lambda: ["--help"], "ours": lambda: ["--help"]},
        TRAIN_HELP: {"anomalib": lambda: ["train", "--help"], "ours": lambda: ["train", "--help"]},
        EPOCH: {
            peer: lambda: train_peer(peer, "32"),
            peer16: lambda: train_peer(peer16, "bf16-mixed"),
            ours: lambda: train_our(ours, "32"),
            ours16: lambda: train_our(ours16, "bf16-mixed"),
            default: lambda: train_our(default, None),
        },
        TEST: {
            name: partial(test, name) for name, test in {peer: test_peer, ours: test_our, default: test_our}.items()
        },
    }


def our_options(setting: Setting, *, as_it_comes: bool) -> list[str]:
    """Return the options of our model: model and encoder, and by default those of anomalib's architecture."""
    options: dict[str, Any] = {"backbone": setting.backbone, "weights": setting.weights}
    options |= {f"timm_args.{name}": value for name, value in TIMM_ARGS.get(setting.backbone, {}).items()}
    if setting.model == "fastflow" and not as_it_comes:
        options |= {"strides": [4, 8, 16], "norm": "layer", "steps": 8, "clamp": 2, "local_scale": 0}
        options |= {
            "tail": 0,
            "coarse_weight": 1,
            "learning_rate": 1e-3,
            "schedule": "constant",
            "kernel_sizes": list(KERNELS[setting.backbone]),
        }
    elif not as_it_comes:
        options |= {"layers": list(STAGES[setting.backbone]), "norm": "none", "clamp": 1.9, "local_scale": 0}
        options |= {"learning_rate": 1e-4}
    score = [] if as_it_comes else ["--heatmap.top_percent=0"]
    return [f"--model={setting.model}", *(f"--model.{name}={value}" for name, value in options.items()), *score]


def our_train_words(setting: Setting, place: Place, name: str, precision: str | None) -> list[str]:
    """Return our `train` command; without a precision it has our defaults."""
    images = ["--data=folder", f"--data.normal={place.images / 'train/good'}", f"--image.size={setting.size}"]
    images += [f"--loader.batch_size={setting.batch}", f"--split.calibration_fraction={HELD_OUT}"]
    course = ["--trainer.max_epochs=1", *([f"--trainer.precision={precision}"] if precision else [])]
    model = our_options(setting, as_it_comes=precision is None)
    return ["train", *model, *images, *course, f"--output={place.results / name}"]


def our_test_words(setting: Setting, place: Place, name: str) -> list[str]:
    """Return our `test` command of the run that was trained last."""
    run = latest(place.results / name, "model.safetensors").parent
    images = [f"--data.root={place.root}", f"--data.category={place.category}", f"--loader.batch_size={setting.batch}"]
    return ["test", str(run), "--data=mvtec", *images]


def anomalib_words(command: str, setting: Setting, place: Place, name: str) -> list[str]:
    """Return the common part of anomalib's commands `fit` and `test`."""
    model = {"fastflow": "TimmFastflow", "cflow": "TimmCflow"}[setting.model]
    init = {"backbone": setting.backbone, "size": setting.size, "weights": setting.weights}
    folders = {"abnormal_dir": "test", "mask_dir": "ground_truth"}
    data = {"name": place.category, "root": place.images, "normal_dir": "train/good", "normal_test_dir": "test/good"}
    data |= {key: [f"{folder}/{defect}" for defect in place.defects()] for key, folder in folders.items()}
    data |= {"val_split_mode": "from_train", "val_split_ratio": HELD_OUT, "num_workers": setting.threads}
    data |= {"train_batch_size": setting.batch, "eval_batch_size": setting.batch}
    words = [command, f"--model=comparison.peers.{model}", *(f"--model.{key}={value}" for key, value in init.items())]
    words += ["--data=Folder", *(f"--data.{key}={value}" for key, value in data.items())]
    return [*words, "--trainer.accelerator=cpu", f"--default_root_dir={place.results / name}"]


def anomalib_fit_words(setting: Setting, place: Place, name: str, precision: str) -> list[str]:
    """Return anomalib's `fit` command."""
    course = ["--trainer.max_epochs=1", f"--trainer.precision={precision}", "--trainer.limit_val_batches=0"]
    return [*anomalib_words("fit", setting, place, name), *course]


def anomalib_test_words(setting: Setting, place: Place, name: str) -> list[str]:
    """Return anomalib's `test` command of the checkpoint that was written last."""
    checkpoint = latest(place.results / name, "model.ckpt")
    return [*anomalib_words("test", setting, place, name), f"--ckpt_path={checkpoint}"]


def latest(folder: Path, file: str) -> Path:
    """Return the file of this name that was written last."""
    return max(folder.rglob(file), key=lambda path: path.stat().st_mtime)
