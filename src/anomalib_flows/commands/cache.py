"""``anomalib-flows cache``: the features, images and facts that are kept to save time, and their size."""

from __future__ import annotations

from typing import Literal

from anomalib_flows.commands.command import Command

KINDS = {
    "features": "features of images, by --trainer.cache",
    "images": "resized images, by --loader.cache",
    "facts": "facts about image files, such as sizes and digests",
}


def cache(
    action: Literal["show", "clear"] = "show", what: Literal["all", "features", "images", "facts"] = "all"
) -> None:
    """Show or clear what is kept on disk; a run whose features are deleted computes them again.

    Args:
        action: 'show' prints how much there is; 'clear' deletes it.
        what: What to show or to clear.
    """
    from anomalib_flows.core.store import GB, cache_folder, clear, files

    for name in KINDS if what == "all" else [what]:
        folder = cache_folder(name)
        kept = files(folder)
        print(f"{KINDS[name]}: {len(kept)} files, {sum(kept.values()) / GB:.2f} GB in {folder}")
        if action == "clear":
            print(f"  {clear(folder)} files deleted")


COMMAND = Command("cache", "show the size of what is cached on disk, or clear it", cache, order=100)
