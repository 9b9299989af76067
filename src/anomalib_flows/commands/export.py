"""``anomalib-flows export``: the whole detector as one file, and proof that it decides as the trained one."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from anomalib_flows.commands.calibrated import open_calibrated
from anomalib_flows.data.base import Dataset
from anomalib_flows.data.splits import read_splits
from anomalib_flows.deployment.export import Exported, Format, Taken, write_openvino, write_program
from anomalib_flows.deployment.information import Precision, make_card
from anomalib_flows.deployment.judging import by_pipeline
from anomalib_flows.deployment.network import InputOptions, Network
from anomalib_flows.deployment.parity import BOUNDS, Judge, compare, summarise
from anomalib_flows.deployment.quantization import QuantizationOptions
from anomalib_flows.files import fresh_folder
from anomalib_flows.images import image_files
from anomalib_flows.run import Run
from anomalib_flows.runtime.card import Interface
from anomalib_flows.types import InputError, Sample

SUFFIXES: dict[Format, str] = {"openvino": ".xml", "onnx": ".onnx", "torch": ".pt2"}


def export(
    run: Path,
    data: Dataset,
    format: Format = "openvino",
    precision: Precision | None = None,
    interface: Interface = "native",
    layout: Literal["folder", "ovms"] = "folder",
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
        layout: ``folder`` writes model.xml and model.bin; ``ovms`` a model repository of OpenVINO Model Server.
        output: New folder; by default RUN/export/FORMAT-PRECISION.
        images: What to compare on: the run's ``calibration`` or ``test`` images, or a folder of images.
        input: What the file takes.
        int8: How weights and activations become INT8.

    Raises:
        InputError: If the run is none or not calibrated, an option is of no use, or the file decides otherwise than
            it may.
    """
    opened = Run.open(run)
    pipeline = open_calibrated(opened)
    require_plain(interface, input, pad=pipeline.preprocess.mode == "pad")
    chosen = choose(format, precision, interface)
    target = output or opened.path / "export" / "-".join(
        [format, chosen, *([interface] if interface != "native" else [])]
    )
    if target.exists():
        raise InputError(f"--output {target} is there already and stays: name another folder.")
    samples = compared_on(opened, images)
    network = Network(pipeline, input, unit_floats=interface == "anomalib")
    with fresh_folder(target, replace=False) as folder:
        file = (folder / "model" / "1" if layout == "ovms" else folder) / f"model{SUFFIXES[format]}"
        file.parent.mkdir(parents=True, exist_ok=True)
        if format == "openvino":
            card = partial(make_card, opened, data, pipeline, interface, chosen, input)
            used = (
                taken(opened, int8) if chosen == "int8" else Taken(training=[], calibration=[], validation=[], rate=0.5)
            )
            written = write_openvino(network, pipeline.postprocess, card, file, used, int8)
        else:
            written = write_program(network, pipeline.postprocess, file, format)
        report = make_report(by_pipeline(pipeline, network), written, samples, images, BOUNDS.get(chosen))
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


def compared_on(run: Run, images: str) -> list[Sample]:
    """List the images to compare on.

    Raises:
        InputError: If there are none.
    """
    if images in ("calibration", "test"):
        found = [s for s in read_splits(run.splits_file) if s.split == images and s.path.is_file()]
        if not found:
            raise InputError(f"The {images} images of {run.path} are not there: name a folder of images with --images.")
        return found
    found = [Sample(path, "test") for path in image_files(Path(images), recursive=True)]
    if not found:
        raise InputError(f"--images {images} holds no images: name a folder of images, 'calibration' or 'test'.")
    return found


def taken(run: Run, options: QuantizationOptions) -> Taken:
    """List the images that INT8 takes: some that were trained on, chosen by the run's seed, and all held-out ones."""
    samples = [s for s in read_splits(run.splits_file) if s.path.is_file()]
    training, calibration, validation = (
        [s for s in samples if s.split == split] for split in ("train", "calibration", "validation")
    )
    config = run.config()
    chosen = random.Random(config["seed"]).sample(training, min(options.images, len(training)))  # noqa: S311
    both = {s.label for s in validation} == {0, 1}
    return Taken(
        training=chosen,
        calibration=calibration,
        validation=validation if both else [],
        rate=config["false_alarm_rate"],
    )


def make_report(
    trained: Judge, written: Exported, samples: Sequence[Sample], images: str, bounds: Mapping[str, float] | None
) -> dict[str, Any]:
    """Compare an export with the trained model, in the precision that it is for and in that the device would choose."""
    compared = {
        precision: summarise(answers, samples, None if number else bounds)
        for number, (precision, answers) in enumerate(compare(trained, written.judges, samples).items())
    }
    return {
        "images": {"what": images, "count": len(samples)},
        "converted_in_seconds": round(written.seconds, 2),
        "bytes": written.sizes,
        "quantization": written.quantization,
        "computed_in": compared,
    }


def refuse_another(report: dict[str, Any], precision: Precision) -> None:
    """Refuse a file that decides otherwise than one of its precision may.

    Raises:
        InputError: If it does.
    """
    first = next(iter(report["computed_in"].values()))
    if not first.get("within", True):
        bounds = " and ".join(f"{what}s by {bound:g}" for what, bound in first["bounds"].items())
        raise InputError(
            f"The exported model differs from the trained one by up to {first['score']['largest']:.2g} in scores and "
            f"{first['map']['largest']:.2g} in maps ({len(first['flipped'])} labels differ), and {precision} may in "
            f"{bounds}: nothing was written; please report this with the run's config.yaml."
        )


def print_report(report: dict[str, Any], file: Path) -> None:
    """Say how the exported model compares."""
    row = "{:12} {:>24} {:>24} {:>13} {:>14} {:>15} {:>13}".format
    print(row("computed in", "score differs by", "map differs by", "equal masks", "labels differ", "AUROC", "ms"))
    for precision, of in report["computed_in"].items():
        differs = [f"{of[what]['largest']:.1e}, mean {of[what]['mean']:.1e}" for what in ("score", "map")]
        masks = f"{100 * of['mask']['equal_pixels']:.4g} %"
        before, after = of["image_auroc"].values()
        ranked = "-" if before is None else f"{before:.4f} {after:.4f}"
        times = " ".join(f"{ms:.1f}" for ms in of["milliseconds"].values())
        print(row(precision, *differs, masks, len(of["flipped"]) or "none", ranked, times))
    first, count = next(iter(report["computed_in"].values())), report["images"]["count"]
    print(f"Compared on images, {count} in number ({report['images']['what']}); AUROC and ms: trained, exported.")
    if first["flipped"] and "bounds" in first:
        print(f"Where the first line's labels differ, the score is the threshold, to {first['bounds']['score']:g}.")
    if parts := ", ".join(f"{part} {size / 1e6:.1f}" for part, size in report["bytes"].items() if size > 1e4):
        print(f"Megabytes: {parts}.")
    print(f"model        {file}")
