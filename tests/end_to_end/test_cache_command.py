"""Kept features change nothing but the time that a run takes, and can be told and deleted."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from anomalib_flows.cli import main
from anomalib_flows.core.store import cache_folder, files
from anomalib_flows.inference.features import FeatureLoader

pytestmark = pytest.mark.filterwarnings("always")  # the command line prints them
CFLOW = ("--model=cflow", "--model.norm=none")


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images were encoded to be trained on or to calibrate with, call by call."""
    counts: list[int] = []
    encode = FeatureLoader._encode
    monkeypatch.setattr(FeatureLoader, "_encode", lambda self, b: counts.append(len(b.samples)) or encode(self, b))
    return counts


@pytest.mark.parametrize("model", [(), CFLOW])
def test_a_run_is_the_same_with_and_without_kept_features(train, model, encoded) -> None:
    plain = train("--trainer.max_epochs=3", "--trainer.cache=none", *model)
    assert not cache_folder("features").exists()
    encoded.clear()
    first = train("--trainer.max_epochs=3", *model)
    assert sum(encoded) == 8, "seven images train and one calibrates"
    again = train("--trainer.max_epochs=3", *model)
    assert sum(encoded) == 8
    for name in ("metrics.json", "predictions.csv", "model.safetensors", "logs/metrics.csv"):
        assert (again / name).read_bytes() == (first / name).read_bytes()
    # Encoders may add up in another order in batches of another size.
    np.testing.assert_allclose(losses(first), losses(plain), rtol=1e-6)


def losses(run: Path) -> list[float]:
    with (run / "logs/metrics.csv").open() as stream:
        return [float(row["loss"]) for row in csv.DictReader(stream)]


def test_two_models_of_one_encoder_share_features(train, encoded) -> None:
    train("--trainer.max_epochs=1", "--model.layers=[1,2]")
    encoded.clear()
    train("--trainer.max_epochs=1", *CFLOW, "--model.layers=[1,2]")
    assert not encoded


def test_damaged_features_are_not_trained_on(train, encoded) -> None:
    plain = train("--trainer.max_epochs=2")
    for file in files(cache_folder("features")):
        file.write_bytes(file.read_bytes()[:-8] + bytes(8))
    again = train("--trainer.max_epochs=2")
    assert sum(encoded) == 2 * 8
    assert (again / "model.safetensors").read_bytes() == (plain / "model.safetensors").read_bytes()


def test_changed_images_are_trained_on_in_so_many_variants(train, encoded) -> None:
    train("--trainer.max_epochs=4", "--augment.rotate=10", "--trainer.cache_variants=2")
    assert sum(encoded) == 8 + 2 * 7, "each image as it is, to whiten by and calibrate with, and the variants"


def test_show_and_clear(train, capsys: pytest.CaptureFixture[str]) -> None:
    train("--trainer.max_epochs=1")
    train("--trainer.max_epochs=1", "--trainer.cache=none", "--loader.cache=disk")
    sizes = {kind: sum(files(cache_folder(kind)).values()) for kind in ("features", "images")}
    assert all(sizes.values())
    capsys.readouterr()
    assert main(["cache"]) == 0
    shown = capsys.readouterr().out
    assert "features of images, by --trainer.cache: 8 files" in shown
    assert str(cache_folder("images")) in shown
    assert main(["cache", "clear", "--what", "images"]) == 0
    assert files(cache_folder("features"))
    assert not files(cache_folder("images"))
    assert main(["cache", "clear"]) == 0
    assert not files(cache_folder("features"))


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["clera"], "action cannot be clera: it takes"),
        (["clear", "--what", "imags"], "--what cannot be imags: it takes"),
    ],
)
def test_mistyped_words_are_told(typed, said, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", *typed]) == 2
    assert f"error: {said}" in capsys.readouterr().err


def test_a_cache_folder_that_cannot_be_entered_stops_nothing(train, monkeypatch, capsys) -> None:
    monkeypatch.setattr("anomalib_flows.core.store.files", denied)
    train("--trainer.max_epochs=1")
    assert "cannot be written to" in capsys.readouterr().err


def denied(folder: Path) -> dict[Path, int]:
    raise PermissionError(13, "Permission denied")
