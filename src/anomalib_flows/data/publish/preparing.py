"""Prepare a published dataset: from its archives to the folder that its adapter reads."""

from __future__ import annotations

import filecmp
import importlib.util
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from anomalib_flows.core.commit import complete, together
from anomalib_flows.core.errors import InputError
from anomalib_flows.core.files import fresh_folder, temporary_folder
from anomalib_flows.core.locks import locked
from anomalib_flows.core.outputs import require_place
from anomalib_flows.core.registry import name_of
from anomalib_flows.data.datasets.base import Archive, Card, Dataset
from anomalib_flows.data.publish.archives import extract
from anomalib_flows.data.publish.download import download as fetch_archive
from anomalib_flows.data.publish.download import verify


class Prepared(NamedTuple):
    """Absolute path of a dataset, and names of its archives that have no known checksum."""

    root: Path
    unverified: list[str]


def prepare_dataset(
    dataset: type[Dataset], root: Path, archive: Sequence[Path] = (), download: bool = False
) -> Prepared:
    """Extract the archives of a published dataset into the layout that its adapter reads.

    It is all or nothing: existing files are never replaced, and a refused archive leaves nothing behind.

    Args:
        dataset: Class of the dataset.
        root: Folder of the dataset, which may not exist yet.
        archive: Archives on disk: tar (plain, gz, bz2 or xz) or zip files.
        download: Whether to download the archives from their makers. After a broken connection, what was downloaded
            is kept beside the root, and the next call continues from there.

    Raises:
        InputError: If the dataset is not a published one, or an archive is missing or refused.
        OSError: If the disk is full or cannot be written to.
    """
    card = published_card(dataset)
    require_modules(dataset.arrange_needs.items())
    if not archive and not download:
        raise InputError(f"No archive is given: {how_to_get(card)}.")
    root = Path(os.path.abspath(root))  # noqa: PTH100 (a root that is a link stays one)
    if not root.name:
        raise InputError(f"`root` {root} is the whole disk: name a folder for the dataset.")
    require_place("root", root)
    wanted = fetchable(card) if download else []
    complete(root)
    require_room(dataset, root, archive, wanted)
    with downloaded(wanted, root.with_name(f"{root.name}.download")) as fetched:
        files = [*archive, *fetched]
        install(dataset, root, files)
    for category in card.counts if "category" in dataset.__dataclass_fields__ else ():
        with suppress(InputError):  # it is in another archive
            dataset(root=root, category=category).samples()  # type: ignore[call-arg]  # warns of other numbers
    return Prepared(root, [file.name for file in files if not card.archive(file.name).checksum])


def published_card(dataset: type[Dataset]) -> Card:
    """Return the facts about a published dataset."""
    if dataset.card is None:
        name = name_of("datasets", dataset)
        raise InputError(f"{name} is no published dataset: there is nothing to prepare, train with it as it is.")
    return dataset.card


def describe_card(card: Card) -> str:
    """Return title, homepage, licence and citation of a dataset as text."""
    facts = {"homepage": card.homepage, "licence": card.licence, "citation": card.citation}
    return "\n".join([card.title, *(f"  {name:9} {fact}" for name, fact in facts.items())])


@contextmanager
def downloaded(wanted: Iterable[Archive], folder: Path) -> Iterator[list[Path]]:
    """Download archives into a folder, and remove them, and the folder if it is empty, when the block succeeds."""
    files = [fetch_archive(one, folder) for one in wanted]
    yield files
    for file in files:
        file.unlink()
    if files:
        with suppress(OSError):  # it has other files
            folder.rmdir()


def install(dataset: type[Dataset], root: Path, files: Sequence[Path]) -> None:
    """Verify and extract archives into a root folder, all or nothing; existing files are never replaced."""
    card = published_card(dataset)
    require_room(dataset, root, files)
    for file in files:
        verify(file, card.archive(file.name).checksum)
    with filled(root) as ready, temporary_folder(ready.parent) as temporary:
        for number, file in enumerate(files):
            extracted = temporary / str(number)
            extracted.mkdir()
            extract(file, extracted)
            merge(extracted, file, card, ready)
        dataset.arrange(ready)
        for known in [entry for entry in ready.iterdir() if same_file(entry, root / entry.name)]:
            known.unlink()
        for entry in ready.iterdir():
            require_free(root / entry.name)


@contextmanager
def filled(root: Path) -> Iterator[Path]:
    """Fill a root folder with what the block writes to another one; one that exists keeps what it has."""
    if not root.exists():
        with fresh_folder(root) as ready:
            yield ready
        return
    # Within the root, since its parent may be on another disk, where renaming is copying.
    with locked(root) as held:
        if held is False:
            raise InputError(f"Another command prepares `root` {root}: wait until it has ended.")
        with together(root) as ready:
            yield ready


def merge(extracted: Path, file: Path, card: Card, ready: Path) -> None:
    """Move the content of an archive to its place among that of others, without an enclosing folder."""
    category = card.archive(file.name).category
    content = inner(extracted, {*card.counts, *(archive.category for archive in card.archives)})
    if category and not (content / category).is_dir():
        ready = ready / category
        ready.mkdir(exist_ok=True)
    pairs = [(entry, ready / entry.name) for entry in visible(content)]
    if twice := [entry for entry, other in pairs if os.path.lexists(other) and not same_file(entry, other)]:
        raise InputError(f"{file} has {twice[0].name!r}, as another archive does: give only one of them.")
    move(visible(content), ready)


def inner(folder: Path, categories: set[str]) -> Path:
    """Return the innermost folder that a folder encloses without anything else, unless it is a category."""
    while True:
        entries = visible(folder)
        if len(entries) != 1 or not entries[0].is_dir() or entries[0].name in categories:
            return folder
        folder = entries[0]


def visible(folder: Path) -> list[Path]:
    """List a folder without what macOS adds to archives."""
    return [entry for entry in folder.iterdir() if not entry.name.startswith(".") and entry.name != "__MACOSX"]


def move(entries: Iterable[Path], target: Path) -> None:
    """Move files and folders, or none of them if one of their names exists already.

    Existing files of the same content, such as a licence that comes with each archive, are no obstacle.
    """
    new = [entry for entry in entries if not same_file(entry, target / entry.name)]
    for entry in new:
        require_free(target / entry.name)
    for entry in new:
        entry.rename(target / entry.name)


def same_file(one: Path, other: Path) -> bool:
    """Return whether both are files of the same content."""
    return one.is_file() and other.is_file() and filecmp.cmp(one, other, shallow=False)


def require_free(path: Path) -> None:
    """Raise an InputError if a path exists."""
    if os.path.lexists(path):
        raise InputError(f"{path} exists already and is kept: name another `root`, or move it away first.")


def require_modules(needs: Iterable[tuple[str, str]]) -> None:
    """Raise an InputError if a module is missing: before hours of extraction, not after."""
    for module, package in needs:
        if importlib.util.find_spec(module) is None:
            raise InputError(f"Preparing this dataset needs the module {module}: run pip install '{package}'.")


def require_room(dataset: type[Dataset], root: Path, files: Sequence[Path], wanted: Sequence[Archive] = ()) -> None:
    """Raise an InputError for what is bound to fail, before gigabytes are extracted or downloaded."""
    card = published_card(dataset)
    if root.exists() and not root.is_dir():
        raise InputError(f"`root` {root} is a file: name a folder.")
    converts = dataset.arrange.__func__ is not Dataset.arrange.__func__  # type: ignore[attr-defined]
    if converts and root.exists() and any(root.iterdir()):
        raise InputError(f"`root` {root} is not empty, and its files are kept: name a new folder for this dataset.")
    for file in files:
        if not file.is_file():
            raise InputError(f"`archive` {file} is not a file: name one that was downloaded from {card.homepage}.")
    given = [archive for archive in card.archives if archive.file in {file.name for file in files}]
    for archive in [*given, *wanted]:
        for name in [archive.category] if archive.category else card.counts:
            require_free(root / name)


def fetchable(card: Card) -> list[Archive]:
    """List the archives to download; those of all categories are preferred to those of single ones."""
    with_address = [archive for archive in card.archives if archive.url]
    if not with_address:
        raise InputError(f"`download` is not possible: {by_hand(card)}.")
    return [archive for archive in with_address if not archive.category] or with_address


def how_to_get(card: Card) -> str:
    """Return how to get the archives, by hand or by download."""
    addresses = " and ".join(archive.url for archive in card.archives if archive.url)
    return by_hand(card) + (f", or add `download` to fetch {addresses}" if addresses else "")


def by_hand(card: Card) -> str:
    """Return where to get the archives by hand."""
    files = ", ".join(archive.file for archive in card.archives) or "the archive"
    return f"get {files} from {card.homepage} and give its path as `archive`"
