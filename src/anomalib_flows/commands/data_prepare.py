"""``anomalib-flows data prepare``: from the archives of a published dataset to a folder that can be read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from anomalib_flows.commands.command import Command
from anomalib_flows.commands.next_step import after_preparation

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
    """
    from anomalib_flows.core import registry
    from anomalib_flows.data.publish.preparing import describe_card, prepare_dataset, published_card

    dataset: type[Dataset] = registry.load("datasets", name, trust=True)
    card = published_card(dataset)
    print(describe_card(card), flush=True)
    prepared = prepare_dataset(dataset, root, archive or (), download)
    for file in prepared.unverified:
        print(f"No checksum of {file} is known, so none was verified.")
    category = ["--data.category", "CATEGORY"] if "category" in dataset.__dataclass_fields__ else []
    print(f"{card.title} is in {prepared.root}.\n\n{after_preparation(name, prepared.root, category)}")


COMMAND = Command("data prepare", "unpack a published dataset, for training", prepare, order=80)
