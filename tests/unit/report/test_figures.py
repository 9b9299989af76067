from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.types import ANOMALOUS, NORMAL
from anomalib_flows.results.figures import choose, draw_figures, require_count, spread
from anomalib_flows.results.result import Result

Make = Callable[..., Result]
DRAWN = Path("/run/validation/drawn/defects")


def files_in(folder: Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}


@given(st.lists(st.booleans(), max_size=40), st.integers(0, 50))
def test_both_kinds_are_shown_as_evenly_as_there_are_enough(anomalous: list[bool], most: int) -> None:
    chosen = choose(anomalous, most)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(most, len(anomalous))
    defective = sum(anomalous[i] for i in chosen)
    normal = len(chosen) - defective
    if abs(defective - normal) > 1:  # there are no more of the rarer kind
        assert min(defective, normal) == min(sum(anomalous), len(anomalous) - sum(anomalous))


def test_what_is_shown_reaches_from_the_first_to_the_last() -> None:
    assert choose([False] * 100 + [True] * 100, 6) == [0, 49, 99, 100, 149, 199]
    assert spread(range(9), 3) == [0, 4, 8]


@pytest.fixture
def results(make_result: Make) -> list[Result]:
    names = ["good/0.png", "good/1.png", "cut/0.png", "cut/1.png", "dent/0.png"]
    labels = [ANOMALOUS if "good" not in name else NORMAL for name in names]
    return [make_result(path=Path("/data/test", n), label=label) for n, label in zip(names, labels, strict=True)]


def test_places_do_not_depend_on_how_many_are_shown(results: list[Result], tmp_path: Path) -> None:
    draw_figures(results, tmp_path / "all", DRAWN, 5)
    draw_figures(results, tmp_path / "one", DRAWN, 1)
    draw_figures(results, tmp_path / "some", DRAWN, 3)
    assert files_in(tmp_path / "all") == {"good/0.jpg", "good/1.jpg", "cut/0.jpg", "cut/1.jpg", "dent/0.jpg"}
    assert files_in(tmp_path / "some") == {"good/0.jpg", "cut/0.jpg", "dent/0.jpg"}
    assert files_in(tmp_path / "one") == {"cut/0.jpg"}


def test_drawn_defects_lie_beside_the_good_images(results: list[Result], make_result: Make, tmp_path: Path) -> None:
    spoilt = [make_result(path=DRAWN / "scratch/0000.png", label=ANOMALOUS)]
    draw_figures([*results[:2], *spoilt], tmp_path / "images", DRAWN, 3)
    assert files_in(tmp_path / "images") == {"good/0.jpg", "good/1.jpg", "scratch/0000.jpg"}
    draw_figures([*results[:2], *spoilt], tmp_path / "images", DRAWN, 1)
    assert files_in(tmp_path / "images") == {"scratch/0000.jpg"}


def test_without_figures_former_ones_do_not_stay(results: list[Result], tmp_path: Path) -> None:
    draw_figures(results, tmp_path / "images", DRAWN, 1)
    draw_figures(results, tmp_path / "images", DRAWN, 0)
    assert not list(tmp_path.iterdir())


def test_a_number_below_zero_is_refused() -> None:
    require_count(0)
    with pytest.raises(InputError, match="--pictures cannot be -1"):
        require_count(-1)
