from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomalib_flows.core.types import ANOMALOUS, NORMAL, Sample
from anomalib_flows.results.figures import choose, evenly_spaced, name_figures

MakeSample = Callable[..., Sample]
SYNTHETIC = Path("/run/validation/drawn/defects")


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
