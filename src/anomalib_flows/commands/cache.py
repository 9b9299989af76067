"""``anomalib-flows cache``: the features, images and facts that are kept to save time, and their size."""

from __future__ import annotations

from typing import Literal

from anomalib_flows.commands.command import Command

KINDS = {
    "features": ("features of images, by --trainer.cache", "features", "*.item"),
    "images": ("resized images, by --loader.cache", "images", "*.item"),
    "facts": ("facts about image files, such as sizes and digests", "facts", "*.item*"),
    "drawn": ("drawn images of the dataset synthetic", "synthetic-v1", "**/*.png"),
}
"""Titles, folders, and patterns of files."""


def cache(
    action: Literal["show", "clear"] = "show", what: Literal["all", "features", "images", "facts", "drawn"] = "all"
) -> None:
    """Show or clear what is kept on disk; what is deleted is made again when it is needed.

    Args:
        action: 'show' prints how much there is; 'clear' deletes it.
        what: What to show or to clear.
    """
    from anomalib_flows.core.store import GB, cache_folder, clear, files

    for name in KINDS if what == "all" else [what]:
        title, place, pattern = KINDS[name]
        folder = cache_folder(place)
        kept = files(folder, pattern)
        print(f"{title}: {len(kept)} files, {sum(kept.values()) / GB:.2f} GB in {folder}")
        if action == "clear":
            print(f"  {clear(folder, pattern)} files deleted")


COMMAND = Command("cache", "show the size of what is cached on disk, or clear it", cache, order=100)
