"""Find the masks of defective images."""

from __future__ import annotations

import warnings
from pathlib import Path

from anomalib_flows.core.images import image_files, natural_key


class MissingMaskWarning(UserWarning):
    """Defective images have no mask."""


def pair_masks(images: list[Path], base: Path, masks: Path, ending: str = "_mask") -> dict[Path, Path]:
    """Find the mask of each image below ``base``, in a folder that mirrors ``base``, or in ``base`` itself.

    The mask of ``base/cut/7.jpg`` is ``masks/cut/7_mask.png`` or ``masks/cut/7.png``, of any image format, or all
    files of the folder ``masks/cut/7``. Beside the images, names without the ending are photos, and the mask is
    ``7_mask.png`` alone. One warning counts the images without a mask.
    """
    known = _known_masks(images, base, masks)
    endings = (ending,) if masks == base else (ending, "")
    pairs = {image: mask for image in images if (mask := _find_mask(image.relative_to(base), endings, known))}
    if bare := [image for image in images if image not in pairs]:
        warnings.warn(
            f"{len(bare)} of {len(images)} defective images lack a mask in {masks} (the first is {bare[0]}): "
            "they count for image metrics only.",
            MissingMaskWarning,
            stacklevel=2,
        )
    return pairs


def _known_masks(images: list[Path], base: Path, masks: Path) -> dict[str, Path]:
    """Index the files of a mask folder by relative path, with and without suffix; folders of masks end with "/"."""
    known: dict[str, Path] = {}
    for file in sorted(set(image_files(masks, recursive=True)).difference(images), key=natural_key):
        name = file.relative_to(masks)
        known |= {str(name).lower(): file, str(name.with_suffix("")).lower(): file}
        if not (base / name.parent).is_dir():  # else it mirrors a folder of images
            known[f"{name.parent}/".lower()] = file.parent
    return known


def _find_mask(image: Path, endings: tuple[str, ...], known: dict[str, Path]) -> Path | None:
    """Return the mask of an image, whose path is relative, among the known ones."""
    names = [image.with_stem(image.stem + ending) for ending in endings]
    # With its suffix first, since 7.bmp and 7.png may lie side by side.
    keys = [str(key).lower() for name in names for key in (name, name.with_suffix(""))]
    keys.append(f"{image.with_suffix('')}/".lower())
    return next((known[key] for key in keys if key in known), None)


def mask_files(mask: Path) -> list[Path]:
    """List the files of a mask, which may be a folder of several."""
    return image_files(mask) if mask.is_dir() else [mask]
