"""CFLOW, heatmap options and the published protocol, as a user types them."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from anomalib_flows import CFlow, load, read_image
from anomalib_flows.cli import main
from anomalib_flows.core.errors import InputError
from anomalib_flows.training.callbacks import EpochCheckpoint

pytestmark = pytest.mark.filterwarnings("always")  # the command line prints them

CFLOW = [
    "--model=cflow",
    "--model.backbone=test_efficientnet",
    "--model.weights=random",
    "--model.layers=[2,3]",
    "--model.steps=2",
    "--model.condition=16",
    "--model.vectors_per_step=32",
    "--image.size=64",
    "--loader.batch_size=3",
    "--trainer.accelerator=cpu",
    "--trainer.max_epochs=2",
]


@pytest.fixture(scope="module")
def fit(tree: Path, tmp_path_factory: pytest.TempPathFactory):
    def run(*options: str) -> Path:
        output = tmp_path_factory.mktemp("results")
        data = ["--data=mvtec", f"--data.root={tree}", "--data.category=stripes", f"--output={output}"]
        assert main(["train", *CFLOW, *data, *options]) == 0
        return output / "cflow/mvtec/stripes/run-001"

    return run


@pytest.fixture(scope="module")
def trained(fit) -> Path:
    """A finished run, not to be changed."""
    return fit()


def rows(table: Path) -> list[dict[str, str]]:
    with table.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_run_is_whole_and_makes_itself_again(trained: Path, tmp_path: Path) -> None:
    assert main(["train", "-c", str(trained / "config.yaml"), f"--output={tmp_path}"]) == 0
    again = tmp_path / "cflow/mvtec/stripes/run-001"
    for name in ("metrics.json", "predictions.csv", "model.safetensors"):
        assert (again / name).read_bytes() == (trained / name).read_bytes()
    metrics = json.loads((trained / "metrics.json").read_text())
    assert metrics["protocol"] == "calibrated"
    assert 0 <= metrics["pixel"]["aupro"] <= 1


def test_the_constants_are_those_of_held_out_images(trained: Path) -> None:
    pipeline = load(trained / "model.safetensors")
    assert isinstance(pipeline.detector, CFlow)
    held_out = [row["path"] for row in rows(trained / "splits.csv") if row["split"] == "calibration"]
    images = torch.stack([pipeline.preprocess.resize(read_image(Path(path))) for path in held_out])
    expected = [
        pipeline.detector.log_prob_map(i, f).max()
        for i, f in enumerate(pipeline.detector.encode(pipeline.preprocess.normalise(images)))
    ]
    torch.testing.assert_close(pipeline.detector.max_log_probs, torch.stack(expected).detach(), rtol=1e-5, atol=1e-5)


def test_an_image_scores_alone_as_in_company(trained: Path, tree: Path, tmp_path: Path) -> None:
    bad = tree / "stripes/test/blob"
    assert main(["predict", str(trained), f"--input={bad}", f"--output={tmp_path / 'all'}"]) == 0
    assert main(["predict", str(trained), f"--input={bad / '1.png'}", f"--output={tmp_path / 'one'}"]) == 0
    together = {Path(row["path"]).name: float(row["raw_score"]) for row in rows(tmp_path / "all/predictions.csv")}
    (alone,) = rows(tmp_path / "one/predictions.csv")
    assert float(alone["raw_score"]) == pytest.approx(together["1.png"], rel=1e-5)


def test_a_run_with_a_schedule_goes_on_where_it_stopped(fit, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("--trainer.max_epochs=3", "--model.schedule=cosine")
    whole = fit(*options)

    def stop(self: EpochCheckpoint, trainer: Any, module: Any) -> None:
        on_end(self, trainer, module)
        if trainer.current_epoch == 1:
            raise KeyboardInterrupt

    on_end = EpochCheckpoint.on_train_epoch_end
    with monkeypatch.context() as patch:
        patch.setattr(EpochCheckpoint, "on_train_epoch_end", stop)
        with pytest.raises(AssertionError):
            fit(*options)
    stopped = sorted(
        whole.parents[4].glob("results*/cflow/mvtec/stripes/run-001"), key=lambda run: run.stat().st_mtime
    )[-1]
    assert stopped != whole
    assert main(["train", "--resume", str(stopped)]) == 0
    assert (stopped / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_the_learning_rate_follows_the_schedule(fit, monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    step = torch.optim.Adam.step

    def record(optimizer: torch.optim.Adam, *args: object, **kwargs: object) -> object:
        rates.append(optimizer.param_groups[0]["lr"])
        return step(optimizer, *args, **kwargs)

    monkeypatch.setattr(torch.optim.Adam, "step", record)
    fit("--model.learning_rate=0.01", "--model.schedule=cosine")
    assert rates[0] == pytest.approx(0.001)
    assert max(rates) > 0.009
    assert rates[-1] < 0.001


def test_the_published_order_of_steps_can_be_chosen(fit) -> None:
    run = fit("--model.order=published", "--model.schedule=published")
    # Maps of 64 and 16 vectors: batches of 3, 3 and 1 images give 6 + 1, 6 + 1 and 2 + 0 whole steps of 32 vectors.
    assert len((run / "logs/metrics.csv").read_text().splitlines()) == 1 + 2 * 16


def test_images_are_rotated_in_training_alone(fit, trained: Path) -> None:
    rotated, plain = load(fit("--augment.rotate=5") / "model.safetensors"), load(trained / "model.safetensors")
    weights = [p.detector.flows[0].steps[0].steps[0].subnet.outer.weight for p in (rotated, plain)]
    assert not torch.equal(*weights)
    images = torch.rand(1, 3, 64, 64) * 255
    assert torch.equal(rotated.features(images)[0], plain.features(images)[0])


def test_soft_permutations_are_kept_with_the_model(fit) -> None:
    rotation = load(fit("--model.permutation=soft") / "model.safetensors").detector.flows[0].steps[0].steps[2].rotation
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(len(rotation)), atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def published(fit) -> Path:
    return fit("--protocol=paper")


def test_the_published_protocol_is_marked(published: Path, tree: Path, tmp_path: Path, capsys) -> None:
    metrics = json.loads((published / "metrics.json").read_text())
    assert metrics["protocol"] == "paper"
    assert metrics["image"]["f1"] == metrics["image"]["f1_max"]
    assert metrics["pixel"]["f1"] == metrics["pixel"]["f1_max"]
    assert yaml.safe_load((published / "config.yaml").read_text())["protocol"] == "paper"
    assert {row["split"] for row in rows(published / "splits.csv")} == {"train", "test"}
    good = tree / "stripes/train/good"
    assert main(["predict", str(published), f"--input={good}", f"--output={tmp_path / 'out'}"]) == 0
    assert "set on its test images (protocol paper)" in capsys.readouterr().err
    assert main(["test", str(published)]) == 0
    assert "Protocol 'paper'" in capsys.readouterr().out


def test_the_published_constants_are_those_of_the_test_images(published: Path, tree: Path) -> None:
    pipeline = load(published / "model.safetensors")
    files = sorted((tree / "stripes/test").rglob("*.png"))
    images = torch.stack([pipeline.preprocess.resize(read_image(file)) for file in files])
    maps = pipeline.maps(images).detach()
    assert float(maps.min()) == pytest.approx(0, abs=1e-5)  # published maps are the highest sum less the sum
    features = pipeline.features(images)
    for i, feature in enumerate(features):
        assert float(pipeline.detector.log_prob_map(i, feature).detach().max()) == pytest.approx(
            float(pipeline.detector.max_log_probs[i])
        )


def test_a_published_run_is_not_calibrated_with_its_test_images(published: Path, capsys) -> None:
    assert main(["calibrate", str(published)]) == 2
    assert "--images" in capsys.readouterr().err


def test_images_that_calibrate_are_not_tested_on(trained: Path, tree: Path, tmp_path: Path, capsys) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    assert main(["calibrate", str(run), f"--images={tree / 'stripes/test/good'}", "--false-alarm-rate=0.3"]) == 0
    assert main(["test", str(run)]) == 0
    assert "Left out 3 test images" in capsys.readouterr().out
    metrics = json.loads((run / "metrics.json").read_text())
    assert (metrics["image"]["normal_images"], metrics["image"]["anomalous_images"]) == (0, 3)


def test_clipping_goes_with_mixed_precision(fit) -> None:
    run = fit("--trainer.precision=bf16-mixed", "--trainer.gradient_clip=1")
    assert json.loads((run / "metrics.json").read_text())["image"]["auroc"] is not None


def test_inference_in_bfloat16_keeps_the_decisions(trained: Path, tree: Path) -> None:
    exact, fast = load(trained / "model.safetensors"), load(trained / "model.safetensors").bfloat16()
    images = [read_image(file)[None] for file in sorted((tree / "stripes/test").rglob("*.png"))]
    expected, found = torch.cat([exact(i).scores for i in images]), torch.cat([fast(i).scores for i in images])
    assert fast(images[0]).maps.dtype == torch.float32
    assert [int(fast(i).labels) for i in images] == [int(exact(i).labels) for i in images]
    # Whitening by a handful of images takes rounded features to ten times their rounding.
    torch.testing.assert_close(found, expected, rtol=0, atol=0.1 * float(expected.max() - expected.min()))
    assert fast.detector.max_log_probs.dtype == fast.postprocess.image_threshold.dtype == torch.float32
    assert fast.detector.norms[0].matrix.dtype == fast.detector.scales[0].factor.dtype == torch.float32
    assert fast.detector.flows[0].steps[0].steps[0].subnet.outer.weight.dtype == torch.bfloat16


def test_calibrating_makes_a_published_run_fit_for_use(published: Path, tree: Path, tmp_path: Path, capsys) -> None:
    run = Path(shutil.copytree(published, tmp_path / "run"))
    new = tmp_path / "new"
    shutil.copytree(tree / "stripes/test/good", new)
    assert main(["calibrate", str(run), f"--images={new}"]) == 0
    capsys.readouterr()
    assert main(["predict", str(run), f"--input={new}", f"--output={tmp_path / 'out'}"]) == 0
    assert "--protocol" not in capsys.readouterr().err


def test_a_run_can_be_tested_as_published_without_changing_it(trained: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    assert main(["test", str(run), "--protocol=paper"]) == 0
    assert json.loads((run / "metrics.json").read_text())["protocol"] == "paper"
    assert (run / "model.safetensors").read_bytes() == (trained / "model.safetensors").read_bytes()
    assert main(["test", str(run)]) == 0
    assert (run / "metrics.json").read_bytes() == (trained / "metrics.json").read_bytes()


def test_a_model_with_values_that_are_no_numbers_is_refused(trained: Path, tmp_path: Path, capsys) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    content = bytearray((run / "model.safetensors").read_bytes())
    content[-4000:-2000] = b"\xff" * 2000
    (run / "model.safetensors").write_bytes(content)
    assert main(["predict", str(run), f"--input={run}", f"--output={tmp_path / 'out'}"]) == 2
    assert "damaged" in capsys.readouterr().err
    with pytest.raises(InputError, match="damaged"):
        load(str(run / "model.safetensors"))


def test_masks_have_a_threshold_of_their_own_where_scores_are_means(fit) -> None:
    post = load(fit("--heatmap.top_percent=20", "--false-alarm-rate=0.3") / "model.safetensors").postprocess
    assert post.pixel_threshold > post.image_threshold
    assert float(post.pixel_threshold) == float(post.calibration_maxima.max())


@pytest.mark.parametrize(
    "model",
    [
        CFLOW,
        [
            "--model=fastflow",
            "--model.backbone=test_efficientnet",
            "--model.weights=random",
            "--model.steps=1",
            "--image.size=64",
        ],
    ],
)
def test_heatmap_options_are_part_of_the_model(model: list[str], tree: Path, tmp_path: Path) -> None:
    data = ["--data=mvtec", f"--data.root={tree}", "--data.category=stripes", f"--output={tmp_path}"]
    heatmap = ["--heatmap.smoothing=2", "--heatmap.top_percent=5", "--model.upsampling=nearest"]
    assert main(["train", *model, *data, *heatmap, "--trainer.max_epochs=1"]) == 0
    (run,) = tmp_path.glob("*/mvtec/stripes/run-001")
    pipeline = load(run / "model.safetensors")
    assert (pipeline.heatmap.smoothing, pipeline.heatmap.top_percent) == (2, 5)
    prediction = pipeline(read_image(tree / "stripes/test/blob/0.png")[None])
    top = prediction.maps.flatten().sort(descending=True).values[: 64 * 64 * 5 // 100]
    assert float(prediction.scores) == pytest.approx(float(top.mean()))
    written = {Path(row["path"]).as_posix()[-10:]: float(row["raw_score"]) for row in rows(run / "predictions.csv")}
    assert written["blob/0.png"] == pytest.approx(float(prediction.scores), rel=1e-4)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ["--model.vectors_per_step=1000000"],
            ["--model.vectors_per_step", "1000000", "at most", "3 images", "left out"],
        ),
        (["--model.condition=30"], ["--model.condition", "30", "multiple of 4"]),
        (["--model.layers=[2,7]"], ["--model.layers", "[7]", "layers 0 to 4"]),
        (["--model.schedule=linear"], ["--model.schedule", "linear", "'cosine'"]),
        (["--heatmap.top_percent=101"], ["--heatmap.top_percent", "101"]),
        (["--heatmap.smoothing=-1"], ["--heatmap.smoothing", "-1"]),
        (["--augment.rotate=200"], ["--augment.rotate", "200"]),
        (["--protocol=papers"], ["--protocol", "papers", "'paper'"]),
    ],
    ids=lambda value: value[0] if isinstance(value[0], str) else "",
)
def test_bad_options_are_said_in_a_sentence(tree: Path, tmp_path: Path, capsys, options, words) -> None:
    data = ["--data=mvtec", f"--data.root={tree}", "--data.category=stripes", f"--output={tmp_path}"]
    assert main(["train", *CFLOW, *data, *options]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert all(word in line for word in words), line
    assert not list(tmp_path.iterdir())


def test_the_published_protocol_needs_defects(tree: Path, tmp_path: Path, capsys) -> None:
    options = [
        "--data=folder",
        f"--data.normal={tree / 'stripes/train/good'}",
        f"--output={tmp_path}",
        "--protocol=paper",
    ]
    assert main(["train", *CFLOW, *options]) == 2
    assert "--protocol paper needs normal and anomalous test images" in capsys.readouterr().err


def test_a_resumed_run_keeps_its_protocol_and_scores(trained: Path, capsys) -> None:
    for option in ("--protocol=paper", "--heatmap.top_percent=2"):
        assert main(["train", "--resume", str(trained), option]) == 2
        assert option.split("=")[0] + " cannot change" in capsys.readouterr().err
