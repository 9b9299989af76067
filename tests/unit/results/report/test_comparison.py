"""A page that compares runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from anomalib_flows.core.errors import InputError
from anomalib_flows.results.report import comparison, write_comparison
from drawn_results import IMAGES, write_predictions, write_run


@pytest.fixture
def first(tmp_path: Path) -> Path:
    return write_run(tmp_path / "fastflow/mvtec/stripes/run-001")


def compare(*paths: Path) -> str:
    """Text of a comparison as it is read, in one line."""
    text = write_comparison(paths, paths[0].parent / "comparison.html").read_text().partition("</style>")[2]
    return " ".join(re.sub(r"<[^>]*>", " ", text).split())


def test_disagreements_are_counted_and_shown(first: Path, tmp_path: Path) -> None:
    # The second run finds blob/0 and misses blob/3, which the first one found with the highest score.
    raw = {"/data/stripes/test/blob/0.png": 3.0, "/data/stripes/test/blob/3.png": 0.0}
    images = [one._replace(raw=raw.get(one.path, one.raw)) for one in IMAGES]
    text = compare(first, write_run(tmp_path / "cflow/mvtec/stripes/run-001", images))
    assert "Comparison of 2 runs" in text
    assert "decide differently on 2 of 12 images, and 3 images are wrong in all of them" in text
    assert text.index(" 3.png ") < text.index(" 0.png ")  # the larger difference first
    assert "fastflow/mvtec/stripes/run-001 0.9000" in text  # legend of a curve
    assert "1 of 6 3 of 6 1" in text  # false alarms, missed, wrong here alone
    assert "different data" not in text


def test_different_data_are_compared_as_far_as_it_makes_sense(first: Path, tmp_path: Path) -> None:
    other = write_run(
        tmp_path / "other", [one._replace(path=f"/elsewhere/{one.path}") for one in IMAGES], subset="dots"
    )
    text = compare(first, other)
    assert "tested on different data (mvtec dots; mvtec stripes)" in text
    assert "No image is in the results of all runs" in text
    assert "Where they disagree" not in text


def test_runs_without_truth_have_no_metrics(first: Path, tmp_path: Path) -> None:
    text = compare(first, write_predictions(tmp_path / "predicted", IMAGES[:5]))
    assert "The truth is unknown for predicted" in text
    assert "compared on the 5 images" in text
    assert "decide differently on 0 of 5 images" in text
    assert "different data" not in text


def test_predictions_alone_are_not_called_wrong(tmp_path: Path) -> None:
    text = compare(*(write_predictions(tmp_path / name) for name in ("first", "second")))
    assert "Comparison of 2 results" in text
    assert "wrong in all" not in text


def test_the_number_of_images_is_bounded(first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "SHOWN", 2)
    text = compare(first, write_run(tmp_path / "other", [one._replace(raw=-one.raw) for one in IMAGES]))
    assert "The 2 images whose scores differ most are shown" in text
    assert "blob/3.png" in text


def test_a_run_is_named_once(first: Path) -> None:
    with pytest.raises(InputError, match="twice"):
        write_comparison([first, first / "../run-001"], first / "c.html")
