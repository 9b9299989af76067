"""Downloads, from a server of our own."""

from __future__ import annotations

import errno
import hashlib
import http.server
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from anomalib_flows.core.errors import InputError
from anomalib_flows.data.datasets.base import Archive
from anomalib_flows.data.publish import download as module
from anomalib_flows.data.publish.download import download, verify

CONTENT = bytes(range(256)) * 400
MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"  # noqa: S324
FILE = "set.tar.gz"


class Server(http.server.ThreadingHTTPServer):
    """Serve CONTENT; ``breaks`` says after how many bytes each connection breaks, ``ranges`` whether parts are sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.breaks: list[int] = []
        self.ranges = True
        self.lengths = True
        self.status = 0
        self.asked: list[str | None] = []

    @property
    def archive(self) -> Archive:
        return Archive(FILE, f"http://127.0.0.1:{self.server_port}/{FILE}", MD5)


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers["Range"]
        self.server.asked.append(asked)
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and self.server.ranges else 0
        if self.server.status or start >= len(CONTENT):
            self.send_response(self.server.status or 416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        if self.server.lengths:
            self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        limit = self.server.breaks.pop(0) if self.server.breaks else len(CONTENT)
        self.wfile.write(CONTENT[start : start + limit])

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(module, "PAUSE", 0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_the_file_arrives_whole_and_nothing_else(server: Server, tmp_path: Path) -> None:
    file = download(server.archive, tmp_path / "new")
    assert file.read_bytes() == CONTENT
    assert list((tmp_path / "new").iterdir()) == [file]


def test_what_is_there_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    download(server.archive, tmp_path)
    download(server.archive, tmp_path)
    assert server.asked == [None]


def test_a_broken_connection_is_resumed_at_once(server: Server, tmp_path: Path) -> None:
    server.breaks = [1000, 50_000]
    assert download(server.archive, tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1000-", "bytes=51000-"]


def test_the_next_call_goes_on_where_the_last_one_gave_up(server: Server, tmp_path: Path) -> None:
    server.breaks = [1000, 0, 0, 0]
    with pytest.raises(InputError, match=rf"1000 bytes are kept in .*{FILE}\.part, and the next download continues"):
        download(server.archive, tmp_path)
    assert (tmp_path / f"{FILE}.part").read_bytes() == CONTENT[:1000]
    assert download(server.archive, tmp_path).read_bytes() == CONTENT
    assert server.asked[-1] == "bytes=1000-"
    assert not (tmp_path / f"{FILE}.part").exists()


def test_a_part_that_was_whole_already_becomes_the_file(server: Server, tmp_path: Path) -> None:
    (tmp_path / f"{FILE}.part").write_bytes(CONTENT)
    assert download(server.archive, tmp_path).read_bytes() == CONTENT


def test_a_part_that_is_too_long_is_dropped(server: Server, tmp_path: Path) -> None:
    (tmp_path / f"{FILE}.part").write_bytes(CONTENT + b"more")
    assert download(server.archive, tmp_path).read_bytes() == CONTENT


def test_a_server_that_sends_no_parts_sends_all_again(server: Server, tmp_path: Path) -> None:
    server.ranges, server.breaks = False, [1000]
    assert download(server.archive, tmp_path).read_bytes() == CONTENT


def test_a_server_that_tells_no_length_is_believed(server: Server, tmp_path: Path) -> None:
    server.lengths = False
    assert download(server.archive, tmp_path).read_bytes() == CONTENT


def test_another_content_is_refused_and_not_kept(server: Server, tmp_path: Path) -> None:
    other = Archive(FILE, server.archive.url, "sha256:" + 64 * "0")
    with pytest.raises(InputError, match=r"sha256 is \w{64}, where 0{64} is published"):
        download(other, tmp_path / "new")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("status", "attempts"), [(404, 1), (403, 1), (408, 3), (429, 3), (503, 3)])
def test_a_refusal_is_said(server: Server, tmp_path: Path, status: int, attempts: int) -> None:
    server.status = status
    with pytest.raises(InputError, match=re.escape(server.archive.url)):
        download(server.archive, tmp_path / "new")
    assert len(server.asked) == attempts
    assert not list(tmp_path.iterdir())


def test_a_network_that_goes_while_reading_is_said(server: Server, tmp_path: Path, monkeypatch) -> None:
    def write(*_: object) -> None:
        raise OSError(errno.EHOSTUNREACH, "No route to host")

    monkeypatch.setattr(module, "append", write)
    with pytest.raises(InputError, match="No route to host.*try again later"):
        download(server.archive, tmp_path)


def test_no_server_is_said(server: Server, tmp_path: Path) -> None:
    nobody = Archive(FILE, "http://127.0.0.1:9/none")
    with pytest.raises(InputError, match=r"cannot be downloaded \(.*refused.*\): try again later\.$"):
        download(nobody, tmp_path)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/file", ""])
def test_other_addresses_than_those_of_the_web_are_not_opened(tmp_path: Path, url: str) -> None:
    with pytest.raises(InputError, match="not a web address"):
        download(Archive("passwd", url), tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_name_of_a_file_is_no_path(server: Server, tmp_path: Path) -> None:
    outside = Archive("../outside.tar", server.archive.url, MD5)
    assert download(outside, tmp_path / "in") == tmp_path / "in/outside.tar"


def test_checksums(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"abc")
    verify(file, "md5:900150983CD24FB0D6963F7D28E17F72")  # RFC 1321
    verify(file, "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")  # FIPS 180
    verify(file, "")
    with pytest.raises(InputError, match="damaged or another version"):
        verify(file, "md5:900150983cd24fb0d6963f7d28e17f73")
    assert file.exists()
