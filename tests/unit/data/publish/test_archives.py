"""Archives of unknown origin are unpacked whole, or refused with one sentence."""

from __future__ import annotations

import io
import random
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalib_flows.core.errors import InputError
from anomalib_flows.data.publish import archives
from anomalib_flows.data.publish.archives import extract

FILES = {"nut/train/good/0.png": b"one", "nut/test/cut/0.png": b"two" * 1000, "readme.txt": b""}


def tar(path: Path, members: dict[str, bytes] | list[tarfile.TarInfo], mode: str = "w:gz") -> Path:
    """Write a tar file of files, or of members of any kind that hold nothing."""
    with tarfile.open(path, mode) as archive:
        for member in members:
            info = member if isinstance(member, tarfile.TarInfo) else tarfile.TarInfo(member)
            content = b"" if isinstance(member, tarfile.TarInfo) else members[member]
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def special(kind: bytes, target: str = "") -> list[tarfile.TarInfo]:
    info = tarfile.TarInfo("nut/link")
    info.type, info.linkname = kind, target
    return [tarfile.TarInfo("nut/0.png"), info]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in/deep").mkdir(parents=True)
    return tmp_path / "in/deep"


@pytest.fixture
def refused(folder: Path, tmp_path: Path):
    """Unpack an archive that must be refused in one sentence, without a trace outside the folder; return it."""

    def run(archive: Path) -> str:
        before = {path for path in tmp_path.rglob("*") if not path.is_relative_to(folder)}
        with pytest.raises(InputError) as raised:
            extract(archive, folder)
        assert {path for path in tmp_path.rglob("*") if not path.is_relative_to(folder)} == before
        assert str(raised.value).startswith(str(archive))
        assert "\n" not in str(raised.value)
        return str(raised.value)

    return run


@pytest.mark.parametrize("mode", ["w:", "w:gz", "w:bz2", "w:xz", "zip"])
def test_whatever_the_format_and_the_name_all_is_unpacked(folder: Path, tmp_path: Path, mode: str) -> None:
    archive = tmp_path / "a.bin"
    if mode == "zip":
        zipped(archive, FILES)
    else:
        tar(archive, FILES, mode)
    extract(archive, folder)
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert files == FILES


def test_rights_and_owners_are_not_taken_over(folder: Path, tmp_path: Path) -> None:
    info = tarfile.TarInfo("run.sh")
    info.mode, info.uid = 0o6777, 4711
    extract(tar(tmp_path / "a.tar", [info]), folder)
    plain = folder / "plain"
    plain.touch()
    assert (folder / "run.sh").stat().st_mode == plain.stat().st_mode
    assert (folder / "run.sh").stat().st_uid == plain.stat().st_uid


@pytest.mark.parametrize("name", ["/etc/x", "../x", "nut/../../x", "..", "C:\\x", "C:x", "..\\x", "\\\\server\\x"])
@pytest.mark.parametrize("write", [tar, zipped])
def test_no_path_leaves_the_folder(refused, tmp_path: Path, name: str, write) -> None:
    message = refused(write(tmp_path / "a", {"nut/0.png": b"", name: b"evil"}))
    assert "may lead out of the folder" in message
    assert repr(name) in message


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        (tarfile.SYMTYPE, "/etc/passwd"),
        (tarfile.SYMTYPE, "0.png"),
        (tarfile.LNKTYPE, "nut/0.png"),
        (tarfile.CHRTYPE, ""),
        (tarfile.BLKTYPE, ""),
        (tarfile.FIFOTYPE, ""),
    ],
)
def test_links_and_devices_are_refused(refused, tmp_path: Path, kind: bytes, target: str) -> None:
    assert "holds a link, device or sparse file, 'nut/link'" in refused(tar(tmp_path / "a", special(kind, target)))


def test_nothing_is_written_through_a_link(refused, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    link = tarfile.TarInfo("out")
    link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "outside")
    refused(tar(tmp_path / "a", [link, tarfile.TarInfo("out/file")]))
    assert not list((tmp_path / "outside").iterdir())


def test_links_of_zip_files_are_refused(refused, tmp_path: Path) -> None:
    info = zipfile.ZipInfo("nut/link")
    info.create_system, info.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    assert "holds a link or device, 'nut/link'" in refused(tmp_path / "a")


def test_sparse_files_are_refused(refused, tmp_path: Path) -> None:
    """A terabyte of zeros takes no bytes in a tar file."""
    head = bytearray(tarfile.TarInfo("zeros").tobuf(tarfile.GNU_FORMAT))
    head[156:157] = tarfile.GNUTYPE_SPARSE
    head[386:398] = head[398:410] = b"%011o\0" % 0  # one piece of no bytes
    head[483:495] = b"%011o\0" % 2**32  # size of the file
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    (tmp_path / "a").write_bytes(bytes(head) + bytes(1024))
    assert "sparse file, 'zeros'" in refused(tmp_path / "a")


@pytest.mark.parametrize("write", [tar, zipped])
def test_a_bomb_of_zeros_is_refused_before_it_fills_the_disk(
    refused, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write
) -> None:
    monkeypatch.setattr(archives, "HARMLESS", 2**20)
    archive = write(tmp_path / "a", {f"{i}.png": bytes(2**20) for i in range(20)})
    assert archive.stat().st_size < 2**16
    assert "more than 100 times its own size" in refused(archive)
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) <= 100 * archive.stat().st_size


def test_a_bomb_in_the_headers_is_refused(refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "HARMLESS", 2**20)
    archive = tar(tmp_path / "a", {"x" * 8 * 2**20: b""})
    assert archive.stat().st_size < 2**16
    assert "more than 100 times its own size" in refused(archive)


def test_files_that_hardly_expand_may_be_as_large_as_they_are(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "HARMLESS", 0)
    content = bytes(range(256)) * 512
    extract(tar(tmp_path / "a", {"x": content}, "w:"), folder)
    assert (folder / "x").read_bytes() == content


def test_too_many_files_are_refused(refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MOST_MEMBERS", 5)
    assert "more than 5 files" in refused(tar(tmp_path / "a", {str(i): b"" for i in range(6)}))


@pytest.mark.parametrize(
    "names", [["a", "a"], ["a", "./a"], ["a", "a/b"], ["a/b", "a"]], ids=["same", "dotted", "under", "above"]
)
def test_no_file_is_written_twice(refused, folder: Path, tmp_path: Path, names: list[str]) -> None:
    assert "two members of one name" in refused(tar(tmp_path / "a", [tarfile.TarInfo(name) for name in names]))


def test_folders_may_be_named_twice(folder: Path, tmp_path: Path) -> None:
    twice = [tarfile.TarInfo("nut"), tarfile.TarInfo("nut")]
    for info in twice:
        info.type = tarfile.DIRTYPE
    extract(tar(tmp_path / "a", [*twice, tarfile.TarInfo("nut/0.png")]), folder)
    assert (folder / "nut/0.png").is_file()


@pytest.mark.parametrize("names", [["Cut/0.png", "cut/0.png"], ["Cut/0.png", "cut/1.png"]])
def test_upper_and_lower_case_must_differ_on_the_disk_too(
    refused, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> None:
    archive = tar(tmp_path / "a", dict.fromkeys(names, b""))
    if archives.ignores_case(folder):
        pytest.skip("this disk cannot use both")
    (tmp_path / "other").mkdir()
    extract(archive, tmp_path / "other")
    assert all((tmp_path / "other" / name).is_file() for name in names)
    monkeypatch.setattr(archives, "ignores_case", lambda folder: True)
    assert "one name on this disk" in refused(archive)


@pytest.mark.parametrize("name", ["a" * 300, "a/" * 3000 + "b", "line\nbreak"])
def test_names_that_the_disk_cannot_hold_are_refused(refused, tmp_path: Path, name: str) -> None:
    assert "which this system cannot use" in refused(tar(tmp_path / "a", {name: b""}))


@pytest.mark.parametrize("name", ["nul", "con.png", "12:30.png", "a?.png", "dot."])
def test_names_that_windows_takes_for_something_else_are_refused_there(name: str, monkeypatch) -> None:
    assert archives.safe_name(name).as_posix() == name
    monkeypatch.setattr(archives.os, "name", "nt")
    with pytest.raises(InputError, match="cannot use"):
        archives.safe_name(name)


@pytest.mark.parametrize("mode", ["w:", "w:gz", "w:bz2", "w:xz", "zip"])
@pytest.mark.parametrize("kept", [0.5, 0.97])
def test_truncated_archives_are_named(refused, tmp_path: Path, mode: str, kept: float) -> None:
    noise = {f"{i}.png": random.Random(i).randbytes(5000) for i in range(4)}  # noqa: S311
    whole = zipped(tmp_path / "a", noise) if mode == "zip" else tar(tmp_path / "a", noise, mode)
    size = whole.stat().st_size - (10240 if mode == "w:" else 0)  # a plain tar file ends with zeros that do not count
    whole.write_bytes(whole.read_bytes()[: int(size * kept)])
    assert "is damaged or not a tar or zip file" in refused(whole)


def unpacked(archive: Path) -> dict[str, bytes] | None:
    """Unpack into a new folder; return the files, or None if the archive is refused."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            extract(archive, Path(folder))
        except InputError:
            return None
        return {p.relative_to(folder).as_posix(): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


NAMES = {"1.png": 900, "folder/2.png": 512, "a" * 120: 40, "3.png": 2000}  # one with a header of its own for its name


@pytest.fixture(scope="module", params=["w:", "w:gz"])
def sound(request, tmp_path_factory) -> Path:
    noise = {name: random.Random(name).randbytes(size) for name, size in NAMES.items()}  # noqa: S311
    return tar(tmp_path_factory.mktemp("sound") / "a", noise, request.param)


@settings(deadline=None, max_examples=150)
@given(share=st.floats(0, 1))
def test_a_truncated_tar_is_refused_or_whole(sound: Path, share: float) -> None:
    whole = sound.read_bytes()
    cut = sound.with_name("cut")
    cut.write_bytes(whole[: int(share * len(whole))])
    assert unpacked(cut) in (None, unpacked(sound))


@settings(deadline=None, max_examples=300)
@given(share=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_loses_no_file_of_a_tar(sound: Path, share: float, bit: int) -> None:
    content = bytearray(sound.read_bytes())
    content[int(share * len(content))] ^= 1 << bit
    flipped = sound.with_name("flipped")
    flipped.write_bytes(content)
    found = unpacked(flipped)
    # Contents and long names of a plain tar have no checksum.
    assert found is None or sorted(map(len, found.values())) == sorted(NAMES.values())


def test_what_follows_the_end_of_a_tar_is_refused(refused, tmp_path: Path) -> None:
    first, second = (tar(tmp_path / name, {f"{name}.png": b"1"}, "w:").read_bytes() for name in "ab")
    (tmp_path / "c").write_bytes(first + second)
    assert "it goes on after its end" in refused(tmp_path / "c")


@pytest.mark.parametrize("mode", ["w:", "zip"])
def test_archives_without_their_beginning_are_named(refused, tmp_path: Path, mode: str) -> None:
    noise = {f"{i}.png": random.Random(i).randbytes(5000) for i in range(4)}  # noqa: S311
    whole = zipped(tmp_path / "a", noise) if mode == "zip" else tar(tmp_path / "a", noise, mode)
    whole.write_bytes(whole.read_bytes()[4000:])
    assert "is damaged or not a tar or zip file" in refused(whole)


def test_a_tar_that_ends_with_a_zip_is_a_tar(folder: Path, tmp_path: Path) -> None:
    inner = zipped(tmp_path / "inner.zip", {"x": b"1"}).read_bytes()
    extract(tar(tmp_path / "a", {"0.png": b"one", "PK.zip": inner}, "w:"), folder)
    assert {path.name for path in folder.iterdir()} == {"0.png", "PK.zip"}


@pytest.mark.parametrize("content", [b"", b"<html>Not found</html>", b"\x1f\x8bno gzip", b"PK\x05\x06" + bytes(18)])
def test_what_is_no_archive_is_named(refused, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    assert any(words in refused(tmp_path / "a") for words in ("is damaged or not a tar or zip file", "holds no files"))


def test_changed_content_is_noticed(refused, tmp_path: Path) -> None:
    archive = tmp_path / "a"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as stored:
        stored.writestr("0.png", b"good content")
    archive.write_bytes(archive.read_bytes().replace(b"good", b"evil"))
    assert "is damaged" in refused(archive)


def test_encrypted_files_are_refused(refused, tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a", {"0.png": b"secret"})
    content = bytearray(archive.read_bytes())
    content[6] |= 1  # flag of the file's own header, and of its entry in the directory
    content[content.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(content)
    assert "encrypted" in refused(archive)
