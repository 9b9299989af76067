from pathlib import Path

import pytest

from anomalib_flows.core.errors import InputError
from anomalib_flows.run.component import Component
from anomalib_flows.run.options import ImageOptions, LoaderOptions, SplitOptions, TrainerOptions, parse_size


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (256, (256, 256)),
        ("256", (256, 256)),
        ("256,320", (256, 320)),
        ("256x320", (256, 320)),
        ("[256, 320]", (256, 320)),
        ((256, 320), (256, 320)),
        ([256, 320], (256, 320)),
    ],
)
def test_sizes(value, size):
    assert parse_size(value, "image.size") == size
    assert ImageOptions(size=value).height_width == size


@pytest.mark.parametrize("value", [0, -1, "256,0", "0x256", "256,-3", "1,2,3", "", "big", "25.6", (), (1, 2, 3), "3,"])
def test_what_is_no_size(value):
    with pytest.raises(InputError, match="`image.size` .* is not a size: write 256"):
        ImageOptions(size=value)


@pytest.mark.parametrize(
    ("record", "field", "value"),
    [
        (LoaderOptions, "loader.batch_size", 0),
        (LoaderOptions, "loader.workers", -1),
        (LoaderOptions, "loader.cache_size", 0),
        (SplitOptions, "split.calibration_fraction", 0.0),
        (SplitOptions, "split.calibration_fraction", 1.0),
        (SplitOptions, "split.calibration_fraction", float("nan")),
        (SplitOptions, "split.validation_fraction", -0.1),
    ],
)
def test_bad_options_are_refused_at_once(record, field, value):
    with pytest.raises(InputError, match=f"`{field}` cannot be {value}"):
        record(**{field.rpartition(".")[2]: value})


def test_text_becomes_a_path_where_a_dataset_takes_paths() -> None:
    dataset = Component("folder", {"normal": ["1", "2"], "root": "photos", "mask_ending": "_gt"}).build("datasets")
    assert (dataset.normal, dataset.root) == ([Path("1"), Path("2")], Path("photos"))
    assert (dataset.abnormal, dataset.mask_ending, dataset.table) == ([], "_gt", None)


def test_the_length_of_a_training_is_set_once() -> None:
    with pytest.raises(InputError, match=r"`trainer.max_steps` and `trainer.max_epochs` both set"):
        TrainerOptions(max_steps=5, max_epochs=1)
    assert TrainerOptions().epochs(21) == 6
    assert TrainerOptions().epochs(1000) == 1
    assert TrainerOptions(max_epochs=3).epochs(1000) == 3


@pytest.mark.parametrize(
    ("images", "batch"), [(1, 4), (12, 4), (16, 4), (17, 5), (69, 18), (126, 32), (129, 26), (647, 31), (10_000, 32)]
)
def test_few_images_make_several_batches(images, batch) -> None:
    assert LoaderOptions().for_training(images, 32).batch_size == batch
    assert LoaderOptions(batch_size=7).for_training(images, 32).batch_size == 7


def test_commands_that_do_not_train_read_32_images_at_once() -> None:
    assert LoaderOptions().images_per_batch == 32


def test_batches_are_of_much_the_same_size() -> None:
    for images in range(13, 2000):
        size = LoaderOptions().for_training(images, 16).images_per_batch
        batches = -(-images // size)
        assert size <= 16
        assert batches >= 4
        last = images - size * (batches - 1)
        assert size - last < batches  # one image of each other batch would fill it
