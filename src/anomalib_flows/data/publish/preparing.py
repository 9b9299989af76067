"""From the archives of a published dataset to the folder that its adapter reads."""

from __future__ import annotations

import filecmp
import importlib.util
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.files import temporary_folder
from anomalib_flows.data.datasets.base import Dataset
from anomalib_flows.data.datasets.card import Archive, Card
from anomalib_flows.data.publish.archives import unpack
from anomalib_flows.data.publish.download import verify


def describe(card: Card) -> str:
    """Say what a dataset is, what one may do with it and whom to cite."""
    facts = {"homepage": card.homepage, "licence": card.licence, "citation": card.citation}
    return "\n".join([card.title, *(f"  {name:9} {fact}" for name, fact in facts.items())])


def prepare(dataset: type[Dataset], card: Card, root: Path, files: list[Path]) -> None:
    """Verify and unpack archives into a root folder, all or nothing; what is there already stays.

    Args:
        dataset: Class of the adapter; its ``arrange`` has the last word on what is unpacked.
        card: Facts about the dataset.
        root: Folder that holds the dataset, or will.
        files: Archives, by the names that the card gives them or others.

    Raises:
        InputError: If an archive is refused, or something of its content is in the root already.
        OSError: If the disk is full or may not be written to.
    """
    require_room(dataset, card, root, files)
    for file in files:
        verify(file, known(card, file).checksum)
    exists = root.exists()
    # Within the root if there is one, since another folder may lie on another disk, where renaming is copying.
    with temporary_folder(root if exists else root.parent) as temporary:
        ready = temporary / "ready"
        ready.mkdir()
        for number, file in enumerate(files):
            unpacked = temporary / str(number)
            unpacked.mkdir()
            unpack(file, unpacked)
            merge(unpacked, card, file, ready)
        dataset.arrange(ready)
        if exists:
            move(ready.iterdir(), root)
        else:
            ready.rename(root)


def require_modules(needs: Iterable[tuple[str, str]]) -> None:
    """Say which package is missing before hours of unpacking, not after."""
    for module, package in needs:
        if importlib.util.find_spec(module) is None:
            raise InputError(f"Preparing this dataset takes the module {module}: run pip install '{package}'.")


def require_room(
    dataset: type[Dataset], card: Card, root: Path, files: list[Path], wanted: Sequence[Archive] = ()
) -> None:
    """Refuse what can be seen to fail before gigabytes are unpacked, or downloaded as the archives wanted."""
    if root.exists() and not root.is_dir():
        raise InputError(f"--root {root} is a file: name a folder.")
    if "arrange" in vars(dataset) and root.exists() and any(root.iterdir()):
        raise InputError(f"--root {root} is not empty, and what is there stays: name a new folder for this dataset.")
    for file in files:
        if not file.is_file():
            raise InputError(f"--archive {file} is not a file: name one that was downloaded from {card.homepage}.")
    given = [archive for archive in card.archives if archive.file in {file.name for file in files}]
    for archive in [*given, *wanted]:
        for name in [archive.category] if archive.category else card.counts:
            require_free(root / name)


def require_free(path: Path) -> None:
    """Refuse to replace anything."""
    if os.path.lexists(path):
        raise InputError(f"{path} is there already, and stays as it is: name another --root, or move it away first.")


def known(card: Card, file: Path) -> Archive:
    """What the card says of a file; of one with another name, that nothing is known."""
    return next((archive for archive in card.archives if archive.file == file.name), Archive(file.name))


def fetchable(card: Card) -> list[Archive]:
    """List the archives to download; of those that hold everything and those of categories the former.

    Raises:
        InputError: If there is no address.
    """
    with_address = [archive for archive in card.archives if archive.url]
    if not with_address:
        raise InputError(f"--download is not possible: {by_hand(card)}.")
    return [archive for archive in with_address if not archive.category] or with_address


def how_to_get(card: Card) -> str:
    """Say how to get the archives, by hand or from here."""
    addresses = " and ".join(archive.url for archive in card.archives if archive.url)
    return by_hand(card) + (f", or add --download to fetch {addresses}" if addresses else "")


def by_hand(card: Card) -> str:
    """Say where to get the archives by hand."""
    files = ", ".join(archive.file for archive in card.archives) or "the archive"
    return f"get {files} from {card.homepage} and give it with --archive FILE"


def merge(unpacked: Path, card: Card, file: Path, ready: Path) -> None:
    """Move what an archive held to its place among what others did, without a folder around everything."""
    category = known(card, file).category
    content = inner(unpacked, {*card.counts, *(archive.category for archive in card.archives)})
    if category and not (content / category).is_dir():
        ready = ready / category
        ready.mkdir(exist_ok=True)
    if twice := clashes(visible(content), ready):
        raise InputError(f"{file} holds {twice[0].name!r}, as another archive does: give one of them only.")
    move(visible(content), ready)


def inner(folder: Path, categories: set[str]) -> Path:
    """Go down as long as there is nothing but one folder, and that is no category."""
    while True:
        entries = visible(folder)
        if len(entries) != 1 or not entries[0].is_dir() or entries[0].name in categories:
            return folder
        folder = entries[0]


def visible(folder: Path) -> list[Path]:
    """List a folder without what macOS adds to archives."""
    return [entry for entry in folder.iterdir() if not entry.name.startswith(".") and entry.name != "__MACOSX"]


def move(entries: Iterable[Path], target: Path) -> None:
    """Move files and folders, or none of them if anything of such a name is there already.

    Files that are there with the same content, such as a licence that comes with each archive, do no harm.
    """
    new = [entry for entry in entries if not same_file(entry, target / entry.name)]
    for entry in new:
        require_free(target / entry.name)
    for entry in new:
        entry.rename(target / entry.name)


def clashes(entries: Iterable[Path], target: Path) -> list[Path]:
    """Entries whose name something else in a folder has."""
    return [e for e in entries if os.path.lexists(target / e.name) and not same_file(e, target / e.name)]


def same_file(one: Path, other: Path) -> bool:
    """Whether both are files of the same content."""
    return one.is_file() and other.is_file() and filecmp.cmp(one, other, shallow=False)
