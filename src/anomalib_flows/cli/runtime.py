"""``anomalib-flows-runtime``: predict with an exported model where only OpenVINO, NumPy and Pillow are installed."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, tee
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast, get_args

from anomalib_flows import __version__
from anomalib_flows.cli.program import as_program
from anomalib_flows.core.errors import FIELD, InputError
from anomalib_flows.core.images import MAX_MEGAPIXELS, Pixels
from anomalib_flows.core.types import ANOMALOUS, LABELS, ImageResult, Pictured, PictureKind, Sample
from anomalib_flows.results.drawing import drawing
from anomalib_flows.results.pictures import PICTURES, PictureSink, common_root, relative, unique_names
from anomalib_flows.results.progress import Progress, all_predicted, begun, digest_of_images, require_usable
from anomalib_flows.results.table import COLUMNS, TableSink, read_rows

if TYPE_CHECKING:
    from anomalib_flows.runtime import ExportedModel


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one sentence."""

    def error(self, message: str) -> NoReturn:
        """Print the error, and exit."""
        self.exit(2, f"error: {message}: --help lists the options.\n")


def make_parser() -> argparse.ArgumentParser:
    """Make the parser; options that ``anomalib-flows predict`` has, too, mean the same there."""
    parser = Parser(
        prog="anomalib-flows-runtime",
        description="Predict images with an exported model: a table, and pictures of each image.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("model", type=Path, help="exported model (.xml); its .bin file lies beside it")
    add("--input", required=True, help="image, folder, pattern like 'photos/*.png', or video")
    add("--output", required=True, type=Path, help="new folder for predictions.csv and a folder for each kind")
    kinds = ",".join(PICTURES)
    add("--save", type=kinds_of, default=PICTURES, metavar="KINDS", help=f"kinds of pictures: {kinds} (default), maps")
    add(
        "--pictures",
        type=pictured,
        default="all",
        help="images to draw: all (default), anomalous, none, or the first N",
    )
    add("--device", default="CPU", help="device of OpenVINO, such as CPU or GPU (default: CPU)")
    add("--requests", type=int, help="images that are computed at the same time (default: 1)")
    add("--threshold", type=float, help="normalised score above which an image is anomalous (default: 0.5)")
    add("--false-alarm-rate", type=float, help="share of good images that may be anomalous, instead of a threshold")
    add("--max-megapixels", type=float, default=MAX_MEGAPIXELS, help="limit of an image's pixels, in millions")
    add("--on-error", choices=("stop", "skip"), default="stop", help="what to do at a damaged image (default: stop)")
    add("--resume", action="store_true", help="continue an unfinished prediction in the folder of --output")
    add("--version", action="version", version=f"anomalib-flows {__version__}")
    return parser


def kinds_of(text: str) -> tuple[str, ...]:
    """Return the kinds of pictures that are named, separated by commas."""
    kinds = tuple(dict.fromkeys(kind.strip() for kind in text.split(",")))
    if not {*kinds} <= {*get_args(PictureKind)}:
        raise argparse.ArgumentTypeError(f"{text} is not of {', '.join(get_args(PictureKind))}, separated by commas")
    return kinds


def pictured(text: str) -> Pictured:
    """Return which images are drawn."""
    if text.isdecimal():
        return int(text)
    if text not in ("all", "anomalous", "none"):
        raise argparse.ArgumentTypeError(f"{text} is not all, anomalous, none or a number")
    return cast("Pictured", text)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0, 2 for an error of the user, 130 for Ctrl-C."""
    return as_program(lambda: run(make_parser().parse_args(argv)))


def run(options: argparse.Namespace) -> int:
    """Predict, and print the number of anomalous images."""
    try:
        predict(options)
    except InputError as error:
        raise InputError(with_options(str(error))) from error
    return 0


def with_options(message: str) -> str:
    """Replace the fields in a message by options."""
    return FIELD.sub(lambda field: f"--{field[1].replace('_', '-')}", message)


def predict(options: argparse.Namespace) -> None:
    """Write the table and the pictures of all images."""
    from anomalib_flows.runtime import ExportedModel, frames  # says what to install where OpenVINO is missing

    goes_on = require_usable(options.output, resume=options.resume)
    rate, limit = options.false_alarm_rate, options.max_megapixels
    about = {"threshold": options.threshold, "false_alarm_rate": rate, "requests": options.requests}
    model = ExportedModel(options.model, options.device, max_megapixels=limit, **about)
    faults: list[InputError] = []

    def results(last: str) -> Iterator[ImageResult]:
        on_fault, after = faults.append if options.on_error == "skip" else None, str(Path(last)) if last else ""
        return with_names(model, frames(options.input, on_fault, limit, after))

    started = results("")
    if not goes_on:
        started = chain([first(started, faults)], started)  # an error before it leaves no folder behind
    with begun(options.output, recorded(options), COLUMNS, resume=goes_on) as progress:
        if not all_predicted(options.output):
            write(results(progress.last) if goes_on else started, progress, options)
        labels = Counter(row["label"] for row in read_rows(options.output / "predictions.csv"))
        progress.remove()
    for fault in faults:
        print(f"Left out: {fault}")
    print(f"Anomalous: {labels[LABELS[ANOMALOUS]]} of {labels.total()}. Table and pictures: {options.output}")


def first(results: Iterator[ImageResult], faults: list[InputError]) -> ImageResult:
    """Return the first result; raise an InputError if there is none."""
    for result in results:
        return result
    raise InputError(f"None of {len(faults)} images can be read. {faults[0]}")


def recorded(options: argparse.Namespace) -> dict[str, Any]:
    """Return what makes a prediction another one: model, images, and the options of what is decided and written."""
    from anomalib_flows.runtime.digest import identity
    from anomalib_flows.runtime.frames import is_video, listed

    path, names = Path(options.input), ("pictures", "threshold", "false_alarm_rate")
    if "://" in options.input and options.resume:
        raise InputError("`resume` needs photos or a video file: a stream does not begin again where it ended.")
    images = [] if "://" in options.input else [path] if is_video(path) else listed(path)
    digests = {"model": identity(options.model), "images": digest_of_images(images)}
    chosen = {"save": ",".join(options.save)} | {name: getattr(options, name) for name in names}
    return {"version": __version__, "thumbnails": False, **digests, **chosen, "about": {}}


def with_names(model: ExportedModel, images: Iterator[tuple[str, Pixels]]) -> Iterator[ImageResult]:
    """Yield the result of each image with its path."""
    ahead, named = tee(images)
    results = model.stream(pixels for _, pixels in ahead)
    for result, (name, _) in zip(results, named, strict=True):
        yield replace(result, sample=Sample(Path(name), "test"))


def picture_names(source: str) -> Callable[[ImageResult], Path]:
    """Return the function that names the pictures of an image, as ``predict`` names them."""
    from anomalib_flows.runtime.frames import is_video, listed

    path = Path(source)
    if "://" in source or is_video(path):
        return lambda result: Path(f"{path_of(result).name}.png")
    files = listed(path)
    base = path if path.is_dir() else common_root(files)
    names = dict(zip(files, unique_names([relative(file, base) for file in files], ".png"), strict=True))
    return lambda result: names[path_of(result)]


def path_of(result: ImageResult) -> Path:
    """Return the path of an image."""
    return result.sample.path if result.sample else Path()


def write(results: Iterator[ImageResult], progress: Progress, options: argparse.Namespace) -> None:
    """Write pictures and then the row of each image, and at the end the complete table."""
    name = picture_names(options.input)
    try:
        with drawing() as threads:
            pictures = PictureSink(threads, options.output, name, options.save, options.pictures)
            table = TableSink(partial(threads.after, progress.rows.append), labelled=False)
            for result in results:
                pictures.add(result)
                table.add(result)
        progress.finish()
    except BaseException:
        print(with_options(progress.kept))
        raise
