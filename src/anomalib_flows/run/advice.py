"""What to name instead of a path that is not a run."""

from __future__ import annotations

from pathlib import Path

from anomalib_flows.core.finding import IMAGE_SUFFIXES


def advice(path: Path) -> str:
    """Return what to name instead of a path that is not a run."""
    if not path.exists():
        return "it does not exist; name a run directory, which has a config.yaml"
    if path.suffix.lower() == ".xml":
        return "it is an exported model; name the run that it was made of"
    run = first(path, *(f"{'*/' * depth}config.yaml" for depth in range(1, 5)))
    exported, part = first(path, "*.xml", "1/*.xml"), path.parent / f"{path.stem}.xml"
    around = [above for above in path.absolute().parents if (above / "config.yaml").is_file()]
    found = {
        "it holds runs; name one of them, such as": run.parent if run else None,
        "it holds an exported model; name": exported,
        "it is a part of an exported model; name": part if part.is_file() else None,
        "it is a part of a run; name": around[0] if around else None,
    }
    return next((f"{what} {name}" for what, name in found.items() if name), about_content(path))


def about_content(path: Path) -> str:
    """Return what to name instead of models for other programs, and of images."""
    suffixes = {file.suffix.lower() for file in (path, *path.glob("*"), *path.glob("*/*"))}
    if suffixes & {".onnx", ".pt2", ".pt", ".ckpt"}:
        return "it is a model for other programs; name a run directory, or an exported model (.xml)"
    if suffixes & IMAGE_SUFFIXES:
        return "it has images; name a run directory first, and images by an option"
    return "it holds no config.yaml; name a run directory"


def first(folder: Path, *patterns: str) -> Path | None:
    """Return the first file that matches one of several patterns."""
    return next((file for pattern in patterns for file in sorted(folder.glob(pattern))), None)
