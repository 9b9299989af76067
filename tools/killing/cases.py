"""The commands that are killed: what they begin with, and by what their results are known."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import shutil
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from anomalib_flows.run.directory import Run

Arguments = Sequence[str]
TIMES = {"converted_in_seconds", "milliseconds"}


class Case(NamedTuple):
    """A command that is killed in a copy of a folder, ``place``.

    Args:
        name: Name of the case.
        arguments: Command line, below ``place``.
        again: Command line after a kill: the same, or one that resumes.
        figures: What a complete command leaves, without times; equal after each repetition.
        together: Files that belong together: after a kill all are as before, or all are as afterwards.
        may_refuse: Words of an error that the repetition may end with, if everything was done before the kill.
    """

    name: str
    arguments: Callable[[Path], Arguments]
    figures: Callable[[Path], Any]
    again: Callable[[Path], Arguments] | None = None
    together: Callable[[Path], Any] | None = None
    may_refuse: str = ""


def run_of(place: Path) -> Path:
    """Return the run that commands work on."""
    return place / "runs" / "fastflow" / "mvtec" / "stripes" / "run-001"


def digest(file: Path) -> str:
    """Return a digest of a file; empty text if there is none."""
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""


def facts(file: Path) -> Any:
    """Return the values of a JSON file without durations; None if there is no file."""

    def without_times(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: without_times(inner) for key, inner in value.items() if key not in TIMES}
        return value

    return without_times(json.loads(file.read_text())) if file.is_file() else None


def results(run: Path) -> dict[str, Any]:
    """Return the results of a test: metrics, curves, table, names of figures, and the report without its time."""
    report = run / "report.html"
    page = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d", "", report.read_text()) if report.is_file() else ""
    return measured(run) | {"report": hashlib.sha256(page.encode()).hexdigest() if page else ""}


def measured(run: Path) -> dict[str, Any]:
    """Return the results of a test without the report, which is made from them."""
    names = ("metrics.json", "curves.json", "predictions.csv", "thumbnails.jsonl", "prediction.json")
    images = sorted(str(file.relative_to(run)) for file in (run / "images").rglob("*.jpg"))
    return {name: digest(run / name) for name in names} | {"images": images}


def model(run: Path) -> dict[str, str]:
    """Return what a calibration replaces."""
    return {name: digest(run / name) for name in ("model.safetensors", "config.yaml", "splits.csv")}


def trained(place: Path) -> dict[str, Any]:
    """Return the figures of a training; its configuration and files of losses are part of them."""
    run = place / "results" / "fastflow" / "mvtec" / "stripes" / "run-001"
    drawn = {name: digest(run / "validation" / name) for name in ("metrics.json", "predictions.csv")}
    return results(run) | model(run) | drawn | {"losses": digest(run / "losses.csv")}


def exported(folder: Path) -> dict[str, Any]:
    """Return the names of an export's files, and how it differs from the trained model."""
    names = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
    return {"files": names, "parity": facts(folder / "parity.json")}


def prepared(root: Path) -> dict[str, str]:
    """Return the digests of the files of a dataset."""
    return {str(file.relative_to(root)): digest(file) for file in sorted(root.rglob("*")) if file.is_file()}


def xml(place: Path) -> Path:
    """Return the exported model that predicts."""
    return place / "model" / "model.xml"


def rows(place: Path) -> dict[str, Any]:
    """Return the rows and the pictures of a prediction."""
    folder = place / "predicted"
    with (folder / "predictions.csv").open(newline="") as stream:
        table = sorted(csv.reader(stream))
    pictures = {str(file.relative_to(folder)): digest(file) for file in sorted(folder.rglob("*.png"))}
    return {"rows": table, "pictures": pictures}


def unfinished_run(output: Path) -> Path | None:
    """Return the run that a killed training left, if it left one."""
    found = sorted(output.glob("*/*/*/run-*/config.yaml"))
    return found[0].parent if found else None


def train_again(place: Path, options: Arguments) -> Arguments:
    """Resume a training, or begin it if there is no run yet."""
    run = unfinished_run(place / "results")
    return ["train", "--resume", str(run)] if run else train(place, options)


def train(place: Path, options: Arguments) -> Arguments:
    """Return the command line of a training."""
    # A kill leaves a cache half filled: then the rest is encoded in other batches, and the last digits differ.
    more = ["--split.validation_fraction=0.3", "--trainer.cache=none"]
    return ["train", *options, f"--output={place / 'results'}", *more]


def archive(file: Path, categories: Sequence[str], images: int) -> None:
    """Write an archive in the layout of MVTec AD."""
    with tarfile.open(file, "w:gz") as packed:
        for category in categories:
            for part in ("train/good", "test/good"):
                for number in range(images):
                    stream = io.BytesIO()
                    Image.effect_noise((48, 48), 60).save(stream, "PNG")
                    info = tarfile.TarInfo(f"{category}/{part}/{number:03}.png")
                    info.size = stream.tell()
                    stream.seek(0)
                    packed.addfile(info, stream)


def cases(options: Arguments) -> list[Case]:
    """Return all cases; ``options`` are those of a quick training."""
    return [
        Case("train", lambda p: train(p, options), trained, lambda p: train_again(p, options)),
        Case("test", lambda p: ["test", str(run_of(p))], lambda p: results(run_of(p)), None, tested),
        Case("calibrate", calibrate, lambda p: model(run_of(p)), None, lambda p: model(run_of(p))),
        Case("report", lambda p: ["report", str(run_of(p))], lambda p: results(run_of(p)), None, tested),
        Case("export", export("openvino"), lambda p: exported(p / "exported"), None, None, "exists already"),
        Case("export torch", export("torch"), lambda p: exported(p / "exported"), None, None, "exists already"),
        Case("prepare", prepare("new"), lambda p: prepared(p / "new"), None, None, "exists already"),
        Case("prepare more", prepare("known"), lambda p: prepared(p / "known"), None, None, "exists already"),
        Case("cache clear", lambda _: ["cache", "clear"], lambda p: prepared(p / "cache")),
        Case("cache", cached(options), kept),
        Case("predict", predict(run_of), rows, predict(run_of, "--resume"), None, "already holds predictions"),
        Case("predict exported", predict(xml), rows, predict(xml, "--resume"), None, "already holds predictions"),
    ]


def tested(place: Path) -> dict[str, Any]:
    """Return what belongs together in a test."""
    return measured(run_of(place))


def calibrate(place: Path) -> Arguments:
    """Return the command line of a calibration with new images, which changes all files of a calibration."""
    return ["calibrate", str(run_of(place)), f"--images={place / 'photos'}", "--false-alarm-rate=0.2"]


def export(format_: str) -> Callable[[Path], Arguments]:
    """Return the command line of an export."""
    return lambda p: ["export", str(run_of(p)), f"--format={format_}", f"--output={p / 'exported'}"]


def prepare(root: str) -> Callable[[Path], Arguments]:
    """Return the command line that prepares a dataset."""
    return lambda p: ["data", "prepare", "mvtec", f"--root={p / root}", f"--archive={p / 'mvtec.tar.gz'}"]


def cached(options: Arguments) -> Callable[[Path], Arguments]:
    """Return the command line of a training that keeps resized images and features on disk, or goes on with it."""

    def command(place: Path) -> Arguments:
        if run := unfinished_run(place / "cached"):
            return ["train", "--resume", str(run)]
        return ["train", *options, f"--output={place / 'cached'}", "--loader.cache=disk"]

    return command


def kept(place: Path) -> dict[str, Any]:
    """Return what is kept, except for facts, and figures of the last training without their last digits."""
    (run,) = (place / "cached").glob("*/*/*/run-*")
    names = sorted(file.name for file in (place / "cache").rglob("*.item") if file.name != "facts.item")
    image = facts(run / "metrics.json")["image"]
    return {"auroc": image["auroc"], "threshold": f"{image['threshold']:.3f}", "cache": names}


def predict(model_of: Callable[[Path], Path], *more: str) -> Callable[[Path], Arguments]:
    """Return the command line of a prediction."""
    return lambda p: ["predict", str(model_of(p)), f"--input={p / 'photos'}", f"--output={p / 'predicted'}", *more]


def copy(source: Path, place: Path) -> None:
    """Replace a folder by a copy of another one."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(source, place, symlinks=True)


def complete_run(place: Path) -> None:
    """Let the next command's reading come first: it completes what a killed process had decided."""
    if run_of(place).is_dir():
        Run.open(run_of(place))
