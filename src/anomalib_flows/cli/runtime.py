"""``anomalib-flows-runtime``: predict with an exported model where only OpenVINO, NumPy and Pillow are installed."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import tee
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from anomalib_flows import __version__
from anomalib_flows.cli.app import as_program
from anomalib_flows.core.errors import FIELD, InputError, require
from anomalib_flows.core.images import MAX_MEGAPIXELS
from anomalib_flows.core.types import ANOMALOUS, ImageResult, PictureKind, Sample
from anomalib_flows.results.journal import Journal, table_form
from anomalib_flows.results.pictures import PICTURES, PictureSink, common_root, drawing, relative, unique_names
from anomalib_flows.results.table import COLUMNS, TableSink, csv_line

if TYPE_CHECKING:
    from anomalib_flows.runtime import ExportedModel

Name = Callable[[ImageResult], Path]


def make_parser() -> argparse.ArgumentParser:
    """Make the parser; options that ``anomalib-flows predict`` has, too, mean the same there."""
    parser = argparse.ArgumentParser(
        prog="anomalib-flows-runtime",
        description="Predict images with an exported model: a table, and pictures of each image.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("model", type=Path, help="exported model (.xml); its .bin file lies beside it")
    add("--input", required=True, help="image, folder, pattern like 'photos/*.png', or video")
    add("--output", required=True, type=Path, help="new folder for predictions.csv and a folder for each kind")
    kinds = get_args(PictureKind)
    add("--save", nargs="+", choices=kinds, default=PICTURES, help="kinds of pictures (default: all but maps)")
    add("--pictures", choices=("all", "anomalous", "none"), default="all", help="images to draw (default: all)")
    add("--device", default="CPU", help="device of OpenVINO, such as CPU or GPU (default: CPU)")
    add("--requests", type=int, help="images that are computed at the same time (default: 1)")
    add("--threshold", type=float, help="normalised score above which an image is anomalous (default: 0.5)")
    add("--false-alarm-rate", type=float, help="share of good images that may be anomalous, instead of a threshold")
    add("--max-megapixels", type=float, default=MAX_MEGAPIXELS, help="limit of an image's pixels, in millions")
    add("--on-error", choices=("raise", "skip"), default="raise", help="what to do with damaged images")
    add("--version", action="version", version=f"anomalib-flows {__version__}")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0, 2 for an error of the user, 130 for Ctrl-C."""
    return as_program(lambda: run(make_parser().parse_args(argv)))


def run(options: argparse.Namespace) -> int:
    """Predict, and print the number of anomalous images."""
    try:
        from anomalib_flows.runtime import ExportedModel

        require_new(options.output)
        model = ExportedModel(
            options.model,
            options.device,
            threshold=options.threshold,
            false_alarm_rate=options.false_alarm_rate,
            requests=options.requests,
            max_megapixels=options.max_megapixels,
        )
        faults: list[InputError] = []
        name, results = predicted(model, options, faults)
        anomalous, total = write(results, name, options)
    except InputError as error:
        raise InputError(FIELD.sub(lambda field: f"--{field[1].replace('_', '-')}", str(error))) from error
    for fault in faults:
        print(f"Left out: {fault}")
    print(f"Anomalous: {anomalous} of {total}. Table and pictures: {options.output}")
    return 0
