"""Features that are kept are those that would have been computed, whatever happens to the folder."""

import shutil
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
import pytest
import torch
from PIL import Image

from anomalib_flows import CFlow, FastFlow
from anomalib_flows.core.errors import InputError
from anomalib_flows.core.store import cache_folder, pack, unpack
from anomalib_flows.core.types import Sample
from anomalib_flows.data.loading.loader import Loader
from anomalib_flows.inference.feature_cache import COMPUTED, FeatureBatch, FeatureOptions
from anomalib_flows.inference.features import Augmentation, FeatureLoader
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.run.options import AugmentOptions, ImageOptions, LoaderOptions

CPU = torch.device("cpu")
KEPT = FeatureOptions(limit=10**9)
SIZE = (32, 48)


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def samples(tmp_path) -> list[Sample]:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 40, 50, 3), np.uint8)
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    return [Sample(tmp_path / f"{i}.png", "train") for i in range(5)]


def pipeline(model=FastFlow, resize="stretch", **options) -> Pipeline:
    torch.manual_seed(0)
    return Pipeline(model(SIZE, steps=1, **{"strides": (8, 16)} | options), resize)


def cflow() -> Pipeline:
    torch.manual_seed(1)
    return Pipeline(CFlow(SIZE, layers=pipeline().detector.encoder.network.feature_info.out_indices))


def features(
    samples: list[Sample],
    options: FeatureOptions = KEPT,
    of: Pipeline | None = None,
    epoch: int = 0,
    changes: AugmentOptions = AugmentOptions(),  # noqa: B008
) -> FeatureBatch:
    of = of or pipeline()
    image = ImageOptions(size=SIZE, resize=of.preprocess.mode)
    images = Loader(samples, image, LoaderOptions(batch_size=2, workers=2))
    images.set_epoch(epoch)
    return FeatureBatch.join(list(FeatureLoader(of, images, CPU, options, Augmentation(changes, 3))))


def equal(one: FeatureBatch, other: FeatureBatch) -> bool:
    return one.contents == other.contents and all(map(torch.equal, one.features, other.features))


@pytest.fixture
def encoded(monkeypatch) -> list[int]:
    """How many images were encoded, call by call."""
    counts = []
    encode = FeatureLoader._encode
    monkeypatch.setattr(FeatureLoader, "_encode", lambda self, b: counts.append(len(b.samples)) or encode(self, b))
    return counts


def files() -> list[bytes]:
    return [file.read_bytes() for file in sorted(cache_folder("features").iterdir())]


@pytest.mark.parametrize("resize", ["stretch", "pad"])
def test_kept_features_are_the_computed_ones_bit_for_bit(samples, encoded, resize) -> None:
    of = pipeline(resize=resize)
    plain = features(samples, COMPUTED, of)
    assert not cache_folder("features").exists()
    assert equal(features(samples, KEPT, of), plain)
    assert sum(encoded) == 2 * len(samples)
    assert equal(features(samples, KEPT, of), plain)
    assert sum(encoded) == 2 * len(samples), "the second time all are read"


def test_models_share_what_their_encoders_have_in_common(samples, encoded) -> None:
    plain = features(samples)
    encoded.clear()
    assert equal(features(samples, of=cflow()), plain)
    assert not encoded


@pytest.mark.parametrize(
    "other",
    [
        lambda: pipeline(weights="random"),
        lambda: pipeline(mean=(0.1, 0.2, 0.3)),
        lambda: pipeline(std=(0.1, 0.2, 0.3)),
        lambda: pipeline(strides=(4, 8)),
        lambda: pipeline(resize="pad"),
    ],
)
def test_what_is_computed_otherwise_is_kept_apart(samples, other) -> None:
    features(samples)
    of = other()
    assert equal(features(samples, of=of), features(samples, COMPUTED, of))


def test_one_changed_weight_makes_another_encoder(samples, encoded) -> None:
    of = pipeline()
    features(samples, of=of)
    encoded.clear()
    with torch.no_grad():
        next(of.detector.encoder.parameters())[0] += 1e-3
    assert equal(features(samples, of=of), features(samples, COMPUTED, of))
    assert sum(encoded) == 2 * len(samples)


def test_a_changed_image_is_encoded_again(samples, encoded) -> None:
    features(samples)
    encoded.clear()
    shutil.copy(samples[0].path, samples[1].path)
    changed = features(samples)
    assert not encoded, "its content is known"
    assert torch.equal(changed.features[0][0], changed.features[0][1])
    samples[2].path.write_bytes(samples[2].path.read_bytes() + b"\0")
    features(samples)
    assert encoded == [1]


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b"", lambda b: b[:90] + b"!" + b[91:]])
def test_damaged_files_are_computed_again_and_replaced(samples, damage) -> None:
    plain, whole = features(samples), files()
    for file in cache_folder("features").iterdir():
        file.write_bytes(damage(file.read_bytes()))
    assert equal(features(samples), plain)
    assert files() == whole


WRONG = {
    "nothing": lambda t: {},
    "no content": lambda t: {name: t[name] for name in t if name != "content"},
    "one layer less": lambda t: {name: t[name] for name in t if name != "000"},
    "another size": lambda t: t | {"000": t["000"][..., 1:]},
    "two images": lambda t: t | {"000": t["000"].repeat(2, 1, 1, 1)},
    "whole numbers": lambda t: t | {"000": t["000"].long()},
    "content of text": lambda t: t | {"content": torch.tensor([1.0, 2.0])},
    "content too large": lambda t: t | {"content": torch.tensor([10**6, 1])},
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_sound_files_of_something_else_are_computed_again_and_replaced(samples, wrong) -> None:
    plain, whole = features(samples), files()
    for file in cache_folder("features").iterdir():
        file.write_bytes(pack(wrong(unpack(file.read_bytes()))))
    assert equal(features(samples), plain)
    assert files() == whole


def test_images_in_memory_do_not_name_features(samples) -> None:
    """A cache of images may hold an image that has been replaced since."""
    of, options = pipeline(), LoaderOptions(batch_size=2, cache="memory")
    images = Loader(samples[:1], ImageOptions(size=SIZE), options, 0)
    old = FeatureBatch.join(list(FeatureLoader(of, images, CPU, COMPUTED)))
    samples[0].path.write_bytes(samples[1].path.read_bytes())
    new = FeatureBatch.join(list(FeatureLoader(of, images, CPU, KEPT)))
    assert not equal(new, old)
    assert equal(new, features(samples[1:2], COMPUTED, of))


def test_a_model_that_encodes_otherwise_is_not_taken_for_its_parent(samples) -> None:
    class Mine(FastFlow):
        def encode(self, images):
            return [feature.abs() for feature in super().encode(images)]

    features(samples)
    of = pipeline(Mine)
    assert equal(features(samples, KEPT, of), features(samples, COMPUTED, of))
    assert len(files()) == len(samples), "the parent's alone"


def test_some_missing_files_are_computed_again(samples) -> None:
    plain, whole = features(samples), files()
    next(cache_folder("features").iterdir()).unlink()
    again = features(samples)
    for kept, computed in zip(again.features, plain.features, strict=True):
        torch.testing.assert_close(kept, computed)  # encoded in a batch of other images
    assert len(files()) == len(whole)


def test_the_folder_may_go_at_any_time(samples) -> None:
    of = pipeline()
    plain = features(samples, COMPUTED, of)
    images = Loader(samples, ImageOptions(size=SIZE), LoaderOptions(batch_size=1, workers=1))
    batches = []
    for batch in FeatureLoader(of, images, CPU, KEPT):
        batches.append(batch)
        shutil.rmtree(cache_folder("features"), ignore_errors=True)
    for one, other in zip(FeatureBatch.join(batches).features, plain.features, strict=True):
        torch.testing.assert_close(one, other)


def test_what_does_not_fit_is_said_once_and_computed(samples) -> None:
    plain = features(samples)
    size = len(files()[0])
    shutil.rmtree(cache_folder("features"))
    with pytest.warns(
        UserWarning, match=r"`trainer.cache_size` .* is used up.*increase it, or clear the cache"
    ) as warned:
        assert equal(features(samples, replace(KEPT, limit=int(2.5 * size))), plain)
    assert len(warned) == 1
    assert len(files()) == 2


def test_a_full_disk_is_said_once(samples, monkeypatch) -> None:
    monkeypatch.setattr("anomalib_flows.core.store.free", lambda folder: 10**6)
    with pytest.warns(UserWarning, match="nearly full.*XDG_CACHE_HOME") as warned:
        assert equal(features(samples), features(samples, COMPUTED))
    assert len(warned) == 1


def test_a_folder_that_cannot_be_written_is_said_once(samples, tmp_path) -> None:
    (tmp_path / "cache").write_text("in the way")
    with pytest.warns(UserWarning, match="cannot be written.*XDG_CACHE_HOME") as warned:
        assert equal(features(samples), features(samples, COMPUTED))
    assert len(warned) == 1


def small() -> Pipeline:
    """A pipeline whose features are so small that the order of sums hardly changes them."""
    return pipeline(backbone="test_efficientnet", weights="random")


def fill(samples: list[Sample]) -> None:
    features(samples, of=small())


def test_several_processes_fill_one_folder(samples, encoded) -> None:
    context = get_context("spawn")  # torch's threads do not outlive a fork
    processes = [context.Process(target=fill, args=(samples,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    kept = features(samples, of=small())
    assert not encoded
    assert len(files()) == len(samples)
    for one, other in zip(kept.features, features(samples, COMPUTED, small()).features, strict=True):
        torch.testing.assert_close(one, other)


def test_an_image_that_changes_while_it_is_encoded_is_not_kept(samples, monkeypatch) -> None:
    encode = FeatureLoader._encode

    def meanwhile(self, batch):
        samples[0].path.write_bytes(samples[1].path.read_bytes() + b"\0")
        return encode(self, batch)

    monkeypatch.setattr(FeatureLoader, "_encode", meanwhile)
    features(samples[:1])
    assert not cache_folder("features").exists()


def test_a_missing_image_is_an_error(samples) -> None:
    samples[2].path.unlink()
    with pytest.raises(InputError, match="does not exist"):
        features(samples)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_other_types_round(samples, dtype) -> None:
    exact, rounding = features(samples), replace(KEPT, dtype=dtype)
    first = features(samples, rounding)
    assert equal(features(samples, rounding), first)
    for one, other in zip(first.features, exact.features, strict=True):
        assert torch.equal(one, other.to(dtype).float())


def test_values_that_a_type_does_not_hold_are_kept_as_they_are(samples, monkeypatch) -> None:
    of = pipeline()
    monkeypatch.setattr(of.detector, "encode", lambda images: [1e6 * images])
    options = replace(KEPT, dtype=torch.float16)
    features(samples, options, of)
    assert equal(features(samples, options, of), features(samples, COMPUTED, of))


def test_mixed_precision_is_kept_as_it_is(samples, encoded) -> None:
    options = replace(KEPT, precision=torch.bfloat16)
    first = features(samples, options)
    assert {f.dtype for f in first.features} == {torch.float32}
    assert all(torch.equal(f.bfloat16().float(), f) for f in first.features)
    assert 2 * len(files()[0]) < len(pack({"x": torch.cat([f[0].flatten() for f in first.features])})) + 2000
    assert equal(features(samples, options), first)
    assert sum(encoded) == len(samples)


def test_changed_images_are_kept_in_as_many_variants_as_asked_for(samples, encoded) -> None:
    changes = AugmentOptions(rotate=20, noise=5)
    features(samples, KEPT, changes=changes)
    assert not cache_folder("features").exists(), "others come in each epoch"
    encoded.clear()
    options = replace(KEPT, variants=2)
    first = [features(samples, options, epoch=epoch, changes=changes) for epoch in range(4)]
    assert sum(encoded) == 2 * len(samples)
    assert equal(first[0], first[2])
    assert equal(first[1], first[3])
    assert not torch.equal(first[0].features[0], first[1].features[0])
    assert equal(first[1], features(samples, COMPUTED, epoch=1, changes=changes))


def test_variants_are_of_the_library_that_changes_images(samples, encoded, monkeypatch) -> None:
    changes, options = AugmentOptions(rotate=20), replace(KEPT, variants=1)
    features(samples, options, changes=changes)
    encoded.clear()
    monkeypatch.setattr("anomalib_flows.inference.features.version", lambda _: "0")
    features(samples, options, changes=changes)
    assert sum(encoded) == len(samples)


def test_features_of_a_model_that_does_not_say_what_they_depend_on_are_not_kept(samples) -> None:
    of = pipeline()
    of.detector.features_key = lambda: None
    features(samples, of=of)
    assert not cache_folder("features").exists()
