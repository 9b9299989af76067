from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from anomalib_flows.core.types import ANOMALOUS, NORMAL, Sample
from anomalib_flows.results.pictures import choose, common_root, evenly_spaced, name_figures, relative, unique_names

MakeSample = Callable[..., Sample]
SYNTHETIC = Path("/run/validation/drawn/defects")

parts = st.sampled_from(["a", "A", "a.png", "a.jpg", "b", ".png", "a.b", "ß"])
suffixes = st.sampled_from(["", ".png", ".jpg", ".jpg.png", ".PNG"])
some_paths = st.lists(st.builds(lambda d, n, s: Path(f"{d}_dir") / (n + s), parts, parts, suffixes))


def named(samples: list[Sample], limit: int) -> list[str]:
    return [name.file.as_posix() for name in name_figures(samples, SYNTHETIC, limit).values()]


@given(st.lists(st.booleans(), max_size=40), st.integers(0, 50))
def test_both_kinds_are_shown_as_evenly_as_there_are_enough(anomalous: list[bool], limit: int) -> None:
    chosen = choose(anomalous, limit)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(limit, len(anomalous))
    defective = sum(anomalous[i] for i in chosen)
    normal = len(chosen) - defective
    if abs(defective - normal) > 1:  # there are no more of the rarer kind
        assert min(defective, normal) == min(sum(anomalous), len(anomalous) - sum(anomalous))


def test_what_is_shown_reaches_from_the_first_to_the_last() -> None:
    assert choose([False] * 100 + [True] * 100, 6) == [0, 49, 99, 100, 149, 199]
    assert evenly_spaced(range(9), 3) == [0, 4, 8]


@pytest.fixture
def samples(make_sample: MakeSample) -> list[Sample]:
    names = ["good/0.png", "good/1.png", "cut/0.png", "cut/1.png", "dent/0.png"]
    return [make_sample(Path("/data/test", n), ANOMALOUS if "good" not in n else NORMAL) for n in names]


def test_names_do_not_depend_on_how_many_are_shown(samples: list[Sample]) -> None:
    assert named(samples, 5) == ["good/0.jpg", "good/1.jpg", "cut/0.jpg", "cut/1.jpg", "dent/0.jpg"]
    assert named(samples, 3) == ["good/0.jpg", "cut/0.jpg", "dent/0.jpg"]
    assert named(samples, 1) == ["cut/0.jpg"]
    assert named(samples, 0) == []


def test_names_belong_to_the_paths_of_their_images(samples: list[Sample]) -> None:
    names = name_figures(samples, SYNTHETIC, 5)
    assert list(names) == [sample.path for sample in samples]
    assert [name.title for name in names.values()] == [s.path.relative_to("/data/test").as_posix() for s in samples]


def test_names_that_would_collide_keep_their_suffixes(make_sample: MakeSample) -> None:
    names = ["test/good/0.png", "test/crack/0.png", "test/crack/1.bmp", "test/dent/1.png", "test/dent/1.jpg"]
    assert named([make_sample(Path("/data/tile", name)) for name in names], 5) == [
        "good/0.jpg",
        "crack/0.jpg",
        "crack/1.jpg",
        "dent/1.png.jpg",
        "dent/1.jpg.jpg",
    ]


def test_synthetic_defects_lie_beside_the_good_images(samples: list[Sample], make_sample: MakeSample) -> None:
    defective = make_sample(SYNTHETIC / "scratch/0000.png", ANOMALOUS)
    assert set(named([*samples[:2], defective], 3)) == {"good/0.jpg", "good/1.jpg", "scratch/0000.jpg"}
    assert named([*samples[:2], defective], 1) == ["scratch/0000.jpg"]
    assert named([defective], 1) == ["scratch/0000.jpg"]


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
