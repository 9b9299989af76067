"""``anomalib-flows export``: the whole detector as one file, and proof that it decides as the trained one."""

from __future__ import annotations

import json
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Literal

from anomalib_flows.commands.calibrated import open_calibrated
from anomalib_flows.commands.export_images import find_images, warn_of_sizes
from anomalib_flows.commands.export_report import make_report, print_report, refuse_another
from anomalib_flows.core.errors import InputError
from anomalib_flows.core.files import fresh_folder
from anomalib_flows.core.types import Interface, Precision
from anomalib_flows.data.datasets.base import Dataset
from anomalib_flows.export.exported import Format
from anomalib_flows.export.judging import by_pipeline
from anomalib_flows.export.network import InputOptions, Network
from anomalib_flows.export.options import QuantizationOptions
from anomalib_flows.export.parity import BOUNDS
from anomalib_flows.export.programs import write_program
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.run.directory import Run

Layout = Literal["folder", "ovms"]
SUFFIXES: dict[Format, str] = {"openvino": ".xml", "onnx": ".onnx", "torch": ".pt2"}


def export(
    run: Path,
    data: Dataset,
    format: Format = "openvino",
    precision: Precision | None = None,
    interface: Interface = "native",
    layout: Layout = "folder",
    output: Path | None = None,
    images: str = "calibration",
    input: InputOptions = InputOptions(),  # noqa: B008 (frozen)
    int8: QuantizationOptions = QuantizationOptions(),  # noqa: B008 (frozen)
) -> Path:
    """Write a trained detector as one file, and compare what it says with what the trained one says.

    Args:
        run: Run directory that 'train' wrote.
        data: The run's dataset; only what it is called is used.
        format: ``openvino`` for Intel CPUs, GPUs and NPUs; ``onnx``; or ``torch``, a program of torch.export.
        precision: Of the weights: fp32, fp16 or int8; by default fp16 for openvino, and fp32 for the others, which
            have no other.
        interface: Who reads it: ``native`` our runtime; ``model-api`` OpenVINO Model API in Python, and
            ``model-api-map`` its C++ side, which takes a raw map only; ``anomalib`` its OpenVINOInferencer.
        layout: ``folder`` writes model.xml and model.bin; ``ovms`` a model repository of OpenVINO Model Server, with
            openvino or onnx.
        output: New folder; by default RUN/export/FORMAT-PRECISION.
        images: What to compare on: the run's ``calibration`` or ``test`` images, or a folder of images.
        input: What the file takes.
        int8: How weights and activations become INT8.

    Raises:
        InputError: If the run is none or not calibrated, an option is of no use, or the file decides otherwise than
            it may.
    """
    chosen = choose(format, precision, interface)
    require_use(format, chosen, layout, int8)
    require_openvino(format)
    opened = Run.open(run)
    pipeline = open_calibrated(opened)
    require_plain(interface, input, pad=pipeline.preprocess.mode == "pad")
    if chosen == "int8":
        require_held_out(opened, pipeline)
    target = output or opened.path / "export" / "-".join(
        [format, chosen, *([interface] if interface != "native" else [])]
    )
    if target.exists():
        raise InputError(f"--output {target} is there already and stays: name another folder.")
    compared, available = find_images(opened, images, int8 if chosen == "int8" else None)
    warn_of_sizes([*compared, *available], input.fixed_size)
    network = Network(pipeline, input, unit_floats=interface == "anomalib")
    with fresh_folder(target, replace=False) as folder:
        file = (folder / "model" / "1" if layout == "ovms" else folder) / f"model{SUFFIXES[format]}"
        file.parent.mkdir(parents=True, exist_ok=True)
        if format == "openvino":  # an optional extra
            from anomalib_flows.export.openvino.information import make_card
            from anomalib_flows.export.openvino.int8 import choose_images
            from anomalib_flows.export.openvino.write import write_openvino

            card = partial(make_card, opened, data, pipeline, interface, chosen, input)
            chosen_images = choose_images(available, int8, opened.config()) if chosen == "int8" else None
            written = write_openvino(network, pipeline.postprocess, card, file, chosen_images, int8)
        else:
            written = write_program(network, pipeline.postprocess, file, format)
        report = make_report(by_pipeline(pipeline, network), written, compared, images, BOUNDS.get(chosen))
        (folder / "parity.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        refuse_another(report, chosen)
    print_report(report, target / file.relative_to(folder))
    return target


def require_plain(interface: Interface, options: InputOptions, *, pad: bool) -> None:
    """Refuse inputs that the reader of an interface would not give.

    Raises:
        InputError: If another program than our runtime is to read the file, and it takes what that does not have; or
            if padding would be decided on.
    """
    if not options.preprocessing and pad:
        raise InputError(
            "--input.preprocessing false cannot be had of a run with --data.resize pad: nobody hides padding."
        )
    if interface != "native" and pad:
        raise InputError(
            f"--interface {interface} cannot be had of a run with --data.resize pad: its reader would stretch the "
            "padding over the photo; leave it out, or train with --data.resize stretch."
        )
    plain = (options.layout, options.channels, options.batch, options.preprocessing) == ("NHWC", "RGB", 1, True)
    if interface != "native" and not plain:
        raise InputError(f"--interface {interface} says what goes in: of --input leave out all but the size.")


def choose(format: Format, precision: Precision | None, interface: Interface) -> Precision:
    """Choose the precision that was not given, and refuse what does not go together.

    Raises:
        InputError: If ONNX or torch is asked for another precision or interface than they have.
    """
    if format == "openvino":
        return precision or "fp16"
    if precision not in (None, "fp32"):
        raise InputError(
            f"--precision {precision} cannot be had with --format {format}: leave it out, or take openvino."
        )
    if interface != "native":
        raise InputError(f"--interface {interface} cannot be had with --format {format}: it is OpenVINO's.")
    return "fp32"


def require_use(format: Format, precision: Precision, layout: Layout, int8: QuantizationOptions) -> None:
    """Refuse options that would do nothing.

    Raises:
        InputError: If there are options of INT8 for another precision, or a repository of what nobody serves.
    """
    default = QuantizationOptions()
    given = [f"--int8.{f.name}" for f in fields(int8) if getattr(int8, f.name) != getattr(default, f.name)]
    if given and precision != "int8":
        raise InputError(
            f"{' and '.join(given)} would do nothing to {precision}: add --precision int8, or leave it out."
        )
    if layout == "ovms" and format == "torch":
        raise InputError("--layout ovms cannot be had with --format torch: Model Server reads openvino and onnx.")


def require_openvino(format: Format) -> None:
    """Refuse formats that OpenVINO writes, or reads to compare, if it is not there.

    Raises:
        InputError: If it is not.
    """
    if format != "torch":
        try:
            import openvino  # noqa: F401 (an optional extra)
        except ImportError as error:
            raise InputError(
                f"--format {format} takes the module openvino: run pip install 'anomalib-flows[{format}]'."
            ) from error


def require_held_out(run: Run, pipeline: Pipeline) -> None:
    """Refuse INT8 of a run that was calibrated on test images, for INT8 gets thresholds of its own.

    Raises:
        InputError: If it was.
    """
    if pipeline.protocol == "paper":
        raise InputError(
            f"--precision int8 sets thresholds anew on images that were held out, and those of {run.path} were chosen "
            f"on its test images (--protocol paper): run 'anomalib-flows calibrate {run.path} --images DIR' first."
        )
