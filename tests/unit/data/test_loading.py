import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anomalib_flows.data.base import Dataset
from anomalib_flows.data.loading import ImageDataset, Loader, collate, loader, resize_mask
from anomalib_flows.data.reading import read_image
from anomalib_flows.preprocess import resize
from anomalib_flows.types import Batch, InputError, Sample

FILES = Path("/proc/self/fd")


@dataclass(kw_only=True)
class Options(Dataset):
    image_size: int | str | tuple[int, int] = (8, 12)
    batch_size: int = 4
    workers: int | None = 0
    subset: str = "options"

    def samples(self) -> list[Sample]:
        return []


@pytest.fixture
def images(save):
    return [Sample(save(f"{i:02}.png", 10 + i), "train") for i in range(11)]


def order(images: Loader) -> list[int]:
    return [int(sample.path.stem) for batch in images for sample in batch.samples]


def test_batches_hold_everything_in_order(images):
    batches = loader(images, Options())
    assert len(batches) == 3
    read = list(batches)
    assert [len(batch.samples) for batch in read] == [4, 4, 3]
    assert [s for batch in read for s in batch.samples] == images
    for batch in read:
        assert batch.images.shape == (len(batch.samples), 3, 8, 12)
        assert batch.images.dtype == torch.float32
        assert batch.images.mean((1, 2, 3)).tolist() == [10 + int(s.path.stem) for s in batch.samples]
        assert batch.contents == [(8, 12)] * len(batch.samples)


@pytest.mark.parametrize("workers", [0, 1])
def test_order_depends_on_seed_and_epoch_alone(images, workers):
    def shuffled(seed: int, epoch: int) -> list[int]:
        torch.rand(seed + epoch)  # whatever else draws random numbers
        made = loader(images, Options(workers=workers), shuffle_seed=seed)
        made.set_epoch(epoch)
        return order(made)

    assert sorted(shuffled(1, 0)) == list(range(11))
    assert shuffled(1, 2) == shuffled(1, 2)
    orders = [shuffled(seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert len(set(map(tuple, orders))) == 4
    again = loader(images, Options(), shuffle_seed=0)
    order(again)
    again.set_epoch(1)
    assert order(again) == orders[1], "an epoch's order does not depend on those before it"


@pytest.mark.parametrize("workers", [0, 1])
def test_reading_leaves_the_global_random_state_alone(images, workers):
    before = torch.get_rng_state()
    order(loader(images, Options(workers=workers), shuffle_seed=1))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("workers", [0, 1])
def test_unreadable_file_gives_one_clean_sentence(images, workers):
    images[6].path.write_bytes(b"")
    with pytest.raises(InputError) as raised:
        list(loader(images, Options(workers=workers)))
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
    for workers in (0, 1):
        (batch,) = loader(samples, Options(workers=workers, image_size=(12, 16)))
        good, cut, unknown, full = batch.masks
        assert unknown is None
        for mask in (good, cut, full):
            assert (mask.shape, mask.dtype) == ((12, 16), torch.bool)
        assert not good.any()
        assert full.all()
        assert cut[:6, 8:].all()
        assert cut.sum() == 48


@pytest.mark.skipif(not FILES.is_dir(), reason="counts open files as Linux lists them")
def test_kept_masks_do_not_keep_a_file_open_each(save):
    defective = [Sample(save("1.png"), "test", 1, "cut", save("mask.png", 255))] * 40
    before = len(list(FILES.iterdir()))
    kept = [batch.masks for batch in loader(defective, Options(workers=1, batch_size=20))]
    assert len(kept) == 2
    assert len(list(FILES.iterdir())) - before < 20


def test_padding_belongs_to_no_defect(save):
    sample = Sample(save("1.png", size=(6, 24)), "test", 1, "cut", save("mask.png", 255, size=(6, 24)))
    image, _, mask, content = ImageDataset([sample], (8, 12), "pad")[0]
    assert content == (3, 12)
    assert mask[:3].all()
    assert not mask[3:].any()
    torch.testing.assert_close(image, resize(read_image(sample.path), (8, 12), "pad"))


@pytest.mark.parametrize("inner", [(9, 31), (40, 7), (64, 64), (17, 23)])
def test_masks_are_resized_as_pillow_does(inner):
    mask = np.random.default_rng(0).random((17, 23)) > 0.5
    expected = np.asarray(Image.fromarray(mask).resize(inner[::-1], Image.Resampling.NEAREST))
    np.testing.assert_array_equal(resize_mask(torch.from_numpy(mask), inner, inner).numpy(), expected)


def test_one_bad_item_stands_for_the_batch(images):
    items = ImageDataset(images[:2], (8, 8), "stretch")
    fault = InputError("no")
    assert isinstance(collate([items[0], items[1]]), Batch)
    assert collate([items[0], fault, items[1]]) is fault


def test_no_process_without_a_batch_to_read(images):
    assert loader(images, Options(workers=2)).batches.num_workers == 2
    assert loader(images, Options(workers=2, batch_size=20)).batches.num_workers == 1


def test_workers_may_be_started_by_pickling(images):
    batches = loader(images, Options()).batches
    dataset, put_together = pickle.loads(pickle.dumps((batches.dataset, batches.collate_fn)))  # noqa: S301
    assert put_together([dataset[0], dataset[1]]).samples == images[:2]
