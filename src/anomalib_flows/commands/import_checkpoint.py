"""``anomalib-flows import-checkpoint``: a detector that was trained with another code base."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from anomalib_flows.core.errors import InputError, require
from anomalib_flows.core.files import fresh_folder
from anomalib_flows.core.types import ImageSize
from anomalib_flows.data.datasets.base import Dataset, parse_size
from anomalib_flows.data.splits.splits import write_splits
from anomalib_flows.encoders.encoder import Triple
from anomalib_flows.importing import inert
from anomalib_flows.importing.assemble import assemble
from anomalib_flows.importing.sources import Source, read
from anomalib_flows.models import checkpoint
from anomalib_flows.models.base import Detector
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.run.directory import Run, versions
from anomalib_flows.run.options import HeatmapOptions

FALSE_ALARM_RATE = 0.01


def import_checkpoint(
    file: Path,
    from_: Source,
    output: Path,
    data: Dataset | None = None,
    backbone: str | None = None,
    image_size: int | str | None = None,
    clamp: float | None = None,
    mean: Triple | None = None,
    std: Triple | None = None,
) -> Run:
    """Make a run of a FastFlow or CFLOW that was trained with another code base; no code in its file is run.

    What is not given is read from the file, or else is what the code base does by default. The run has no
    thresholds yet: 'calibrate' sets them from normal images.

    Args:
        file: Checkpoint that the other code base wrote.
        from_: The code base: anomalib (anomalib 2), gathierry (gathierry/FastFlow), cflow-ad (gudovskiy/cflow-ad).
        output: New run directory.
        data: Dataset that the model was trained on, to be tested with 'test'; its options follow as --data.OPTION.
        backbone: Name of the encoder in timm.
        image_size: Height and width that images are resized to, 256 or "256,320".
        clamp: Bound of a coupling's log-scale.
        mean: Mean of each channel for the normalisation, in [0, 1].
        std: Standard deviation of each channel, likewise.

    Raises:
        InputError: If the file is damaged, foreign or of another code base, something must be given that it does
            not tell, or OUTPUT is not empty.
    """
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise InputError(f"--output {output} is there already: name a new folder.")
    require(clamp is None or clamp > 0, "--clamp", clamp, "above 0")
    require(std is None or min(std) > 0, "--std", std, "above 0")
    given = {key: value for key, value in {"clamp": clamp, "mean": mean, "std": std}.items() if value is not None}
    with inert.opened(file) as opened:
        detector = assemble(read(opened, from_, backbone), size_of(image_size), given)
    run = write(detector, data, output, {"from": from_, "file": str(file.absolute())})
    report(detector, run)
    return run


def size_of(image_size: int | str | None) -> ImageSize | None:
    """Read the image size, if it was given."""
    try:
        return None if image_size is None else parse_size(image_size)
    except InputError as error:
        raise InputError(str(error).replace("--data.image_size", "--image-size")) from error


def write(detector: Detector, data: Dataset | None, output: Path, source: dict[str, str]) -> Run:
    """Write a run directory as a whole."""
    # Lightning is slow to import, and a dataset that is imported is listed in --help.
    from anomalib_flows.experiment.train import describe
    from anomalib_flows.importing.dataset import NoDataset
    from anomalib_flows.run.options import TrainerOptions

    samples = data.samples() if data else []
    recorded = replace(data or NoDataset(), image_size=detector.image_size)
    pipeline = Pipeline(detector, recorded.resize, HeatmapOptions(top_percent=0))  # as the other code bases score
    config = describe(pipeline, recorded, TrainerOptions(), FALSE_ALARM_RATE, 0, output.absolute().parent)
    with fresh_folder(output.absolute()) as temporary:
        run = Run(temporary)
        run.write_config(config)
        write_splits(samples, run.splits_file)
        run.write_json("versions.json", versions() | {"imported": source})
        checkpoint.save(pipeline, run.model_file)
    return Run(output)


def report(detector: Detector, run: Run) -> None:
    """Say what was found, for the user to compare with what he trained, and what to do next."""
    told = ("backbone", "layers", "steps", "clamp", "mean", "std")
    size = "x".join(map(str, detector.image_size))
    options = ", ".join(f"{key} {detector.init_args[key]}" for key in told)
    print(f"Imported {type(detector).__name__} for images of {size}: {options}.")
    print(
        "It has no thresholds yet: any in the file were set with test or validation images, and are not taken over. "
        "Set them from normal images that it was not trained on:\n"
        f"  anomalib-flows calibrate {run.path} --images FOLDER"
    )
