"""A cache of resized images changes nothing but the time that reading takes."""

import os
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
import pytest
import torch

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.store import cache_folder, pack, unpack
from anomalib_flows.core.types import Batch, Sample
from anomalib_flows.data.loading.cache import DiskCache, MemoryCache
from anomalib_flows.data.loading.loader import Loader, read_resized
from anomalib_flows.run.options import ImageOptions, LoaderOptions

KINDS = ("memory", "disk")
IMAGE = ImageOptions(size=(12, 16))
ITEM = 3 * 12 * 16 * 4


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def samples(save) -> list[Sample]:
    """Five images and one with a mask."""
    pixels = np.random.default_rng(0).integers(0, 256, (6, 30, 40, 3), np.uint8)
    mask = np.zeros((30, 40), np.uint8)
    mask[5:9, 20:30] = 255
    good = [Sample(save(f"{i}.png", image), "train") for i, image in enumerate(pixels[:5])]
    return [*good, Sample(save("bad.png", pixels[5]), "train", 1, "cut", save("mask.png", mask))]


def options(**given) -> LoaderOptions:
    return LoaderOptions(**{"batch_size": 4, "workers": 2, **given})


def epochs(
    samples: list[Sample], loader: LoaderOptions, count: int = 2, image: ImageOptions = IMAGE
) -> list[list[Batch]]:
    made, read = Loader(samples, image, loader, 3), []
    for epoch in range(count):
        made.set_epoch(epoch)
        read.append(list(made))
    return read


def equal(one: list[list[Batch]], other: list[list[Batch]]) -> bool:
    pairs = [pair for epochs in zip(one, other, strict=True) for pair in zip(*epochs, strict=True)]
    return all(
        torch.equal(a.images, b.images)
        and a.samples == b.samples
        and a.contents == b.contents
        and all(torch.equal(m, n) for m, n in zip(a.masks, b.masks, strict=True))
        for a, b in pairs
    )


@pytest.mark.parametrize("resize", ["stretch", "pad"])
@pytest.mark.parametrize("kind", KINDS)
def test_batches_are_the_same_bit_for_bit_with_and_without(samples, kind, resize) -> None:
    image = replace(IMAGE, resize=resize)
    plain = epochs(samples, options(), image=image)
    assert equal(epochs(samples, options(cache=kind), image=image), plain)
    assert equal(epochs(samples, options(cache=kind), image=image), plain)


@pytest.mark.parametrize("kind", KINDS)
def test_every_image_is_decoded_once(samples, kind, monkeypatch) -> None:
    decoded = []
    monkeypatch.setattr(
        "anomalib_flows.data.loading.loader.read_resized", lambda s, *how: decoded.append(s) or read_resized(s, *how)
    )
    epochs(samples, options(cache=kind), count=3)
    assert sorted(s.path for s in decoded) == sorted(s.path for s in samples)
    epochs(samples, options(cache=kind))
    assert len(decoded) == {"memory": 2, "disk": 1}[kind] * len(samples), "only files outlast their loader"


def test_what_is_read_once_is_not_kept_in_memory(samples) -> None:
    assert isinstance(Loader(samples, IMAGE, options(cache="memory"), 0).cache, MemoryCache)
    assert Loader(samples, IMAGE, options(cache="memory")).cache is None


@pytest.mark.parametrize("kind", KINDS)
def test_what_does_not_fit_is_decoded_and_said_once(samples, kind) -> None:
    small = options(cache=kind, cache_size=3.5 * ITEM / 1e9)
    with pytest.warns(UserWarning, match=r"`loader.cache_size` .* is used up.*decoded each time") as warned:
        read = epochs(samples, small)
    assert len(warned) == 1
    assert equal(read, epochs(samples, options()))
    if kind == "disk":
        assert sum(file.stat().st_size for file in cache_folder("images").iterdir()) <= 3.5 * ITEM


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-1], lambda b: b"", lambda b: b[:50] + b"!" + b[51:], lambda b: b[:4] + b"x"]
)
def test_damaged_files_are_read_again_and_replaced(samples, damage) -> None:
    data = options(cache="disk")
    plain = epochs(samples, data)
    whole = {file: file.read_bytes() for file in cache_folder("images").iterdir()}
    assert len(whole) == len(samples)
    for file, content in whole.items():
        file.write_bytes(damage(content))
    assert equal(epochs(samples, data), plain)
    assert {file: file.read_bytes() for file in cache_folder("images").iterdir()} == whole


WRONG = {
    "no tensors": lambda t: {},
    "no content": lambda t: {name: t[name] for name in t if name != "content"},
    "no image": lambda t: {name: t[name] for name in t if name != "image"},
    "image of another size": lambda t: t | {"image": t["image"][:, 1:]},
    "image of another type": lambda t: t | {"image": t["image"].half()},
    "content of text": lambda t: t | {"content": torch.tensor([1.0, 2.0])},
    "content of three": lambda t: t | {"content": torch.tensor([1, 2, 3])},
    "content too large": lambda t: t | {"content": torch.tensor([13, 16])},
    "content of nothing": lambda t: t | {"content": torch.tensor([0, 16])},
    "mask of another type": lambda t: t | {"mask": torch.ones(12, 16)},
    "mask of another size": lambda t: t | {"mask": torch.ones(1, 16, dtype=torch.bool)},
    "more": lambda t: t | {"more": torch.ones(1)},
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_sound_files_of_something_else_are_read_again_and_replaced(samples, wrong) -> None:
    data = options(cache="disk")
    plain = epochs(samples, data)
    whole = {file: file.read_bytes() for file in cache_folder("images").iterdir()}
    for file, content in whole.items():
        file.write_bytes(pack(wrong(unpack(content))))
    assert equal(epochs(samples, data), plain)
    assert {file: file.read_bytes() for file in cache_folder("images").iterdir()} == whole


def test_another_image_of_the_same_size_and_time_is_read_again(samples) -> None:
    """As when a folder is filled from a backup, or a camera overwrites its files."""
    data = options(cache="disk")
    plain = epochs(samples, data)
    one, other = samples[0].path, samples[1].path
    one.write_bytes(one.read_bytes().ljust(99_999, b"\0"))
    other.write_bytes(other.read_bytes().ljust(99_999, b"\0"))
    for file in (one, other):
        os.utime(file, ns=(0, 0))
    epochs(samples, data)
    exchanged = one.read_bytes(), other.read_bytes()
    other.write_bytes(exchanged[0])
    one.write_bytes(exchanged[1])
    for file in (one, other):
        os.utime(file, ns=(0, 0))
    read = {s.path: image for b in epochs(samples, data, 1)[0] for s, image in zip(b.samples, b.images, strict=True)}
    before = {s.path: image for b in plain[0] for s, image in zip(b.samples, b.images, strict=True)}
    assert torch.equal(read[one], before[other])
    assert torch.equal(read[other], before[one])


def test_an_image_that_changes_while_it_is_read_is_not_kept(samples) -> None:
    cache = DiskCache(cache_folder("images"), 10**9, IMAGE)
    assert cache.get(samples[0]) is None
    item = read_resized(samples[0], IMAGE)
    samples[0].path.write_bytes(samples[1].path.read_bytes())
    cache.put(samples[0], item)
    assert cache.get(samples[0]) is None


def test_an_image_or_mask_that_changed_is_read_again(samples, save) -> None:
    data = options(cache="disk")
    epochs(samples, data)
    states = [file.stat() for file in (samples[0].path, samples[5].mask)]
    save("0.png", np.full((30, 40, 3), 7, np.uint8))
    save("mask.png", np.full((30, 40), 255, np.uint8))
    for file, state in zip((samples[0].path, samples[5].mask), states, strict=True):
        os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    read = epochs(samples, data, count=1)[0]
    images = {s.path.name: (i, m) for b in read for s, i, m in zip(b.samples, b.images, b.masks, strict=True)}
    torch.testing.assert_close(images["0.png"][0], torch.full((3, 12, 16), 7.0))
    assert images["bad.png"][1].all()


def test_a_mask_of_several_files_is_read_again_when_one_of_them_changed(save, tmp_path) -> None:
    sample = Sample(save("bad.png", size=(12, 16)), "test", 1, "cut", tmp_path / "masks")
    mask = save("masks/0.png", 0, size=(12, 16))
    data = options(cache="disk")
    epochs([sample], data, count=1)
    state = mask.stat()
    save("masks/0.png", 255, size=(12, 16))
    os.utime(mask, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert epochs([sample], data, count=1)[0][0].masks[0].all()


def test_other_sizes_are_other_images(samples) -> None:
    for image in (IMAGE, replace(IMAGE, resize="pad"), replace(IMAGE, size=8)):
        kept, plain = (epochs(samples, options(cache=kind), image=image) for kind in ("disk", "none"))
        assert equal(kept, plain)


def test_a_missing_image_is_an_error_with_a_cache_too(samples) -> None:
    samples[2].path.unlink()
    with pytest.raises(InputError, match="does not exist"):
        epochs(samples, options(cache="disk"))


def test_a_folder_that_cannot_be_written_is_said_once(samples, tmp_path) -> None:
    (tmp_path / "cache").write_text("in the way")
    with pytest.warns(UserWarning, match="XDG_CACHE_HOME") as warned:
        assert equal(epochs(samples, options(cache="disk")), epochs(samples, options()))
    assert len(warned) == 1


def fill(samples: list[Sample]) -> None:
    list(Loader(samples, IMAGE, options(workers=0, cache="disk")))


def test_several_processes_fill_one_folder(samples) -> None:
    context = get_context("spawn")  # torch's threads do not outlive a fork
    processes = [context.Process(target=fill, args=(samples,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    cache = DiskCache(cache_folder("images"), 10**9, IMAGE)
    for sample in samples:
        kept, read = cache.get(sample), read_resized(sample, IMAGE)
        assert torch.equal(kept.image, read.image)
    assert {file.suffix for file in cache_folder("images").iterdir()} == {".item"}


def test_a_cache_without_room_is_refused() -> None:
    with pytest.raises(InputError, match=r"`loader.cache_size` cannot be 0"):
        options(cache_size=0)


def test_threads_may_ask_for_the_same_image_at_once(samples, monkeypatch) -> None:
    epochs(samples, options(cache="disk"), 1)
    cache = DiskCache(cache_folder("images"), 10**9, IMAGE)
    kept = cache.store.get

    def meanwhile(name: str):
        monkeypatch.setattr(cache.store, "get", kept)
        assert cache.get(samples[0])
        return kept(name)

    monkeypatch.setattr(cache.store, "get", meanwhile)
    assert cache.get(samples[0])
