"""Export a run as the library does, without the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
import torch
from PIL import Image
from tiny_pipelines import ARGUMENTS, SIZE, photo

from anomalib_flows.core.errors import InputError, NotCalibratedError
from anomalib_flows.core.types import Sample
from anomalib_flows.data.loading.reading import read_image
from anomalib_flows.data.splits import write_splits
from anomalib_flows.experiment.calibrate import calibrate
from anomalib_flows.experiment.options import CalibrateOptions
from anomalib_flows.export.export import export
from anomalib_flows.export.formats import exporter, format_names
from anomalib_flows.export.options import ExportOptions, InputOptions, QuantizationOptions
from anomalib_flows.models.checkpoint import load_pipeline, save_pipeline
from anomalib_flows.models.postprocess import Postprocess
from anomalib_flows.run.component import Component
from anomalib_flows.run.config import TrainConfig
from anomalib_flows.run.decision import DecisionOptions
from anomalib_flows.run.directory import Run
from anomalib_flows.run.options import ImageOptions
from anomalib_flows.runtime import ExportedModel

pytestmark = pytest.mark.filterwarnings("always")


@pytest.fixture(scope="module")
def run(pipeline, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with a calibrated pipeline and some images, as training leaves it."""
    found = Run(tmp_path_factory.mktemp("run"))
    config = TrainConfig(
        model=Component("fastflow", ARGUMENTS["fastflow"]),
        data=Component("synthetic"),
        image=ImageOptions(size=f"{SIZE[0]},{SIZE[1]}"),
        false_alarm_rate=0.2,
    )
    found.write_config(config)
    save_pipeline(pipeline(), found.model_file)
    samples = []
    for split, count in (("train", 6), ("calibration", 5), ("test", 4)):
        for number in range(count):
            anomalous = split == "test" and number % 2 == 1
            file = found.path / f"photos/{split}-{number}.png"
            file.parent.mkdir(exist_ok=True)
            pixels = photo(70, 80, seed=50 * len(split) + number, blob=anomalous).permute(1, 2, 0)
            Image.fromarray(pixels.numpy()).save(file)
            samples.append(Sample(file, split, int(anomalous)))
    write_splits(samples, found.splits_file)
    return found


@pytest.mark.parametrize("format", format_names())
def test_each_format_predicts_like_the_trained_model(run: Run, format: str, tmp_path: Path, capsys) -> None:
    options = ExportOptions(format=format, precision="fp32", images="test", output=tmp_path / "out")
    report = export(run.path, options)
    assert report.file == tmp_path / f"out/model{exporter(format).suffix}"
    assert report.file.is_file()
    assert json.loads((tmp_path / "out/parity.json").read_text()) == json.loads(json.dumps(report.to_dict()))
    assert (report.images, report.count) == ("test", 4)
    assert report.intended["within"]
    assert report.intended["labels_agree"] == 4
    assert report.intended["mask"]["equal_pixels"] > 0.9998  # one at the threshold may differ
    assert report.intended["image_auroc"]["trained"] == report.intended["image_auroc"]["exported"]
    assert capsys.readouterr().out == ""


def test_the_card_names_the_run(run: Run, pipeline, tmp_path: Path) -> None:
    report = export(run.path, ExportOptions(output=tmp_path / "out"))
    model = ExportedModel(report.file)
    assert (model.card.precision, model.card.dataset, model.card.false_alarm_rate) == ("fp16", "synthetic", 0.2)
    file = run.path / "photos/test-1.png"
    expected = pipeline().postprocess.image_results(pipeline()(read_image(file)[None]).maps, [SIZE])[0]
    result = model(file)
    assert (result.label, result.p_value) == (expected.label, pytest.approx(expected.p_value))
    assert result.score == pytest.approx(expected.score, abs=5e-2)


def test_int8_has_thresholds_of_its_own(run: Run, pipeline, tmp_path: Path) -> None:
    int8 = QuantizationOptions(images=3, accuracy_control=True, max_drop=1.0)
    report = export(run.path, ExportOptions(precision="int8", int8=int8, output=tmp_path / "out"))
    assert report.quantization["training_images"] == 3
    control = report.quantization["accuracy_control"]
    assert control["images"] == {"what": "calibration, with drawn defects", "count": 10}
    assert "within" not in report.intended
    card = ExportedModel(report.file).card
    assert len(card.calibration_scores) == 5
    assert card.image_threshold != float(pipeline().postprocess.image_threshold)


def test_int8_has_a_threshold_by_hand_at_the_same_place(run: Run, tmp_path: Path) -> None:
    moved = Run(Path(shutil.copytree(run.path, tmp_path / "run")))
    calibrate(moved.path, CalibrateOptions(threshold=0.7, pixel_threshold=0.6, decision=DecisionOptions(mask_area=10)))
    card = ExportedModel(
        export(moved.path, ExportOptions(precision="int8", int8=QuantizationOptions(images=3))).file
    ).card
    assert (card.threshold_source, card.mask_area) == ("hand", 10)
    highest, levels = card.calibration_scores[-1], card.calibration_maxima[-1]  # the threshold for 0.2 of five images
    assert card.image_threshold == pytest.approx(card.score_typical + 1.4 * (highest - card.score_typical), rel=1e-4)
    assert card.pixel_threshold == pytest.approx(card.typical + 1.2 * (levels - card.typical), rel=1e-4)
    before = load_pipeline(moved.model_file).postprocess
    assert card.calibration_scores != pytest.approx(before.calibration_scores.tolist(), rel=1e-6)


@pytest.mark.parametrize("format", format_names())
def test_batches_and_sizes(run: Run, format: str, tmp_path: Path) -> None:
    taken = InputOptions(size="60,90", batch=3, layout="NCHW", channels="BGR")
    options = ExportOptions(format=format, precision="fp32", input=taken, output=tmp_path / "out")
    with pytest.warns(UserWarning, match="5 of 5 images are not 60 x 90 pixels high and wide as `input.size`"):
        report = export(run.path, options)
    assert report.intended["within"]
    if format == "openvino":
        assert list(ov.Core().read_model(report.file).input(0).shape) == [3, 3, 60, 90]


def test_padding_is_left_out(run: Run, pipeline, tmp_path: Path) -> None:
    padded = Run(tmp_path / "run")
    padded.path.mkdir()
    padded.write_config(run.config())
    save_pipeline(pipeline(resize="pad"), padded.model_file)
    padded.splits_file.write_bytes(run.splits_file.read_bytes())
    report = export(padded.path, ExportOptions(precision="fp32"))
    assert report.file == padded.path / "export/openvino-fp32/model.xml"
    assert report.intended["within"]
    assert ExportedModel(report.file)(np.zeros((70, 80, 3), np.uint8)).anomaly_map.shape == (56, 64)
    for options in ({"interface": "anomalib"}, {"input": InputOptions(preprocessing=False)}):
        with pytest.raises(InputError, match="is not available for a run with `image.resize` pad"):
            export(padded.path, ExportOptions(**options))


def test_a_file_that_decides_otherwise_is_not_kept(run: Run, tmp_path: Path, monkeypatch) -> None:
    tracing = torch.jit.is_tracing
    monkeypatch.setattr(
        Postprocess, "normalise_scores", lambda _, scores: torch.full_like(scores, 0.7 if tracing() else 0.6)
    )
    with pytest.raises(InputError, match=r"fp32 model decides otherwise than the trained one: scores differ by 0.1 \("):
        export(run.path, ExportOptions(precision="fp32", output=tmp_path / "out"))
    assert not list(tmp_path.iterdir())


def test_runs_without_thresholds_are_refused(run: Run, pipeline, tmp_path: Path) -> None:
    bare = Run(tmp_path / "run")
    bare.path.mkdir()
    bare.write_config(run.config())
    uncalibrated = pipeline()
    threshold = uncalibrated.postprocess.image_threshold
    uncalibrated.postprocess.image_threshold = torch.tensor(torch.nan)
    save_pipeline(uncalibrated, bare.model_file)
    uncalibrated.postprocess.image_threshold = threshold
    with pytest.raises(NotCalibratedError):
        export(bare.path, ExportOptions(output=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"images": "EMPTY"}, "`images` EMPTY is not a folder"),
        ({"output": Path(__file__).parent}, "exists already: choose another folder as `output`"),
        ({"interface": "model-api", "input": InputOptions(layout="NCHW")}, "`interface` model-api defines the input"),
        ({"format": "tensorrt"}, "There is no format 'tensorrt'"),
    ],
)
def test_invalid_options_are_refused(run: Run, tmp_path: Path, options, words: str) -> None:
    with pytest.raises(InputError) as caught:
        export(run.path, ExportOptions(**{"output": tmp_path / "out"} | options))
    assert words in str(caught.value)
    assert not list(tmp_path.iterdir())
