from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from anomalib_flows.results.names import common_root, relative, unique_names

parts = st.sampled_from(["a", "A", "a.png", "a.jpg", "b", ".png", "a.b", "ß"])
suffixes = st.sampled_from(["", ".png", ".jpg", ".jpg.png", ".PNG"])
some_paths = st.lists(st.builds(lambda d, n, s: Path(f"{d}_dir") / (n + s), parts, parts, suffixes))


@given(some_paths)
@example([Path("a_dir/a"), Path("a_dir/a.jpg"), Path("A_dir/a.jpg.png")])
def test_names_never_collide(paths: list[Path]) -> None:
    # What a file system that ignores case can hold, too.
    paths = list({str(path).casefold(): path for path in paths}.values())
    names = unique_names(paths, ".png")
    assert len({str(name).casefold() for name in names}) == len(paths)
    assert [name.parent for name in names] == [path.parent for path in paths]
    assert all(name.suffix == ".png" for name in names)


@pytest.mark.parametrize(
    ("path", "root"),
    [
        ("/data/a/x.png", "/data"),
        ("/data/../x.png", "/data"),
        ("../../x.png", "."),
        ("/other/x.png", "/data"),
    ],
)
def test_pictures_never_leave_their_folder(path: str, root: str) -> None:
    found = relative(Path(path), Path(root))
    assert not found.is_absolute()
    assert ".." not in found.parts
    assert found.name == "x.png"


def test_links_keep_their_own_names(tmp_path: Path) -> None:
    (tmp_path / "store.png").touch()
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "1.png").symlink_to(tmp_path / "store.png")
    assert relative(tmp_path / "set" / "1.png", tmp_path / "set") == Path("1.png")


def test_the_common_root_is_the_deepest_folder_of_all_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert common_root([Path("a/b/1.png"), Path("a/c/1.png")]) == tmp_path / "a"
    assert common_root([Path("a/b/1.png")]) == tmp_path / "a" / "b"
    assert common_root([Path("a/b/1.png"), tmp_path / "a/bc/1.png"]) == tmp_path / "a"
