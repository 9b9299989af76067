"""The corpus is read with limits: what takes more, or raises another error than ours, is found."""

import io
import os
import signal
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import try_corpus
from anomalib_flows import InputError

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="children with limits are forked")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def raised(error: Exception):
    def read(_: Path) -> None:
        raise error

    return read


@pytest.mark.parametrize(
    ("what", "read"),
    [
        ("read", lambda _: None),
        ("refused", raised(InputError("No image: replace it."))),
        ("raised another error", raised(InputError("Two\nlines"))),
        ("raised another error", raised(KeyError("x"))),
        ("was killed", lambda _: os.kill(os.getpid(), signal.SIGKILL)),
        ("took too long", lambda _: list(iter(int, 1))),
        ("took too much memory", lambda _: np.ones(10**7)),
    ],
)
def test_every_outcome_is_told_apart(file: Path, monkeypatch, what: str, read) -> None:
    monkeypatch.setattr(try_corpus, "read_pixels", read)
    monkeypatch.setattr(try_corpus, "SECONDS", 1)
    if what == "took too much memory":
        monkeypatch.setattr(try_corpus, "MEGABYTES", try_corpus.read_apart(file).megabytes / 2)
        monkeypatch.setattr(try_corpus, "LIMIT", 4 * 10**10)
    assert try_corpus.read_apart(file).what == what


def test_a_corpus_is_read_and_checked(file: Path, tmp_path: Path, capsys) -> None:
    (file.parent / "broken.png").write_bytes(file.read_bytes()[:50])
    with tarfile.open(tmp_path / "corpus.tar.gz", "w:gz") as archive:
        for name in ("a.png", "broken.png"):
            archive.add(file.parent / name, f"corpus/images/{name}")
        archive.addfile(tarfile.TarInfo("corpus/images/empty.png"), io.BytesIO())
    with pytest.raises(SystemExit) as ended:
        try_corpus.try_corpus(tmp_path / "corpus.tar.gz")
    said = capsys.readouterr().out
    assert "3 files: 1 read, 2 refused, 0 raised" in said
    assert "data check" in said
    assert not ended.value.code
