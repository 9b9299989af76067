"""Compare our exports with anomalib's: time to export, size on disk and latency in OpenVINO, as Markdown tables.

Each implementation exports in an environment of its own. Then one process of ours loads the files that belong together
and times one inference of each in turn, in an order that is reversed every turn, so that other work of the machine
affects all alike: compare the ratios, not the milliseconds. Encoders and flows are the same, with random weights.

    python tools/benchmarks/compare_exports.py FOLDER --ours PYTHON --anomalib PYTHON

FOLDER keeps the exports and `results.json`. Exports are repeated only if their options or the versions of the packages
have changed: after a change of the code within a version, name another folder. `--show` prints the tables of
`results.json`. Ours has two rows: `ours` has anomalib's architecture, including the encoder's layers and the norm, with
hard permutations in both; `ours, default` has the default options of `train`. Parameters and constants of flows and
norms are random, because converters remove a multiplication by one.

The input of ours is a decoded photo, uint8 of any size, NHWC, which the graph resizes. That of anomalib's is float32
from 0 to 1, NCHW, of 256 pixels; the time to make it of a photo is not measured. The outputs of both are score, label,
map and mask.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

from comparison.turns import environment, processor, show
from exports.settings import ANOMALIB, NAMES, Setting
from exports.tables import tables

MODELS = ("fastflow", "cflow")
BACKBONES = ("resnet18", "wide_resnet50_2")
MADE_WITH = "made_with.json"
VERSIONS = """
import json
from importlib.metadata import distributions
wanted = ("anomalib", "anomalib-flows", "nncf", "openvino", "timm", "torch")
print(json.dumps({d.name: d.version for d in distributions() if d.name in wanted}))
"""
"""Program that prints the versions in an environment."""


def call(python: str, command: str, names: list[str], setting: Setting, folder: Path) -> None:
    """Run a worker; its output goes to a file in the folder, whose end is shown if the worker fails."""
    folder.mkdir(parents=True, exist_ok=True)
    options = json.dumps({"names": names, "setting": asdict(setting)})
    with (folder / f"{command}.log").open("w") as log:
        line = [python, "-m", "exports.worker", command, options, str(folder)]
        done = subprocess.run(line, check=False, env=environment(setting.threads), stdout=log, stderr=log)
    if done.returncode:
        sys.exit(Path(log.name).read_text()[-4000:] + f"\nThe process of {folder} failed: see its error above.")


def compare(pythons: dict[str, str], setting: Setting, root: Path) -> dict[str, Any]:
    """Export what is missing or was made otherwise, and time it.

    Args:
        pythons: Python interpreter of each row, by name.
        setting: Model, encoder, sizes and threads.
        root: Folder of all exports.
    """
    folder, title = root / f"{setting.model}-{setting.backbone}", f"{setting.model} {setting.backbone}"
    for name, python in pythons.items():
        exported, made_with = folder / name, facts(python, setting)
        kept = made_before(exported) == made_with
        print(f"{title}: {name} {'has exports already' if kept else 'exports'}", file=sys.stderr)
        if not kept:
            shutil.rmtree(exported, ignore_errors=True)
            call(python, "export", [name], setting, exported)
            (exported / MADE_WITH).write_text(json.dumps(made_with))
    print(f"{title}: timing", file=sys.stderr)
    call(pythons[NAMES[0]], "measure", list(pythons), setting, folder)
    files = {name: json.loads((folder / name / "files.json").read_text()) for name in pythons}
    return {"setting": asdict(setting), "files": files} | json.loads((folder / "latencies.json").read_text())


@cache
def versions(python: str) -> dict[str, str]:
    """Return the versions of the packages that exports depend on."""
    done = subprocess.run([python, "-c", VERSIONS], check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


def facts(python: str, setting: Setting) -> dict[str, Any]:
    """Return what exports depend on: options, except those of timing, and versions."""
    return asdict(replace(setting, repeats=0)) | versions(python)


def made_before(folder: Path) -> dict[str, Any] | None:
    """Return what the exports of a folder were made with; None if there are no complete ones."""
    file = folder / MADE_WITH
    return dict(json.loads(file.read_text())) if file.is_file() else None


def parse() -> argparse.Namespace:
    """Parse the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of the exports and of results.json")
    parser.add_argument("--ours", default=sys.executable, help="Python interpreter with anomalib-flows and nncf")
    parser.add_argument("--anomalib", default=None, help="Python interpreter with anomalib; without it, ours only")
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--backbones", nargs="+", default=BACKBONES, choices=BACKBONES)
    parser.add_argument("--size", type=int, default=256, help="height and width of the images")
    parser.add_argument("--images", type=int, default=16, help="images for quantisation")
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--show", action="store_true", help="only print the tables of results.json")
    return parser.parse_args()


def main() -> None:
    """Compare, unless told only to show, and print the tables."""
    args = parse()
    file = args.folder.absolute() / "results.json"
    if not args.show:
        pythons = {name: args.anomalib if name == ANOMALIB else args.ours for name in NAMES}
        pythons = {name: python for name, python in pythons.items() if python}
        numbers = (args.size, args.images, args.threads, args.repeats)
        settings = [Setting(model, backbone, *numbers) for model in args.models for backbone in args.backbones]
        compared = [compare(pythons, setting, file.parent) for setting in settings]
        file.write_text(json.dumps({"processor": processor(), "compared": compared}))
    print_results(json.loads(file.read_text()))


def print_results(results: dict[str, Any]) -> None:
    """Print the conditions and the tables."""
    setting, about = results["compared"][0]["setting"], results["compared"][0]["about"]
    print(f"{results['processor']}, {setting['threads']} threads, OpenVINO {about['openvino']}, batch 1, ", end="")
    print(f"{setting['size']} x {setting['size']}. ", end="")
    print(f"Median (quartiles) of {setting['repeats']} inferences, ratios in pairs.\n")
    for row in tables(results):
        show(row) if row else print()


if __name__ == "__main__":
    main()
