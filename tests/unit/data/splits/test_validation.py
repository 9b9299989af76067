"""The validation split: drawn from the normal images, labelled by drawn defects."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.types import Sample
from anomalib_flows.data.loading.reading import read_sample
from anomalib_flows.data.splits import draw_defects, hold_out, hold_out_validation


def training(count: int) -> list[Sample]:
    return [Sample(Path(f"/data/{i}.png"), "train") for i in range(count)]


def test_it_is_drawn_from_what_calibration_leaves() -> None:
    samples = [*training(100), Sample(Path("/t/1.png"), "test")]
    calibrated = hold_out(samples, 0.2, 3)
    split = hold_out_validation(calibrated, 0.25, 3)
    assert Counter(s.split for s in split) == {"train": 60, "calibration": 20, "validation": 20, "test": 1}
    assert [s.path for s in split] == [s.path for s in samples]
    kept = [s for s in calibrated if s.split != "train"]
    assert set(kept) <= set(split), "the other splits stay as they are"


def test_a_seed_repeats_it_and_none_asked_for_changes_nothing() -> None:
    samples = training(40)
    assert hold_out_validation(samples, 0.1, 1) == hold_out_validation(samples, 0.1, 1)
    assert hold_out_validation(samples, 0.1, 1) != hold_out_validation(samples, 0.1, 2)
    assert hold_out_validation(samples, 0, 1) is samples


@pytest.mark.parametrize(("count", "fraction"), [(10, 0.1), (2, 0.9), (0, 0.5)])
def test_too_few_are_said(count, fraction) -> None:
    with pytest.raises(
        InputError, match=rf"`split.validation_fraction` {fraction} of {count} training images is too few"
    ):
        hold_out_validation(training(count), fraction, 0)


@pytest.fixture
def held_out(save) -> list[Sample]:
    rng = np.random.default_rng(0)
    images = [save(f"{i}.png", rng.integers(90, 160, (70, 50 + i, 3), np.uint8)) for i in range(4)]
    return [Sample(images[0], "train"), *(Sample(path, "validation") for path in images[1:])]


def test_every_validation_image_is_drawn_on_with_a_mask(held_out, tmp_path) -> None:
    drawn = draw_defects(held_out, tmp_path / "drawn", seed=0)
    assert len(drawn) == 3
    for spoilt, good in zip(drawn, held_out[1:], strict=True):
        assert (spoilt.split, spoilt.label) == ("validation", 1)
        (image, mask), (before, _) = read_sample(spoilt), read_sample(good)
        change = (image.float() - before.float()).abs().amax(0)
        assert change[mask].mean() > 8
        assert change[~mask].mean() < 1


def test_what_is_drawn_repeats_itself(held_out, tmp_path) -> None:
    first, again, other = (
        draw_defects(held_out, tmp_path / name, seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    read = [[read_sample(sample)[0] for sample in drawn] for drawn in (first, again, other)]
    assert all(torch.equal(a, b) for a, b in zip(read[0], read[1], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(read[0], read[2], strict=True))


def test_nothing_is_drawn_where_the_dataset_has_defects_to_validate_with(held_out, tmp_path) -> None:
    bad = Sample(held_out[3].path, "validation", 1, "cut")
    assert draw_defects([*held_out[:3], bad], tmp_path / "drawn", seed=0) == []
    assert not (tmp_path / "drawn").exists()


def test_nothing_held_out_writes_nothing(held_out, tmp_path) -> None:
    assert draw_defects(held_out[:1], tmp_path / "drawn", seed=0) == []
    assert not (tmp_path / "drawn").exists()
