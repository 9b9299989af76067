"""``anomalib-flows data prepare``: from the archives of a published dataset to a folder that can be read."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from anomalib_flows.commands.command import Command
from anomalib_flows.core.errors import InputError

if TYPE_CHECKING:
    from anomalib_flows.data.datasets.base import Dataset


def prepare(name: str, root: Path, archive: list[Path] | None = None, download: bool = False) -> None:
    """Unpack the archives of a published dataset into the layout that its adapter reads.

    Licence and citation are shown first. Nothing is downloaded without --download, nothing in ROOT is replaced, and an
    archive that is damaged, malicious or not the published one leaves nothing behind.

    Args:
        name: Name of the dataset, see 'anomalib-flows list datasets'.
        root: Folder that holds the dataset afterwards; for training it is --data.root.
        archive: Archives that you have downloaded: tar (plain, gz, bz2 or xz) or zip files.
        download: Download the archives from the address that their makers publish. If the connection breaks, the part
            that was fetched is kept beside ROOT, and the next call continues from there.

    Raises:
        InputError: If the dataset is not a published one, or an archive is refused.
    """
    from anomalib_flows.core import registry
    from anomalib_flows.data.publish import preparing
    from anomalib_flows.data.publish.download import download as fetch

    dataset: type[Dataset] = registry.load("datasets", name)
    if dataset.card is None:
        raise InputError(f"{name} is no published dataset: there is nothing to prepare, train with it as it is.")
    print(preparing.describe(dataset.card), flush=True)
    preparing.require_modules(dataset.arrange_needs.items())
    if not archive and not download:
        raise InputError(f"No archive is given: {preparing.how_to_get(dataset.card)}.")
    root = Path(os.path.abspath(root))  # noqa: PTH100 (a root that is a link stays one)
    if not root.name:
        raise InputError(f"`root` {root} is the whole disk: name a folder for the dataset.")
    given, kept = archive or [], root.with_name(f"{root.name}.download")
    wanted = preparing.fetchable(dataset.card) if download else []
    preparing.require_room(dataset, dataset.card, root, given, wanted)
    fetched = [fetch(one, kept) for one in wanted]
    preparing.prepare(dataset, dataset.card, root, [*given, *fetched])
    discard(fetched, kept)
    for file in [*given, *fetched]:
        if not preparing.known(dataset.card, file).checksum:
            print(f"No checksum of {file.name} is known, so none was verified.")
    print(f"{dataset.card.title} is in {root}. To check it: {check_command(dataset, name, root)}")


def discard(fetched: list[Path], folder: Path) -> None:
    """Remove downloaded files, and their folder unless something else is in it."""
    for file in fetched:
        file.unlink()
    if fetched:
        with suppress(OSError):
            folder.rmdir()


def check_command(dataset: type[Dataset], name: str, root: Path) -> str:
    """Return the command that checks a dataset."""
    category = " --data.category CATEGORY" if "category" in dataset.__dataclass_fields__ else ""
    return f"anomalib-flows data check --data {name} --data.root {root}{category}"


COMMAND = Command("data prepare", "unpack a published dataset, for training", prepare, order=80)
