from pathlib import Path

import pytest

from anomalib_flows.core.files import atomic


def test_file_appears_only_when_whole(tmp_path: Path) -> None:
    file = tmp_path / "sub" / "model.bin"
    with atomic(file) as temporary:
        temporary.write_bytes(b"first half")
        assert temporary.parent.parent == file.parent  # on the same disk
        assert temporary.name == file.name
        assert not file.exists()
    assert file.read_bytes() == b"first half"
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_failure_keeps_the_old_file_and_leaves_nothing_else(tmp_path: Path, error: BaseException) -> None:
    file = tmp_path / "table.csv"
    file.write_text("old")

    def fail(target: Path) -> None:
        with atomic(target) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(type(error)) as raised:
        fail(file)
    assert raised.value is error
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_others_may_read_as_much_as_of_any_new_file(tmp_path: Path) -> None:
    plain, file = tmp_path / "plain", tmp_path / "file"
    plain.touch()
    with atomic(file) as temporary:
        temporary.touch(mode=0o600)  # as safetensors does
    assert file.stat().st_mode == plain.stat().st_mode


def test_names_as_long_as_the_file_system_allows(tmp_path: Path) -> None:
    file = tmp_path / ("n" * 251 + ".png")
    with atomic(file) as temporary:
        temporary.touch()
    assert file.exists()
