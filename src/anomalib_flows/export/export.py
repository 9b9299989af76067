"""Export a run: write a file, compare it with the trained model, and keep it if the decisions are the same."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.files import disk_errors, fresh_folder
from anomalib_flows.core.outputs import require_place
from anomalib_flows.core.types import Sample
from anomalib_flows.export.exporter import Exported, Exporter, ExportJob, ExportReport
from anomalib_flows.export.formats import exporter
from anomalib_flows.export.images import select_images
from anomalib_flows.export.network import Network
from anomalib_flows.export.options import ExportOptions
from anomalib_flows.export.parity import BOUNDS, compare, summarise
from anomalib_flows.export.predictors import pipeline_predictor
from anomalib_flows.models.checkpoint import load_calibrated
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.models.postprocess import Postprocess
from anomalib_flows.run.directory import Run

DEFAULTS = ExportOptions()


def export(run: Path, options: ExportOptions = DEFAULTS, *, trust: bool = False) -> ExportReport:
    """Write a trained detector as one file, and compare its results with those of the trained detector.

    Args:
        run: Run directory.
        options: What to write, and which images to compare on.
        trust: Whether to import a class that the run names and no installed package registers.

    Raises:
        InputError: If the run is invalid or not calibrated, options are invalid or do not fit together, or the results
            of the file differ too much. Then nothing is written.
    """
    writer = exporter(options.format)
    options = replace(options, precision=options.precision or writer.precisions[0])
    require_offered(writer, options)
    require_installed(writer, options)
    opened = Run.open(run, trust=trust)
    target = options.output or opened.path / "export" / options.folder_name
    require_place("output", target)
    if target.exists():
        raise InputError(f"{target} exists already: choose another folder as `output`.")
    job, compared = prepare_job(opened, options)
    with fresh_folder(target) as folder:
        file = (folder / "model" / "1" if options.layout == "ovms" else folder) / f"model{writer.suffix}"
        file.parent.mkdir(parents=True, exist_ok=True)
        with disk_errors(file.parent):
            written = writer.write(job, file)
        report = compare_file(job, written, compared, target / file.relative_to(folder))
        (folder / "parity.json").write_text(json.dumps(report.to_dict(), indent=2) + "\n", encoding="utf-8")
        report.require_parity(options.precision)
    return report


def prepare_job(run: Run, options: ExportOptions) -> tuple[ExportJob, list[Sample]]:
    """Read the pipeline of a run, check that it can be exported, and select the images to compare on."""
    pipeline = load_calibrated(run)
    require_suitable(pipeline, options)
    if options.precision == "int8" and pipeline.protocol == "paper":
        raise InputError(
            "`precision` int8 needs held-out images to set its thresholds, but those of this run were set on test "
            f"images (`protocol` paper): calibrate {run.path} on normal images first."
        )
    compared, available = select_images(run, options)
    unit_floats, shown_only = options.interface == "anomalib", options.interface == "model-api-map"
    if shown_only:
        pipeline.postprocess = by_highest_pixel(pipeline.postprocess)
    network = Network(pipeline, options.input, unit_floats=unit_floats, shown_only=shown_only)
    job = ExportJob(
        run=run, config=run.config(), pipeline=pipeline, network=network, options=options, samples=available
    )
    return job, compared


def by_highest_pixel(postprocess: Postprocess) -> Postprocess:
    """Return the decisions of a reader that scores an image by the highest pixel of the shown map."""
    other = copy.deepcopy(postprocess)
    other.top_percent, other.image_threshold = 0.0, other.pixel_threshold
    other.calibration_scores = other.calibration_maxima
    return other


def compare_file(job: ExportJob, written: Exported, samples: list[Sample], file: Path) -> ExportReport:
    """Compare a file with the trained pipeline, in the intended inference precision and in the device's default."""
    trained = pipeline_predictor(job.pipeline, job.network)
    batch = max(1, job.options.input.batch)
    compared = compare(trained, written.predictors, samples, batch, job.max_megapixels)
    bounds = BOUNDS.get(str(job.options.precision))
    computed_in = {
        name: summarise(of_images, samples, None if number else bounds)
        for number, (name, of_images) in enumerate(compared.items())
    }
    return ExportReport(
        file=file,
        images=job.options.images,
        count=len(samples),
        seconds=written.seconds,
        sizes=written.sizes,
        quantization=written.quantization,
        computed_in=computed_in,
    )


def require_offered(writer: Exporter, options: ExportOptions) -> None:
    """Raise an InputError if a format does not offer an option, or an option would have no effect."""
    offers = {"precision": writer.precisions, "interface": writer.interfaces, "layout": writer.layouts}
    for name, offered in offers.items():
        value = getattr(options, name)
        if value not in offered:
            raise InputError(
                f"`{name}` {value} is not available with `format` {options.format}, which offers {', '.join(offered)}."
            )
    options.require_used()


def require_installed(writer: Exporter, options: ExportOptions) -> None:
    """Raise an InputError if a module that a format needs is not installed."""
    for module in writer.modules:
        if not find_spec(module):
            install = f"run pip install {' '.join(writer.modules)}"
            raise InputError(f"`format` {options.format} needs the module {module}: {install}.")


def require_suitable(pipeline: Pipeline, options: ExportOptions) -> None:
    """Raise an InputError if padding would be scored, or another program would read the file wrongly."""
    padded, native = pipeline.preprocess.mode == "pad", options.interface == "native"
    if padded and not options.input.preprocessing:
        raise InputError(
            "`input.preprocessing` false is not available for a run with `image.resize` pad: padding would be scored."
        )
    if padded and not native:
        raise InputError(
            f"`interface` {options.interface} is not available for a run with `image.resize` pad: other programs "
            "stretch maps over the whole photo, padding included. Leave it out, or train with `image.resize` stretch."
        )
    if not native and not options.input.plain:
        raise InputError(f"`interface` {options.interface} defines the input: of `input`, set the size only.")
