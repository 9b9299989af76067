"""``anomalib-flows cache``: what is kept to save time, and how much room it takes."""

from __future__ import annotations

from typing import Literal

from anomalib_flows.core.store import GB, cache_folder, clear, files

KINDS = {"features": "features of images, by --trainer.cache", "images": "resized images, by --data.cache"}


def cache(
    action: Literal["show", "clear"] = "show", what: Literal["all", "features", "images"] = "all"
) -> dict[str, int]:
    """Show or clear what is kept on disk to be computed once; a run whose features go computes them anew.

    Args:
        action: 'show' tells how much there is; 'clear' deletes it.
        what: What to show or to clear.

    Returns:
        Bytes of each kind that there are, or were.
    """
    sizes = {}
    for name in KINDS if what == "all" else [what]:
        folder = cache_folder(name)
        kept = files(folder)
        sizes[name] = sum(kept.values())
        print(f"{KINDS[name]}: {len(kept)} files, {sizes[name] / GB:.2f} GB in {folder}")
        if action == "clear":
            print(f"  {clear(folder)} files deleted")
    return sizes
