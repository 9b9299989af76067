"""Import of a detector that was trained with another code base."""

from __future__ import annotations

from pathlib import Path

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.files import fresh_folder
from anomalib_flows.core.types import Sample
from anomalib_flows.data.splits import write_splits
from anomalib_flows.importing.assemble import assemble_detector
from anomalib_flows.importing.code_bases import read_parts
from anomalib_flows.importing.inert import open_checkpoint
from anomalib_flows.importing.options import ImportOptions, Source
from anomalib_flows.models.base import Detector
from anomalib_flows.models.checkpoint import describe_pipeline, save_pipeline
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.run.component import Component
from anomalib_flows.run.config import TrainConfig
from anomalib_flows.run.directory import Run, versions
from anomalib_flows.run.options import HeatmapOptions, ImageOptions, parse_size


def import_checkpoint(
    file: Path,
    from_: Source,
    output: Path,
    options: ImportOptions = ImportOptions(),  # noqa: B008 (frozen)
) -> Run:
    """Make a run of a FastFlow or CFLOW that was trained with another code base; no code in its file is run.

    Values that are not given are read from the file, or else are the defaults of the code base. The run has no
    thresholds yet, since those in the file come from test or validation images.

    Args:
        file: Checkpoint that the other code base wrote.
        from_: The code base.
        output: New run directory.
        options: Values that the file does not contain.

    Raises:
        InputError: If the file is damaged, foreign or of another code base, a value is missing that it does not
            contain, or ``output`` is not empty.
    """
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise InputError(f"`output` {output} exists already: name a new folder.")
    size = None if options.image_size is None else parse_size(options.image_size, "image_size")
    named = {"clamp": options.clamp, "mean": options.mean, "std": options.std}
    given = {key: value for key, value in named.items() if value is not None}
    with open_checkpoint(file) as checkpoint:
        detector = assemble_detector(read_parts(checkpoint, from_, options.backbone), size, given)
    return write_run(detector, output, options.data, {"from": from_, "file": str(file.absolute())})


def write_run(detector: Detector, output: Path, data: Component | None, source: dict[str, str]) -> Run:
    """Write a run directory as a whole; ``source`` is the code base and the file, for the record."""
    samples: list[Sample] = data.build("datasets").samples() if data else []
    pipeline = Pipeline(detector, heatmap=HeatmapOptions(top_percent=0))  # as the other code bases score
    config = TrainConfig(
        model=Component(**describe_pipeline(pipeline)["model"]),
        data=data,
        image=ImageOptions(size=detector.image_size, resize=pipeline.preprocess.mode),
        heatmap=pipeline.heatmap,
        output=output.absolute().parent,
    )
    with fresh_folder(output.absolute()) as temporary:
        run = Run(temporary)
        run.write_config(config)
        write_splits(samples, run.splits_file)
        run.write_json("versions.json", versions() | {"imported": source})
        save_pipeline(pipeline, run.model_file)
    return Run(output)
