"""The runs below a folder, as far as their files can be read: damaged and unfinished ones are said to be so."""

from __future__ import annotations

import json
import math
import os
import struct
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from anomalib_flows.core.commit import complete
from anomalib_flows.core.conformal import promised_rate
from anomalib_flows.core.errors import InputError
from anomalib_flows.core.finding import OWN
from anomalib_flows.core.parsing import parse_json, parse_yaml, read_text
from anomalib_flows.run.directory import Run
from anomalib_flows.run.metrics import LARGEST_METRICS

LARGEST_HEADER = 10**8


@dataclass(frozen=True)
class ModelFacts:
    """What a model file says without its weights: thresholds, and what they promise.

    Args:
        threshold: Image threshold; NaN before calibration.
        calibration_images: Number of images whose scores the model keeps.
        protocol: Protocol of the constants and thresholds.
        source: What set the image threshold.
    """

    threshold: float
    calibration_images: int
    protocol: Any
    source: Any


@dataclass(frozen=True)
class ListedRun:
    """A run, as far as it can be read.

    Args:
        path: The run directory.
        config: Its configuration in plain types; empty if it is damaged.
        metrics: Metrics of its test; empty if it was not tested, or they are damaged.
        facts: What its model says; None without a model, or if it is damaged.
        note: What is wrong with it or missing; empty for a run that is complete.
        made: Seconds since 1970 at which it was made.
        size: Bytes of all its files.
    """

    path: Path
    config: Mapping[str, Any]
    metrics: Mapping[str, Any]
    facts: ModelFacts | None
    note: str
    made: float
    size: int

    @property
    def promised_rate(self) -> float | None:
        """The rate of false alarms that the threshold of the test promises, or else that of the model."""
        if "promised_false_alarm_rate" in self.metrics:
            promised = self.metrics["promised_false_alarm_rate"]
            return promised if isinstance(promised, float) else None
        asked, facts = self.config.get("false_alarm_rate"), self.facts
        if facts is None or math.isnan(facts.threshold) or not isinstance(asked, float):
            return None
        return promised_rate(facts.calibration_images, asked, facts.protocol, facts.source)


def found(values: Any, *keys: str) -> Any:
    """Return the value at a path of keys; None if there is none."""
    for key in keys:
        values = values.get(key) if isinstance(values, Mapping) else None
    return values


def list_runs(folder: Path) -> list[ListedRun]:
    """List the runs below a folder, which may be a run itself.

    Raises:
        InputError: If there is no such folder.
    """
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}: name one that holds runs.")
    return [read_run(path) for path in find_runs(folder)]


def warn_of_closed(error: OSError) -> None:
    """Warn of a folder whose names cannot be read."""
    if not isinstance(error, FileNotFoundError):  # another process may delete it meanwhile
        warnings.warn(f"{error.filename} cannot be read ({error.strerror}): left out.", UserWarning, stacklevel=2)


def find_runs(folder: Path) -> list[Path]:
    """Return the run directories, in the order of their names; those within a run are parts of it."""
    runs = []
    for parent, folders, files in os.walk(folder, onerror=warn_of_closed):
        if "results.csv" in files and "splits.csv" not in files:
            continue  # a table of runs, with their configuration
        if "config.yaml" in files or "versions.json" in files:
            runs.append(Path(parent))
        if runs[-1:] == [Path(parent)] or OWN in files:  # folders of pictures may be large
            folders.clear()
        folders[:] = [name for name in folders if not name.startswith(".")]
    return sorted(runs)


def newest_run(folder: Path) -> Path | None:
    """Return the run below a folder whose model with thresholds was written last; None if there is none."""
    written = [
        run for path in (find_runs(folder) if folder.is_dir() else ()) if (run := Run(path)).model_file.is_file()
    ]
    for run in sorted(written, key=lambda run: run.model_file.stat().st_mtime, reverse=True):
        with suppress(OSError, InputError):
            if not math.isnan(model_facts(run.model_file).threshold):
                return run.path
    return None


def read_run(path: Path) -> ListedRun:
    """Read what is there of a run."""
    run, notes = Run(path), []
    with suppress(OSError):  # of a run that cannot be written to
        complete(path)
    config = mapping(run.config_file, partial(parse_yaml, quick=True)) or mapping(run.config_file, parse_yaml)
    if not isinstance(found(config, "model", "class_path"), str):
        config = None
        notes.append("damaged: config.yaml" if run.config_file.is_file() else "not begun: no config.yaml")
    metrics = mapping(run.metrics_file, parse_json)
    if metrics is None and run.metrics_file.exists():
        notes.append("damaged: metrics.json")
    try:
        facts = model_facts(run.model_file)
    except FileNotFoundError:
        facts = None
    except (OSError, InputError):
        facts = None
        notes.append("damaged: model.safetensors")
    note = "; ".join(notes) or missing_note(run, metrics, facts)
    return ListedRun(path, config or {}, metrics or {}, facts, note, made(run), size_of(path))


def mapping(file: Path, parse: Callable[[str], Any]) -> dict[str, Any] | None:
    """Parse a file; None if that fails, or it is no mapping."""
    try:
        content = parse(read_text(file, "The file", LARGEST_METRICS))
    except ValueError:  # as an InputError is one
        return None
    return content if isinstance(content, dict) else None


def missing_note(run: Run, metrics: Mapping[str, Any] | None, facts: ModelFacts | None) -> str:
    """Return what an undamaged run lacks."""
    if facts is None:
        return "unfinished: no model yet"
    if math.isnan(facts.threshold):
        return "unfinished: resume or calibrate" if run.resume_file.exists() else "no thresholds: calibrate"
    if metrics is None:
        return "not tested"
    return "" if found(metrics, "image", "threshold") == facts.threshold else "other threshold than tested"


def model_facts(file: Path) -> ModelFacts:
    """Read the header and the threshold of a model; weights are not read.

    Raises:
        InputError: If the file is damaged, or no model.
        OSError: If there is no such file, or it cannot be read.
    """
    try:
        return read_facts(file)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, struct.error) as error:
        raise InputError(f"The model {file} is damaged: train again, or restore it from a copy.") from error


def read_facts(file: Path) -> ModelFacts:
    """Read what :func:`model_facts` says; foreign content raises errors of many kinds."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > LARGEST_HEADER:
            raise ValueError("no safetensors")
        header = json.loads(stream.read(length))
        described = json.loads(header.pop("__metadata__")["anomalib_flows"])
        end = max(tensor["data_offsets"][1] for tensor in header.values())
        if os.fstat(stream.fileno()).st_size != 8 + length + end:
            raise ValueError("truncated")
        stream.seek(8 + length + header["postprocess.image_threshold"]["data_offsets"][0])
        (threshold,) = struct.unpack("<f", stream.read(4))
    count = int(header["postprocess.calibration_scores"]["shape"][0])
    source = described.get("threshold_source", "false-alarm-rate")
    return ModelFacts(threshold, count, described.get("protocol", "calibrated"), source)


def made(run: Run) -> float:
    """Return when a run was made: its versions are written first, and never again."""
    for path in (run.path / "versions.json", run.path):
        with suppress(OSError):  # another process may delete it meanwhile
            return path.stat().st_mtime
    return 0.0


def size_of(folder: Path) -> int:
    """Return the bytes of all files in a folder."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.lstat(Path(parent, name)).st_size
    return total
