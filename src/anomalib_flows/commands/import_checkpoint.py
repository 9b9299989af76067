"""``anomalib-flows import-checkpoint``: a detector that was trained with another code base."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from anomalib_flows.commands.command import Command
from anomalib_flows.commands.next_step import after_import

if TYPE_CHECKING:
    from anomalib_flows.importing.options import ImportOptions, Source


def import_checkpoint(file: Path, from_: Source, output: Path, options: ImportOptions) -> None:
    """Make a run of a FastFlow or CFLOW that was trained with another code base; no code in its file is run.

    Values that are not given are read from the file, or else are the defaults of the code base. The run has no
    thresholds yet: 'calibrate' sets them from normal images.

    Args:
        file: Checkpoint that the other code base wrote.
        from_: The code base: anomalib (anomalib 2), gathierry (gathierry/FastFlow), cflow-ad (gudovskiy/cflow-ad).
        output: New run directory.
        options: What the file does not contain.
    """
    from anomalib_flows.importing.convert import import_checkpoint as convert

    run = convert(file, from_, output, options)
    config = run.config()
    told = ("backbone", "layers", "steps", "clamp", "mean", "std")
    arguments = ", ".join(f"{key} {config.model.init_args[key]}" for key in told)
    size = "x".join(map(str, config.image.height_width))
    print(f"Imported {config.model.class_path} for images of {size}: {arguments}.")
    print(
        "It has no thresholds yet: those in the file were set with test or validation images, and are not imported. "
        "Set thresholds from normal images that it was not trained on.\n\n"
        f"{after_import(run.path)}"
    )


COMMAND = Command(
    "import-checkpoint",
    "import a detector that was trained with another code base",
    import_checkpoint,
    order=70,
    records="anomalib_flows.importing.options",
)
