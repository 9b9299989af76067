"""``data prepare`` and ``data check``, as a user types them."""

from __future__ import annotations

import http.server
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from PIL import Image
from tiny import SMALL

import published
from anomalib_flows.cli import main
from anomalib_flows.data.datasets.base import Archive
from anomalib_flows.data.datasets.cifar10 import CIFAR10
from anomalib_flows.data.datasets.stc import STC
from anomalib_flows.data.splits import read_splits

pytestmark = pytest.mark.filterwarnings("always")  # the command line prints them

Said = Callable[..., tuple[int, str, str]]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    """Run a command line; return its exit code and what it printed."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny archive under the published name, whose published checksum is not known."""
    published_as = [replace(archive, checksum="") for archive in CIFAR10.card.archives]
    monkeypatch.setattr(CIFAR10, "card", replace(CIFAR10.card, archives=tuple(published_as)))
    return published.cifar10(tmp_path / "archives/cifar-10-binary.tar.gz", per_file=10)


def test_licence_and_citation_come_first(said: Said, cifar10: Path, tmp_path: Path) -> None:
    code, out, _ = said("data", "prepare", "cifar10", "--root", tmp_path / "root", "--archive", cifar10)
    assert code == 0
    first = "\n".join(out.splitlines()[:4])
    assert all(words in first for words in ("CIFAR-10", "cs.toronto.edu", "licence", "Krizhevsky"))
    assert "No checksum of cifar-10-binary.tar.gz is known" in out
    assert f"anomalib-flows data check --data cifar10 --data.root {tmp_path / 'root'}" in out


def test_a_prepared_dataset_is_checked_and_trained(said: Said, cifar10: Path, tmp_path: Path) -> None:
    root = ["--data=cifar10", f"--data.root={tmp_path / 'root'}", "--data.category=cat"]
    assert said("data", "prepare", "cifar10", "--root", tmp_path / "root", "--archive", cifar10)[0] == 0
    assert said("data", "check", *root, "--output", tmp_path)[0] == 0
    code, out, _ = said("train", *SMALL, *root, "--trainer.max_epochs=1", f"--output={tmp_path}")
    assert code == 0
    assert "truck" in out
    assert len(list(tmp_path.glob("fastflow/cifar10/cat/run-001/images/*/*.jpg"))) == 10


def test_scenes_of_stc_are_trained(said: Said, tmp_path: Path) -> None:
    archive = published.pack(tmp_path / "archives/shanghaitech.tar.gz", published.stc(tmp_path))
    root = ["--data=stc", f"--data.root={tmp_path / 'root'}", "--data.category=01"]
    assert said("data", "prepare", "stc", "--root", tmp_path / "root", "--archive", archive)[0] == 0
    code, out, _ = said("data", "check", *root, "--output", tmp_path)
    assert code == 0
    assert "anomaly" in out
    code, out, _ = said("train", *SMALL, *root, "--trainer.max_epochs=1", f"--output={tmp_path}")
    assert code == 0
    assert "anomaly" in out
    split = read_splits(tmp_path / "fastflow/stc/01/run-001/splits.csv")
    trained, held_out = ({s.path.parent for s in split if s.split == name} for name in ("train", "calibration"))
    assert (len(trained), len(held_out), len(trained | held_out)) == (1, 1, 2), "whole videos are held out"


def test_nothing_is_downloaded_unless_asked_for(said: Said, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("urllib.request.urlopen", None)
    for name, words in (("cifar10", "or add --download to fetch https://"), ("stc", "get shanghaitech.tar.gz from")):
        code, out, err = said("data", "prepare", name, "--root", tmp_path / "root")
        assert code == 2
        assert "licence" in out
        assert words in err
    code, _, err = said("data", "prepare", "stc", "--root", tmp_path / "root", "--download")
    assert code == 2
    assert f"--download is not possible: get shanghaitech.tar.gz from {STC.card.homepage}" in err
    assert not list(tmp_path.iterdir())


@pytest.fixture
def served(cifar10: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Serve the tiny archive under an address that the card has."""
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(cifar10.parent))
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        archive = Archive(cifar10.name, f"http://127.0.0.1:{server.server_port}/{cifar10.name}")
        monkeypatch.setattr(CIFAR10, "card", replace(CIFAR10.card, archives=(archive,)))
        yield cifar10
        server.shutdown()


def test_a_download_is_prepared_and_not_kept(said: Said, served: Path, tmp_path: Path) -> None:
    code, _, err = said("data", "prepare", "cifar10", "--root", tmp_path / "new/root", "--download")
    assert code == 0, err
    assert len(list((tmp_path / "new/root").rglob("*.png"))) == 60
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["root"]


def test_what_was_kept_of_a_download_stays_when_none_is_asked_for(said: Said, cifar10: Path, tmp_path: Path) -> None:
    kept = tmp_path / "root.download"
    kept.mkdir()
    (kept / "other.tar.gz.part").write_bytes(b"gigabytes")
    assert said("data", "prepare", "cifar10", "--root", tmp_path / "root", "--archive", cifar10)[0] == 0
    assert [file.name for file in kept.iterdir()] == ["other.tar.gz.part"]


def test_only_what_was_downloaded_is_removed(said: Said, served: Path, tmp_path: Path) -> None:
    kept = tmp_path / "root.download"
    kept.mkdir()
    (kept / "mine.txt").write_text("mine")
    assert said("data", "prepare", "cifar10", "--root", tmp_path / "root", "--download")[0] == 0
    assert [file.name for file in kept.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(("root", "words"), [("root", "is not empty"), ("/", "is the whole disk")])
def test_nothing_is_downloaded_for_a_root_of_no_use(
    said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: str, words: str
) -> None:
    monkeypatch.setattr("urllib.request.urlopen", None)
    (tmp_path / "root").mkdir()
    (tmp_path / "root/mine.txt").write_text("mine")
    code, _, err = said("data", "prepare", "cifar10", "--root", tmp_path / root, "--download")
    assert code == 2
    assert words in err


def test_malicious_archives_are_refused_with_one_sentence(said: Said, tmp_path: Path) -> None:
    hostile = published.pack(tmp_path / "archives/cifar.tar.gz", {"good.bin": b"", "../../evil": b""})
    code, _, err = said("data", "prepare", "cifar10", "--root", tmp_path / "root", "--archive", hostile)
    assert code == 2
    fault = "it holds the path '../../evil', which may lead out of the folder"
    assert err == f"error: {hostile} was not unpacked, since {fault}: get it again from its makers.\n"
    assert [path.name for path in tmp_path.iterdir()] == ["archives"]


def test_several_archives_are_given_as_shells_write_them(said: Said, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.zip", "b.zip")]
    _, _, err = said("data", "prepare", "cifar10", "--archive", *files, "--root", tmp_path / "root")
    assert "--archive" in err
    assert "a.zip is not a file" in err
    files[0].touch()
    assert "b.zip is not a file" in said("data", "prepare", "cifar10", "--root=x", "--archive", *files)[2]


@pytest.mark.parametrize("whole", [True, False])
def test_a_bare_folder_is_recognised(said: Said, tree: Path, tmp_path: Path, whole: bool) -> None:
    code, out, err = said("data", "check", tree if whole else tree / "stripes", "--output", tmp_path)
    assert (code, err) == (0, "")
    rows = [line.split() for line in out.splitlines()]
    for row in (["train", "good", "8"], ["test", "good", "3"], ["test", "blob", "3", "3", "0"]):
        assert row in rows
    assert "14 of 64 x 72" in out
    assert "14 of PNG, colour, 8 bits" in out
    with Image.open(tmp_path / "check/mvtec/stripes.jpg") as sheet:
        assert sheet.width > sheet.height / 4


def test_a_damaged_copy_names_each_fault(said: Said, tree: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tree, tmp_path / "data") / "stripes"
    good = folder / "train/good"
    (good / "1.png").write_bytes((good / "1.png").read_bytes()[:900])
    (good / "2.png").write_bytes(b"")
    (folder / "test/good/1.png").write_text("no image")
    shutil.copy(good / "3.png", folder / "test/good/copy.png")
    shutil.copy(good / "4.png", good / "again.png")
    Image.new("L", (10, 10), 255).save(folder / "ground_truth/blob/0_mask.png")
    Image.new("L", (72, 64)).save(folder / "ground_truth/blob/1_mask.png")
    (folder / "ground_truth/blob/2_mask.png").rename(folder / "ground_truth/blob/9_mask.png")
    (good / "link.png").symlink_to(tree / "stripes/train/good/0.png")
    (good / "0.png").unlink()
    code, out, err = said("data", "check", folder, "--output", tmp_path)
    assert code == 2
    assert err == "error: Faults named above: 5; mend them before training.\n"
    faults = [line.removeprefix("fault: ") for line in out.splitlines() if line.startswith("fault: ")]
    for name, words in {
        "train/good/1.png": "is damaged",
        "train/good/2.png": "is empty (0 bytes)",
        "test/good/1.png": "is not an image that can be read",
        "ground_truth/blob/0_mask.png": "is 10 x 10 pixels",
        "test/good/copy.png": "the same content in several splits",
    }.items():
        assert [words in fault for fault in faults if f"{folder / name} " in fault] == [True]
    remarks = out.split("warning: ")[1:]
    (lonely,) = [remark.partition("\nfault: ")[0] for remark in remarks if remark.startswith("Masks without an image")]
    assert lonely.split() == f"Masks without an image (1): {folder}/ground_truth/blob/9_mask.png".split()
    for name, words in {
        "train/good/again.png": "of the same content",
        "ground_truth/blob/1_mask.png": "Empty masks",
        "test/blob/2.png": "without a mask",
        "ground_truth/blob/9_mask.png": "without an image",
        "train/good/link.png": "Links that leave",
    }.items():
        assert [words in remark for remark in remarks if str(folder / name) in remark] == [True]


def test_a_folder_above_is_called_by_its_name(
    said: Said, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tree / "stripes/train")
    code, out, _ = said("data", "check", "..", "--output", tmp_path)
    assert code == 0
    assert "mvtec stripes: 14 images" in out


def test_a_link_alone_is_no_fault(said: Said, tree: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tree, tmp_path / "data") / "stripes"
    (folder / "train/good/0.png").unlink()
    (folder / "train/good/0.png").symlink_to(tree / "stripes/train/good/0.png")
    code, out, _ = said("data", "check", folder, "--output", tmp_path)
    assert code == 0
    assert out.count("warning: ") == 1
    assert "Links that leave" in out


def test_any_dataset_is_checked_by_name(said: Said, tree: Path, tmp_path: Path) -> None:
    data = ["--data", "folder", "--data.normal", tree / "stripes/train/good", "--output", tmp_path]
    code, out, _ = said("data", "check", *data)
    assert code == 0
    assert "folder good: 8 images" in out
    assert (tmp_path / "check/folder/good.jpg").is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["data"], []),
        (["data", "chekc"], ["'data chekc'", "'data check'"]),
        (["data", "check"], ["FOLDER", "--data NAME"]),
        (["data", "check", "x", "--data", "synthetic"], ["FOLDER", "--data NAME"]),
        (["data", "check", "nowhere"], ["nowhere", "is not a folder"]),
        (["data", "check", "--data", "mvtec"], ["--data.root", "data prepare mvtec"]),
        (["data", "prepare"], ["name", "--root"]),
        (["data", "prepare", "cifar10"], ["--root"]),
        (["data", "prepare", "cifar", "--root", "x"], ["'cifar'", "'cifar10'"]),
        (["data", "prepare", "folder", "--root", "x"], ["folder", "no published dataset"]),
        (["data", "prepare", "cifar10", "--rot", "x"], ["--root"]),
    ],
)
def test_what_was_mistyped_is_named(said: Said, arguments: list[str], words: list[str]) -> None:
    code, _, err = said(*arguments)
    assert code == 2
    assert all(word in err for word in words), err


@pytest.mark.slow
def test_the_four_empty_masks_of_the_magnetic_tiles(said: Said, tmp_path: Path) -> None:
    root = Path(os.environ.get("ANOMALIB_FLOWS_DATA", "/nowhere")) / "magnetic_tile"
    if not root.is_dir():
        pytest.skip("ANOMALIB_FLOWS_DATA has no magnetic_tile")
    code, out, _ = said("data", "check", root, "--output", tmp_path)
    assert code == 0
    assert [f"uneven/{i:03}_mask.png" in out for i in (50, 53, 66, 67)] == [True] * 4
    assert "Empty masks of defective images, which count for image metrics only (4):" in out
