import threading

import numpy as np
import pytest
import torch

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.preprocess import resize
from anomalib_flows.core.types import Sample
from anomalib_flows.data.loading.loader import Loader, read_resized, reading_threads
from anomalib_flows.data.loading.reading import read_image
from anomalib_flows.run.options import ImageOptions, LoaderOptions

IMAGE = ImageOptions(size=(8, 12))


def loader(samples: list[Sample], image: ImageOptions = IMAGE, seed: int | None = None, **options: object) -> Loader:
    return Loader(samples, image, LoaderOptions(**{"batch_size": 4, "workers": 0} | options), seed)


@pytest.fixture
def images(save):
    return [Sample(save(f"{i:02}.png", 10 + i), "train") for i in range(11)]


def order(images: Loader) -> list[int]:
    return [int(sample.path.stem) for batch in images for sample in batch.samples]


def test_batches_hold_everything_in_order(images):
    batches = loader(images)
    assert len(batches) == 3
    read = list(batches)
    assert [len(batch.samples) for batch in read] == [4, 4, 3]
    assert [s for batch in read for s in batch.samples] == images
    for batch in read:
        assert batch.images.shape == (len(batch.samples), 3, 8, 12)
        assert batch.images.dtype == torch.float32
        assert batch.images.mean((1, 2, 3)).tolist() == [10 + int(s.path.stem) for s in batch.samples]
        assert batch.contents == [(8, 12)] * len(batch.samples)


@pytest.mark.parametrize("workers", [0, 3])
def test_order_depends_on_seed_and_epoch_alone(images, workers):
    def shuffled(seed: int, epoch: int) -> list[int]:
        torch.rand(seed + epoch)  # other code that draws random numbers
        made = loader(images, seed=seed, workers=workers)
        made.set_epoch(epoch)
        return order(made)

    assert sorted(shuffled(1, 0)) == list(range(11))
    assert shuffled(1, 2) == shuffled(1, 2)
    orders = [shuffled(seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert len(set(map(tuple, orders))) == 4
    again = loader(images, seed=0)
    order(again)
    again.set_epoch(1)
    assert order(again) == orders[1], "an epoch's order does not depend on those before it"


@pytest.mark.parametrize("workers", [0, 3])
def test_reading_leaves_the_global_random_state_alone(images, workers):
    before = torch.get_rng_state()
    order(loader(images, seed=1, workers=workers))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("workers", [0, 3])
def test_unreadable_file_gives_one_clean_sentence(images, workers):
    images[6].path.write_bytes(b"")
    with pytest.raises(InputError) as raised:
        list(loader(images, workers=workers))
    assert str(raised.value) == f"{images[6].path} is empty (0 bytes): replace it."


def test_masks_of_good_and_defective_images(save):
    marked = np.zeros((6, 8), np.uint8)
    marked[:3, 4:] = 255
    samples = [
        Sample(save("1.png"), "test"),
        Sample(save("2.png"), "test", 1, "cut", save("2_mask.png", marked)),
        Sample(save("3.png"), "test", 1, "cut"),
        Sample(save("4.png"), "test", 1, "cut", save("4_mask.png", 255)),
    ]
    for workers in (0, 3):
        (batch,) = loader(samples, ImageOptions(size=(12, 16)), workers=workers)
        good, cut, unknown, full = batch.masks
        assert unknown is None
        for mask in (good, cut, full):
            assert (mask.shape, mask.dtype) == ((12, 16), torch.bool)
        assert not good.any()
        assert full.all()
        assert cut[:6, 8:].all()
        assert cut.sum() == 48


def test_padding_belongs_to_no_defect(save):
    sample = Sample(save("1.png", size=(6, 24)), "test", 1, "cut", save("mask.png", 255, size=(6, 24)))
    image, mask, content = read_resized(sample, ImageOptions(size=(8, 12), resize="pad"))
    assert content == (3, 12)
    assert mask[:3].all()
    assert not mask[3:].any()
    torch.testing.assert_close(image, resize(read_image(sample.path), (8, 12), "pad"))


def test_any_number_of_threads_reads_the_same(save):
    pixels = np.random.default_rng(0).integers(0, 256, (7, 90, 70, 3), np.uint8)
    samples = [Sample(save(f"{i}.png", image), "train") for i, image in enumerate(pixels)]
    alone, together = (
        torch.cat([batch.images for batch in loader(samples, seed=0, workers=workers)]) for workers in (0, 5)
    )
    assert torch.equal(alone, together)


def test_not_everything_is_read_before_the_first_batch_is_worked_on(images, monkeypatch):
    read: list[Sample] = []
    monkeypatch.setattr(Loader, "read", lambda self, sample: read.append(sample) or read_resized(sample, IMAGE))
    reading = iter(loader(images, workers=2, batch_size=1))
    next(reading)
    reading.close()
    assert 1 <= len(read) <= 3
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("reading")]


def test_a_file_that_is_never_reached_does_no_harm(images):
    images[-1].path.write_bytes(b"")
    reading = iter(loader(images, workers=2, batch_size=1))
    assert next(reading).samples == images[:1]


def test_threads_compute_by_one_core_each_and_leave_the_others_theirs():
    own = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with reading_threads(2) as pool:
            assert {pool.submit(torch.get_num_threads).result() for _ in range(6)} == {1}
            assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(own)
