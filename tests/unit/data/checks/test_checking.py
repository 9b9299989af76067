from pathlib import Path

import numpy as np
import pytest
import torch

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.types import Sample
from anomalib_flows.data.checks.checking import Checker, check
from anomalib_flows.data.loading.reading import read_sample


@pytest.fixture
def mixed(save):
    """Twelve sound images, a broken one after the third, and two defective ones, one with a small mask."""
    samples = [Sample(save(f"{i:02}.png"), "train") for i in range(12)]
    broken = save("broken.png", np.random.default_rng(0).integers(0, 256, (32, 32), np.uint8))
    broken.write_bytes(broken.read_bytes()[:600])
    samples.insert(3, Sample(broken, "train"))
    samples.append(Sample(save("fits.png"), "test", 1, "cut", save("fits_mask.png", np.eye(8, dtype=np.uint8)[:6])))
    samples.append(Sample(save("small.png"), "test", 1, "cut", save("small_mask.png", 255, size=(3, 4))))
    return samples


def test_sound_samples_come_back_as_they_are(mixed, recwarn):
    sound = mixed[:3] + mixed[4:14]
    assert check(sound, "stop") == sound
    assert not recwarn.list
    assert check([], "stop") == []


def test_stops_at_the_first_fault_and_counts_the_others(mixed):
    with pytest.raises(InputError) as raised:
        check(mixed, "stop")
    text = str(raised.value)
    assert "broken.png is damaged" in text
    assert text.endswith("replace it, or skip it with `loader.on_error` skip (2 files have faults).")
    with pytest.raises(InputError, match=r"small_mask.png is 3 x 4 .*small.png 6 x 8.* skip\.$"):
        check(mixed[4:], "stop")


def test_skips_and_lists_faults(mixed):
    with pytest.warns(UserWarning, match=r"left out \(2\)") as caught:
        assert check(mixed, "skip") == mixed[:3] + mixed[4:14]
    (warning,) = caught
    assert "broken.png" in str(warning.message)
    assert "small_mask.png" in str(warning.message)


def test_lists_ten_faults_and_counts_the_rest(save, tmp_path):
    gone = [Sample(tmp_path / f"{i:02}.png", "train") for i in range(14)]
    there = Sample(save("there.png"), "train")
    with pytest.warns(UserWarning, match=r"left out \(14\)") as caught:
        assert check([*gone, there], "skip") == [there]
    text = str(caught[0].message)
    assert [f"{i:02}.png" in text for i in range(14)] == [True] * 10 + [False] * 4
    assert text.endswith("and 4 more")


def test_nothing_readable_is_an_error_even_if_faults_are_skipped(tmp_path):
    with pytest.warns(UserWarning, match="left out"), pytest.raises(InputError, match=r"None of 2 images.*0\.png"):
        check([Sample(tmp_path / f"{i}.png", "train") for i in range(2)], "skip")


def test_unreadable_mask_is_a_fault(save, tmp_path):
    (tmp_path / "mask.png").touch()
    with pytest.raises(InputError, match=r"mask.png is empty"):
        check([Sample(save("1.png"), "test", 1, "cut", tmp_path / "mask.png")], "stop")


def test_empty_masks_are_dropped_with_one_warning(save):
    empty = [Sample(save(f"{i}.png"), "test", 1, "cut", save(f"mask {i}.png", 0)) for i in range(6)]
    marked = Sample(save("7.png"), "test", 1, "cut", save("mask 7.png", np.eye(8, dtype=np.uint8)[:6]))
    with pytest.warns(UserWarning, match="6 masks of defective images are empty") as caught:
        checked = check([*empty, marked], "stop")
    assert len(caught) == 1
    assert [f"mask {i}.png" in str(caught[0].message) for i in range(6)] == [True] * 4 + [False] * 2
    assert [s.mask for s in checked] == [None] * 6 + [marked.mask]
    assert [s.path for s in checked] == [s.path for s in [*empty, marked]]


def test_empty_bits_of_a_deep_file_are_noticed(save):
    twelve_bits = np.linspace(0, 4095, 48).reshape(6, 8).astype(np.uint16)
    dark = Sample(save("dark.png", twelve_bits), "train")
    with pytest.warns(UserWarning, match="No image has a value above 16 of 255"):
        assert check([dark], "stop") == [dark]


def test_a_stream_stops_at_the_first_fault() -> None:
    with pytest.raises(InputError) as raised:
        Checker("stop").fault(InputError("1.png is damaged: replace it."))
    assert str(raised.value) == "1.png is damaged: replace it, or skip it with `loader.on_error` skip."


@pytest.mark.parametrize("channels_first", [True, False])
@pytest.mark.parametrize("as_values", [np.asarray, torch.from_numpy])
def test_a_stream_is_checked_like_a_list(mixed, save, channels_first, as_values) -> None:
    mixed.append(Sample(save("bare.png"), "test", 1, "cut", save("bare_mask.png", 0)))
    with pytest.warns(UserWarning, match="left out|empty") as listed:
        expected = check(mixed, "skip")
    checker, streamed = Checker("skip"), []
    for sample in mixed:
        try:
            image, mask = read_sample(sample)
        except InputError as error:
            checker.fault(error)
            continue
        pixels = image.numpy() if channels_first else image.numpy().transpose(1, 2, 0)
        streamed.append(checker.image(sample, as_values(pixels), None if mask is None else as_values(mask.numpy())))
    with pytest.warns(UserWarning, match="left out|empty") as warned:
        checker.finish()
    assert streamed == expected
    assert streamed[-1].mask is None
    assert [str(one.message) for one in warned] == [str(one.message) for one in listed]
    assert [str(one.message).partition(" ")[0] for one in warned] == ["Images", "1"]


def test_a_stream_of_dark_images_is_noticed() -> None:
    checker = Checker("stop")
    for value in (3, 17):
        checker.image(Sample(Path("dark.png"), "train"), np.full((2, 2, 3), value, np.uint8), None)
    with pytest.warns(UserWarning, match="No image has a value above 17 of 255"):
        checker.finish()


def test_a_stream_of_faults_only_is_an_error(recwarn) -> None:
    checker = Checker("skip")
    checker.fault(InputError("1.png is damaged: replace it."))
    with pytest.warns(UserWarning, match="left out"), pytest.raises(InputError, match=r"None of 1 images.*1\.png"):
        checker.finish()
    Checker("stop").finish()
    assert not recwarn.list
