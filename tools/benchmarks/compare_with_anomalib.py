"""Measure FastFlow or CFLOW beside anomalib's, side by side in one run: Markdown tables.

Each implementation has an environment of its own, with the same version of torch, and each contender a process of its
own. They take turns, one call each, in an order that is reversed every turn, so that other work of the machine affects
all alike: compare the ratios, which are of the same turn, not the milliseconds. Encoders and flows are the same.

    python tools/benchmarks/compare_with_anomalib.py --ours PYTHON --anomalib PYTHON --model cflow

measures single calls on random images: inference, and training steps with the encoder or on cached features. bfloat16
means Lightning's bf16-mixed, and in our inference weights in bfloat16. anomalib has no feature cache and computes in
float32 by default; ratios are to that default, and to anomalib in bfloat16.

Matrix products take turns with them. The floor of a call is the time that the machine takes, at the rate of these
products in the call's precision, for the multiply-adds of the call's products and convolutions, backward ones included.

A training step is that of a batch of images. Our CFLOW takes as many feature vectors of each map as the smallest map
has. In the row of all vectors it takes them all, one map after the other as anomalib does: 64 per optimizer step, which
is exactly anomalib's order, or as many as the smallest map of all images has.

    python tools/benchmarks/compare_with_anomalib.py --ours PYTHON --anomalib PYTHON --root FOLDER --category NAME \\
      --repeats 3 --rows "help" "help of train" "one epoch" "evaluation"

measures whole commands on a folder in MVTec AD's layout, see `comparison/commands.py`.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from comparison.calls import compare_calls
from comparison.commands import COMMAND_ROWS, Place, compare_commands
from comparison.settings import ALL_VECTORS, COMPILED, INFERENCE, KERNELS, TRAINING, Setting
from comparison.turns import processor

CALL_ROWS = INFERENCE, TRAINING, COMPILED, ALL_VECTORS


def main() -> None:
    """Print the tables."""
    args = parse()
    pythons = {"ours": args.ours, "anomalib": args.anomalib}
    print(f"{args.model}, {processor()}, {args.threads} threads, {args.size} x {args.size}, batch {args.batch}")
    print(f"Median (quartiles) of {args.repeats} calls, ratios of those of the same turn.")
    calls = [row for row in CALL_ROWS if row in args.rows and (args.model == "cflow" or row != ALL_VECTORS)]
    for backbone in args.backbones:
        setting = Setting(args.model, backbone, args.batch, args.size, args.threads, args.weights)
        compare_calls(pythons, setting, calls, args.repeats)
        if args.root:
            with tempfile.TemporaryDirectory() as results:
                place = Place(args.root, args.category, Path(results))
                compare_commands(pythons, setting, place, args.rows, args.repeats)


def parse() -> argparse.Namespace:
    """Parse and check the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ours", required=True, help="Python interpreter with anomalib-flows")
    parser.add_argument("--anomalib", required=True, help="Python interpreter with anomalib")
    parser.add_argument("--model", default="fastflow", choices=["fastflow", "cflow"])
    parser.add_argument(
        "--rows", nargs="+", default=[INFERENCE, TRAINING, ALL_VECTORS], choices=[*CALL_ROWS, *COMMAND_ROWS]
    )
    parser.add_argument("--backbones", nargs="+", default=["resnet18", "wide_resnet50_2"], choices=list(KERNELS))
    parser.add_argument("--weights", default="random", help="file with the encoder's weights, for a single backbone")
    parser.add_argument("--batch", type=int, default=8, help="images of a training step")
    parser.add_argument("--size", type=int, default=256, help="height and width of the images")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--root", type=Path, help="folder of datasets in MVTec AD's layout, for commands")
    parser.add_argument("--category", help="the dataset")
    args = parser.parse_args()
    if set(COMMAND_ROWS) & set(args.rows) and not (args.root and args.category):
        parser.error("commands need images: give --root and --category")
    if args.repeats < 2:
        parser.error("--repeats must be at least 2, for quartiles")
    return args


if __name__ == "__main__":
    main()
