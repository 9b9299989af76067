"""The readers that ``fuzz.py`` tries, each with a folder of valid files."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
import tempfile
import zipfile
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import torch
from openvino import opset13 as opset
from PIL import Image

from anomalib_flows.cli import main as command
from anomalib_flows.core.images import read_pixels
from anomalib_flows.core.store import Store
from anomalib_flows.data.loading.reading import read_mask
from anomalib_flows.data.publish.archives import extract
from anomalib_flows.data.splits import read_splits
from anomalib_flows.data.tables import read_table, samples_of
from anomalib_flows.importing.code_bases import READERS, read_parts
from anomalib_flows.importing.inert import open_checkpoint
from anomalib_flows.models.checkpoint import load_pipeline
from anomalib_flows.results.report import write_report
from anomalib_flows.run.configurations import load
from anomalib_flows.run.directory import Run
from anomalib_flows.run.listing import list_runs
from anomalib_flows.runtime.exported_model import ExportedModel
from anomalib_flows.runtime.model_card import ModelCard, write_card
from anomalib_flows.training.fit import require_checkpoint
from fuzz import Reader

TRAIN = (
    *("train", "--model=fastflow", "--model.backbone=test_efficientnet", "--model.weights=random", "--model.steps=1"),
    *("--image.size=32", "--trainer.max_epochs=1", "--trainer.accelerator=cpu", "--data=folder", "--pictures=0"),
)


def make_readers(folder: Path) -> dict[str, Reader]:
    """Make the files of each reader in a folder of its name, and return the readers."""
    torch.set_num_threads(1)  # forked processes cannot use more
    os.environ["XDG_CACHE_HOME"] = str(folder / "own cache")
    run, photos = folder / "trained", folder / "photos"
    draw(photos)
    with redirect_stdout(io.StringIO()):
        options = (f"--data.normal={photos / 'good'}", f"--data.abnormal={photos / 'bad'}", f"--output={run}")
        if command([*TRAIN, *options]):
            raise RuntimeError("the training that makes the files failed")
    run = next(run.rglob("config.yaml")).parent
    pipeline = load_pipeline(run / "model.safetensors")
    made = {
        "configuration": Reader(("config.yaml",), lambda path: (Run(path).config(), load(path / "config.yaml"))),
        "model": Reader(("model.safetensors",), lambda path: load_pipeline(path / "model.safetensors")),
        "splits": Reader(("splits.csv",), lambda path: read_splits(path / "splits.csv")),
        "resume": Reader(("resume.ckpt",), lambda path: require_checkpoint(pipeline, path / "resume.ckpt")),
        "results": Reader(
            ("metrics.json", "predictions.csv", "curves.json", "thumbnails.jsonl", "losses.csv", "versions.json"),
            write_report,
        ),
        "runs": Reader(("config.yaml", "metrics.json", "model.safetensors"), list_runs),
    }
    for name in made:
        shutil.copytree(run, folder / name)
    others = {
        "image": make_images,
        "mask": make_images,
        "table": make_tables,
        "archive": make_archives,
        "cache": make_entry,
        "checkpoint": make_checkpoint,
        "card": make_export,
    }
    for name, make in others.items():
        (folder / name).mkdir()
        files = make(folder / name)
        made[name] = Reader(files, READ[name])
    return made


def draw(photos: Path) -> None:
    """Draw good and bad photos."""
    rng = np.random.default_rng(0)
    for name in [*(f"good/{i}.png" for i in range(8)), "bad/1.png", "bad/2.png"]:
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (24, 20, 3), np.uint8)).save(photos / name)


def make_images(folder: Path) -> tuple[str, ...]:
    """Save an image in each format."""
    values = np.random.default_rng(1).integers(0, 2, (12, 10), np.uint8) * 255
    names = tuple(f"1.{suffix}" for suffix in ("png", "jpg", "bmp", "tif", "webp", "pgm", "jp2"))
    for name in names:
        Image.fromarray(values).save(folder / name)
    return names


def make_tables(folder: Path) -> tuple[str, ...]:
    """Write a table as CSV and as JSON."""
    rows = [{"path": "1.png", "label": "good", "split": "train"}, {"path": "2.png", "label": "bad", "defect": "cut"}]
    (folder / "table.json").write_text(json.dumps(rows))
    (folder / "table.csv").write_text("path,label,split,mask,defect\n1.png,good,train,,\n2.png,bad,test,3.png,cut\n")
    return "table.csv", "table.json"


def make_archives(folder: Path) -> tuple[str, ...]:
    """Write archives of each kind."""
    for name, mode in {"a.tar": "w", "a.tgz": "w:gz", "a.txz": "w:xz", "a.tbz": "w:bz2"}.items():
        with tarfile.open(folder / name, mode) as tar:  # type: ignore[call-overload]
            for number in range(3):
                info = tarfile.TarInfo(f"part/{number}.txt")
                info.size = 600
                tar.addfile(info, io.BytesIO(bytes(600)))
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("part/1.txt", "text" * 100)
        archive.writestr("2.txt", "text")
    return "a.tar", "a.tgz", "a.txz", "a.tbz", "a.zip"


def make_entry(folder: Path) -> tuple[str, ...]:
    """Keep tensors in a cache."""
    store = Store(folder, 10**9, "loader.cache_size", "")
    store.put("entry", {"image": torch.zeros(3, 4, 5, dtype=torch.uint8), "content": torch.tensor([4, 5])})
    return (str(store.file("entry").relative_to(folder)),)


def make_checkpoint(folder: Path) -> tuple[str, ...]:
    """Save checkpoints that look like those of other code bases."""
    state = {"nf_flows.0.module_list.0.perm": torch.zeros(4), "model.weight": torch.ones(3, 3)}
    torch.save({"model_state_dict": state, "epoch": 3}, folder / "gathierry.pt")
    lightning = {"state_dict": state, "hyper_parameters": {"model": "x"}, "pytorch-lightning_version": "2"}
    torch.save(lightning, folder / "a.ckpt")
    torch.save({"encoder_state_dict": state, "decoder_state_dict": [state, state]}, folder / "cflow.pt")
    return "gathierry.pt", "a.ckpt", "cflow.pt"


def make_export(folder: Path) -> tuple[str, ...]:
    """Write a model with a card, as an export does, but without a detector."""
    image = opset.parameter([1, -1, -1, 3], np.uint8, name="image")
    image.output(0).set_names({"image"})
    raw = opset.reduce_mean(opset.convert(image, "f32"), opset.constant([1, 2, 3]))
    outputs = []
    for name in ("pred_score", "pred_label", "anomaly_map", "pred_mask", "raw_score"):
        value = opset.multiply(raw, opset.constant(np.float32(0.5)))
        value.output(0).set_names({name})
        outputs.append(opset.result(value))
    model = ov.Model(outputs, [image], "tiny")
    facts = {"version": "1", "interface": "native", "precision": "fp32", "inference_precision": "f32"}
    names = {"model": "fastflow", "backbone": "resnet18", "config": "", "dataset": "folder", "subset": "x"}
    input_ = {"image_size": (8, 12), "resize": "stretch", "input_layout": "NHWC", "channels": "RGB"}
    thresholds = {"false_alarm_rate": 0.2, "image_threshold": 0.8, "pixel_threshold": 0.75, "typical": 0.25}
    scores = {"score_typical": 0.2, "calibration_scores": (0.1, 0.8), "calibration_maxima": (0.3, 0.75)}
    every: dict[str, Any] = {**facts, **names, **input_, **thresholds, **scores, "protocol": "calibrated"}
    write_card(model, ModelCard(**every))
    ov.save_model(model, folder / "model.xml", compress_to_fp16=False)
    return "model.xml", "model.bin"


def read_images(folder: Path) -> None:
    """Read all images."""
    refuse_each([lambda file=file: read_pixels(file) for file in folder.glob("1.*")])


def read_masks(folder: Path) -> None:
    """Read all masks."""
    refuse_each([lambda file=file: read_mask(file, (12, 10), "1.png") for file in folder.glob("1.*")])


def read_tables(folder: Path) -> None:
    """Read all tables."""
    files = folder.glob("table.*")
    refuse_each([lambda file=file: samples_of(read_table(file, ["path"]), file, folder) for file in files])


def read_archives(folder: Path) -> None:
    """Unpack all archives."""
    with tempfile.TemporaryDirectory() as empty:
        places = [(file, Path(empty, file.name)) for file in folder.glob("a.*")]
        for _, place in places:
            place.mkdir()
        refuse_each([lambda file=file, place=place: extract(file, place) for file, place in places])


def read_checkpoints(folder: Path) -> None:
    """Take all checkpoints apart, for each code base."""

    def read(file: Path, source: Any) -> None:
        with open_checkpoint(file) as checkpoint:
            read_parts(checkpoint, source, "resnet18")

    refuse_each(
        [lambda file=file, source=source: read(file, source) for file in folder.iterdir() for source in READERS]
    )


def refuse_each(readings: list[Any]) -> None:
    """Read several files, of which one is damaged; each may be refused."""
    from anomalib_flows import InputError

    for reading in readings:
        try:
            reading()
        except InputError as error:
            if "\n" in str(error):
                raise


READ = {
    "image": read_images,
    "mask": read_masks,
    "table": read_tables,
    "archive": read_archives,
    "cache": lambda folder: Store(folder, 10**9, "loader.cache_size", "").get("entry"),
    "checkpoint": read_checkpoints,
    "card": lambda folder: ExportedModel(folder / "model.xml"),
}
