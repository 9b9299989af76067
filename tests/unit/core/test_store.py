"""Tensors that were put are those that one gets; a full or damaged store is no error."""

from pathlib import Path

import pytest
import torch

from anomalib_flows.core.files import temporary_folder
from anomalib_flows.core.store import Store, clear, files, pack, unpack

ONE = {"x": torch.ones(1)}
SIZE = len(pack(ONE))


def store(folder: Path, limit: int = 10**6) -> Store:
    return Store(folder, limit, "trainer.cache_size", "features are computed each time")


def test_tensors_come_back_in_their_types(tmp_path) -> None:
    tensors = {
        "half": torch.randn(2, 3).half(),
        "bfloat": torch.randn(2).bfloat16(),
        "size": torch.tensor([3, 4]),
        "mask": torch.rand(4, 4) > 0.5,
    }
    store(tmp_path).put("a", tensors)
    found = store(tmp_path).get("a")
    assert set(found) == set(tensors)
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
    assert store(tmp_path).get("b") is None


def test_tensors_that_share_memory_are_kept(tmp_path) -> None:
    kept, both = store(tmp_path), torch.arange(6.0)
    kept.put("a", {"x": both, "y": both[2:]})
    assert torch.equal(kept.get("a")["y"], both[2:])


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-1], lambda b: b"", lambda b: b"abc", lambda b: b[:20] + b"!" + b[21:]]
)
def test_damaged_files_count_as_not_kept(tmp_path, damage) -> None:
    kept = store(tmp_path)
    kept.put("a", ONE)
    kept.file("a").write_bytes(damage(pack(ONE)))
    assert kept.get("a") is None
    with pytest.raises(ValueError, match="damaged"):
        unpack(damage(pack(ONE)))


def test_room_that_another_process_frees_is_noticed(tmp_path, monkeypatch) -> None:
    for name in "abcde":
        store(tmp_path).put(name, ONE)
    full = store(tmp_path, int(2.5 * SIZE))
    monkeypatch.setattr("anomalib_flows.core.store.STALE", 0.0)
    with pytest.warns(UserWarning, match="`trainer.cache_size` .* is used up.*features are computed each time"):
        full.put("f", ONE)
    assert full.get("f") is None
    assert clear(tmp_path) == 5
    full.put("f", ONE)
    assert torch.equal(full.get("f")["x"], ONE["x"])


def test_a_store_stays_below_its_limit_and_warns_once(tmp_path) -> None:
    full = store(tmp_path, int(3.5 * SIZE))
    for name in "abc":
        full.put(name, ONE)
    with pytest.warns(UserWarning, match="is used up"):
        full.put("d", ONE)
    full.put("e", ONE)  # a second warning would be an error
    assert sum(files(tmp_path).values()) == 3 * SIZE
    assert sorted(file.stem for file in files(tmp_path)) == ["a", "b", "c"]


def test_a_store_of_no_bytes_writes_nothing(tmp_path) -> None:
    store(tmp_path / "cache", 0).put("a", ONE)
    assert not (tmp_path / "cache").exists()


def test_other_files_of_the_folder_stay(tmp_path) -> None:
    (tmp_path / "notes.txt").write_text("kept")
    store(tmp_path).put("a", ONE)
    assert sum(files(tmp_path).values()) == SIZE
    assert clear(tmp_path) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


def test_clearing_removes_what_killed_processes_left_and_nothing_of_living_ones(tmp_path) -> None:
    (tmp_path / ".tmp-killed").mkdir()
    (tmp_path / ".tmp-killed/a.item").touch()
    with temporary_folder(tmp_path) as living:
        (living / "a.item").touch()
        store(tmp_path).put("b", ONE)
        assert clear(tmp_path, "**/*.item") == 1
        assert [file.name for file in tmp_path.rglob("*")] == [living.name, "a.item"]


def test_folders_that_are_empty_afterwards_are_removed(tmp_path) -> None:
    for name in ("board/train/1.png", "board/test/2.png", ".board-1/train/3.png", "fabric/notes.txt", "fabric/4.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert clear(tmp_path, "**/*.png") == 4
    assert {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*")} == {"fabric", "fabric/notes.txt"}
