"""From archives to the root of a dataset: all or nothing, and nothing of the user's is replaced."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest

from anomalib_flows.core.errors import InputError
from anomalib_flows.data.datasets.base import Archive, Card, Counts
from anomalib_flows.data.datasets.folder import Folder
from anomalib_flows.data.datasets.mvtec import MVTec
from anomalib_flows.data.publish import preparing
from published import image, pack

FILES = {f"{category}/train/good/0.png": image() for category in ("nut", "bolt")}


def card(*archives: Archive, counts: tuple[str, ...] = ("nut", "bolt")) -> Card:
    numbers = dict.fromkeys(counts, Counts(1, 0, 0))
    return Card("Parts", "https://parts.example", "CC0", "Doe, Parts, 2020", numbers, archives)


def published_as(facts: Card, dataset: type[MVTec] = MVTec) -> type[MVTec]:
    """Give a dataset other facts."""
    return type(dataset.__name__, (dataset,), {"card": facts})


def prepare(root: Path, *files: Path, facts: Card | None = None, dataset: type[MVTec] = MVTec) -> None:
    preparing.install(published_as(facts or card(), dataset), root, files)


def tree(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("top", ["", "parts/", "parts/v1/"])
def test_folders_around_everything_are_left_out(tmp_path: Path, top: str) -> None:
    archive = pack(tmp_path / "in/parts.tar.gz", {top + name: content for name, content in FILES.items()})
    prepare(tmp_path / "new/root", archive)
    assert tree(tmp_path / "new/root") == FILES.keys()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["root"]
    assert len(MVTec(root=tmp_path / "new/root", category="nut").samples()) == 1


def test_a_category_alone_keeps_its_folder(tmp_path: Path) -> None:
    one = pack(tmp_path / "in/1.tar.gz", {"nut/train/good/0.png": image()})
    prepare(tmp_path / "root", one)
    assert tree(tmp_path / "root") == {"nut/train/good/0.png"}


@pytest.mark.parametrize("top", ["", "nut/", "v1/nut/", "__MACOSX/nut/"])
def test_an_archive_of_one_category_goes_to_its_place(tmp_path: Path, top: str) -> None:
    facts = card(Archive("n.tar.gz", category="nut"), counts=())
    files = {f"{top}train/good/0.png": image(), f"{top}test/good/0.png": image(1)}
    if top.startswith("__"):
        files |= {name.removeprefix(top): content for name, content in files.items()}
    prepare(tmp_path / "root", pack(tmp_path / "in/n.tar.gz", files), facts=facts)
    assert tree(tmp_path / "root") == {"nut/train/good/0.png", "nut/test/good/0.png"}


def test_categories_come_together_with_their_common_licence(tmp_path: Path) -> None:
    for category in ("nut", "bolt"):
        files = {f"{category}/train/good/0.png": image(), "licence.txt": b"CC0"}
        prepare(tmp_path / "root", pack(tmp_path / f"in/{category}.tar.gz", files))
    assert tree(tmp_path / "root") == {*FILES, "licence.txt"}
    assert not list((tmp_path / "root").glob(".*"))


def test_several_archives_are_taken_together(tmp_path: Path) -> None:
    archives = [pack(tmp_path / f"in/{name.split('/')[0]}.tar.gz", {name: FILES[name]}) for name in FILES]
    prepare(tmp_path / "root", *archives)
    assert tree(tmp_path / "root") == FILES.keys()


def test_two_archives_of_the_same_content_are_refused(tmp_path: Path) -> None:
    archives = [pack(tmp_path / f"in/{i}.tar.gz", {"x/nut/a": b"%d" % i, "x/b": b""}) for i in range(2)]
    with pytest.raises(InputError, match=r"1\.tar\.gz has 'nut', as another archive does"):
        prepare(tmp_path / "root", *archives)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize("there", ["nut/mine.txt", "bolt", "readme.txt"])
def test_what_is_there_is_never_replaced(tmp_path: Path, there: str) -> None:
    mine = tmp_path / "root" / there
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    archive = pack(tmp_path / "in/parts.tar.gz", FILES | {"readme.txt": b"theirs"})
    with pytest.raises(InputError, match=rf"root/{there.split('/')[0]} exists already and is kept"):
        prepare(tmp_path / "root", archive)
    assert tree(tmp_path / "root") == {there}
    assert mine.read_text() == "mine"


def test_a_dangling_link_is_not_replaced_either(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root/nut").symlink_to(tmp_path / "unplugged")
    with pytest.raises(InputError, match="root/nut exists already"):
        prepare(tmp_path / "root", pack(tmp_path / "in/parts.tar.gz", FILES), facts=card(counts=()))
    assert (tmp_path / "root/nut").is_symlink()
    assert not (tmp_path / "root/bolt").exists()


def test_what_can_only_fail_is_not_unpacked_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "extract", None)
    (tmp_path / "root/bolt").mkdir(parents=True)
    archive = pack(tmp_path / "in/parts.tar.gz", FILES)
    with pytest.raises(InputError, match="root/bolt exists already"):
        prepare(tmp_path / "root", archive, facts=card(Archive(archive.name)))


def test_a_root_that_is_a_file_stays(tmp_path: Path) -> None:
    (tmp_path / "root").write_text("mine")
    with pytest.raises(InputError, match="root is a file: name a folder"):
        prepare(tmp_path / "root", pack(tmp_path / "in/parts.tar.gz", FILES))
    assert (tmp_path / "root").read_text() == "mine"


@pytest.mark.parametrize("exists", [False, True])
@pytest.mark.parametrize("content", [{"nut/0.png": b"", "../x": b""}, {}])
def test_a_refused_archive_leaves_nothing(tmp_path: Path, exists: bool, content: dict[str, bytes]) -> None:
    good, bad = pack(tmp_path / "in/good.tar.gz", FILES), pack(tmp_path / "in/bad.tar.gz", content)
    root = tmp_path / "new/deep/root"
    if exists:
        root.mkdir(parents=True)
    before = set(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=r"bad\.tar\.gz was not unpacked"):
        prepare(root, good, bad)
    assert set(tmp_path.rglob("*")) == before


def test_the_checksum_is_verified_before_anything_is_unpacked(tmp_path: Path, monkeypatch) -> None:
    archive = pack(tmp_path / "in/parts.tar.gz", FILES)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    prepare(tmp_path / "root", archive, facts=card(Archive(archive.name, checksum=f"sha256:{digest}")))
    monkeypatch.setattr(preparing, "extract", None)
    with pytest.raises(InputError, match="damaged or another version"):
        prepare(tmp_path / "other", archive, facts=card(Archive(archive.name, checksum="sha256:00")))
    assert not (tmp_path / "other").exists()


def test_a_missing_archive_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.zip is not a file: .* https://parts\.example"):
        prepare(tmp_path / "root", tmp_path / "none.zip")


@dataclass(kw_only=True)
class Raw(MVTec):
    """A dataset whose archive holds no images, as a plug-in may have it."""

    arrange_needs: ClassVar = {"json": "json", "no_such_module": "no-such-package"}

    @classmethod
    def arrange(cls, folder: Path) -> None:
        raw = folder / "raw.bin"
        if raw.stat().st_size == 0:
            raise InputError("raw.bin is empty.")
        (folder / "nut/train/good").mkdir(parents=True)
        (folder / "nut/train/good/0.png").write_bytes(image(raw.read_bytes()[0]))
        raw.unlink()


def test_a_dataset_may_make_its_files_itself(tmp_path: Path) -> None:
    archive = pack(tmp_path / "in/raw.tar.gz", {"v1/raw.bin": b"\x07", "v1/licence.txt": b"CC0"})
    prepare(tmp_path / "root", archive, dataset=Raw)
    assert tree(tmp_path / "root") == {"nut/train/good/0.png", "licence.txt"}


def test_a_dataset_that_makes_its_files_takes_a_folder_of_its_own(tmp_path: Path, monkeypatch) -> None:
    archive = pack(tmp_path / "in/raw.tar.gz", {"v1/raw.bin": b"\x07", "v1/licence.txt": b"CC0"})
    prepare(tmp_path / "root", archive, dataset=Raw)
    monkeypatch.setattr(preparing, "extract", None)
    with pytest.raises(InputError, match="root is not empty"):
        prepare(tmp_path / "root", archive, dataset=Raw)


def test_what_a_dataset_refuses_leaves_nothing(tmp_path: Path) -> None:
    archive = pack(tmp_path / "in/raw.tar.gz", {"v1/raw.bin": b"", "v1/licence.txt": b"CC0"})
    with pytest.raises(InputError, match="is empty"):
        prepare(tmp_path / "root", archive, dataset=Raw)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_modules_that_are_missing_are_named_with_what_pip_installs() -> None:
    with pytest.raises(InputError, match="the module no_such_module: run pip install 'no-such-package'"):
        preparing.require_modules(Raw.arrange_needs.items())


def test_of_what_can_be_fetched_the_whole_is_preferred() -> None:
    one, all_ = Archive("nut.zip", "https://a", category="nut"), Archive("all.zip", "https://b")
    assert preparing.fetchable(card(one, all_)) == [all_]
    assert preparing.fetchable(card(one, Archive("all.zip"))) == [one]
    with pytest.raises(InputError, match=r"get all\.zip from https://parts\.example and give its path as `archive`"):
        preparing.fetchable(card(Archive("all.zip")))


def test_how_to_get_it_is_said() -> None:
    facts = card(Archive("all.zip", "https://b/all.zip"))
    assert preparing.how_to_get(facts).endswith("or add `download` to fetch https://b/all.zip")
    assert "`download`" not in preparing.how_to_get(card(Archive("all.zip")))
    for words in ("Parts", "https://parts.example", "CC0", "Doe, Parts, 2020"):
        assert words in preparing.describe_card(facts)


def test_a_dataset_is_prepared_in_one_call(tmp_path: Path) -> None:
    archive = pack(tmp_path / "in/parts.tar.gz", FILES)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    for checksum, unverified in (("", [archive.name]), (f"sha256:{digest}", [])):
        root = tmp_path / f"root{len(unverified)}"
        dataset = published_as(card(Archive(archive.name, checksum=checksum)))
        assert preparing.prepare_dataset(dataset, root, [archive]) == (root, unverified)
        assert tree(root) == FILES.keys()


def test_what_was_downloaded_is_removed_once_it_is_installed(tmp_path: Path, monkeypatch) -> None:
    def fetch(archive: Archive, folder: Path) -> Path:
        return pack(folder / archive.file, contents)

    monkeypatch.setattr(preparing, "fetch_archive", fetch)
    dataset = published_as(card(Archive("parts.tar.gz", "https://parts.example/parts.tar.gz")))
    contents: dict[str, bytes] = {}
    with pytest.raises(InputError, match="was not unpacked"):
        preparing.prepare_dataset(dataset, tmp_path / "root", download=True)
    assert [path.name for path in tmp_path.iterdir()] == ["root.download"]
    contents = FILES
    preparing.prepare_dataset(dataset, tmp_path / "root", download=True)
    assert [path.name for path in tmp_path.iterdir()] == ["root"]


def test_what_cannot_be_prepared_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="folder is no published dataset"):
        preparing.prepare_dataset(Folder, tmp_path)
    with pytest.raises(InputError, match=r"No archive is given: get all\.zip from https://parts\.example"):
        preparing.prepare_dataset(published_as(card(Archive("all.zip"))), tmp_path / "root")
    with pytest.raises(InputError, match="`root` / is the whole disk"):
        preparing.prepare_dataset(published_as(card()), Path("/"), [tmp_path / "a.zip"])
    with pytest.raises(InputError, match="the module no_such_module"):
        preparing.prepare_dataset(published_as(card(), Raw), tmp_path / "root", [tmp_path / "a.zip"])


def test_other_numbers_of_images_than_published_are_said(tmp_path: Path) -> None:
    facts = card(counts=("nut",))
    facts = replace(facts, counts={"nut": Counts(2, 0, 0)})
    archive = pack(tmp_path / "parts.tar.gz", FILES)
    with pytest.warns(UserWarning, match="nut of Parts is published with 2 images .*; here are 1 images"):
        preparing.prepare_dataset(published_as(facts), tmp_path / "root", [archive])
