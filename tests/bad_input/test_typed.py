"""What a new user, a careless one and an attacker type: one sentence answers each line, and names what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from refusals import refused

from conftest import TRAIN

pytestmark = pytest.mark.filterwarnings("always")  # the command line prints them

RUN_COMMANDS = ["test {}", "predict {} --input=photos --output=new", "calibrate {}", "export {}", "latency {}"]
"""Commands that take a run."""
NO_RUNS = [
    "nowhere",
    "notes.txt",
    "photos",
    "photos/1.png",
    "empty",
    "mine.yaml",
    "data/nut",
    "run/config.yaml",
    "~",
    "*",
]
NO_NUMBERS = ["ten", "10 epochs"]

TYPED = {
    # Commands
    "trian": "trian",
    "help": "help",
    "data": "",
    "data chekc": "chekc",
    "data check": "FOLDER",
    "predict": "run",
    "predict run": "--input",
    "predict run photos": "--input",
    "predict run photos new": "--input",
    "predict photos run": "photos",
    "predict --input=photos --output=new": "run",
    "predict run --input=photos": "--output",
    "predict run --input photos --output": "--output",
    "predict run --output=new --input": "--input",
    "calibrate": "run",
    "export": "run",
    "test": "run",
    "latency": "run",
    "report": "runs",
    "list": "kind",
    "list model": "model",
    "list models --filter=zzz": "zzz",
    "cache purge": "purge",
    "cache show --what=everything": "everything",
    "runs nowhere": "nowhere",
    "runs empty": "empty",
    "runs notes.txt": "notes.txt",
    "import-checkpoint": "file",
    "import-checkpoint notes.txt --output=new": "--from",
    "import-checkpoint notes.txt --from=keras --output=new": "--from",
    "import-checkpoint nowhere.ckpt --from=anomalib --output=new": "nowhere.ckpt",
    "import-checkpoint notes.txt --from=anomalib --output=new": "notes.txt",
    "import-checkpoint photos --from=gathierry --output=new": "photos",
    "import-checkpoint notes.txt --from=cflow-ad --output=run": "run",
    "data prepare": "name",
    "data prepare mvtec": "--root",
    "data prepare mvtek --root=new": "mvtek",
    "data prepare folder --root=new --download": "folder",
    "data prepare mvtec --root=new": "--archive",
    "data prepare mvtec --root=new --archive=nowhere.tar": "nowhere.tar",
    "data prepare mvtec --root=new --archive=notes.txt": "notes.txt",
    "data prepare btad --root=new --archive=photos": "photos",
    "data prepare visa --root=notes.txt --archive=notes.txt": "notes.txt",
    # Training
    "train": "--model",
    "train photos": "photos",
    "train fastflow": "fastflow",
    "train --model=fastflow": "--data",
    "train --model=fastflow --data": "--data",
    "train --data=folder --data.normal=photos": "--model",
    "train --model=FastFlwo --data=folder --data.normal=photos": "FastFlwo",
    "train --model=resnet18 --data=folder --data.normal=photos": "resnet18",
    "train --model=os.system --data=folder --data.normal=photos": "os.system",
    "train --model=photos/1.png --data=folder --data.normal=photos": "photos/1.png",
    "train --model=fastflow --data=photos": "photos",
    "train --model=fastflow --data=folder": "--data.normal",
    "train --model=fastflow --data=folder --data.normal=nowhere": "--data.normal",
    "train --model=fastflow --data=folder --data.normal=empty": "empty",
    "train --model=fastflow --data=folder --data.normal=notes.txt": "notes.txt",
    "train --model=fastflow --data=folder --data.normal=photos/*.gif": "*.gif",
    "train --model=fastflow --data=folder --data.normal=photos/**.png": "**",
    "train --model=fastflow --data=folder --data.normal=data/nut": "data/nut",
    "train --model=fastflow --data=folder --data.normal=photos --data.abnormal=photos": "photos",
    "train --model=fastflow --data=folder --data.normal=photos --data.masks=photos": "--data.masks",
    "train --model=fastflow --data=folder --data.table=notes.txt": "notes.txt",
    "train --model=fastflow --data=folder --data.table=nowhere.csv": "nowhere.csv",
    "train --model=fastflow --data=folder --data.table=photos": "photos",
    "train --model=fastflow --data=mvtec --data.root=data --data.category=nutt": "nutt",
    "train --model=fastflow --data=mvtec --data.root=data --data.category=[nut,nut]": "nut",
    "train --model=fastflow --data=mvtec --data.root=nowhere --data.category=nut": "nowhere",
    "train --model=fastflow --data=mvtec --data.root=data/nut --data.category=nut": "data/nut",
    "train --model=fastflow --data=mvtec --data.root=photos --data.category=.": "photos",
    "train --model=fastflow --data=visa --data.root=data --data.category=nut": "data",
    "train --model=fastflow --data=btad --data.root=data --data.category=nut": "data",
    "train --model=fastflow --data=stc --data.root=data --data.category=nut": "data",
    "train --model=fastflow --data=cifar10 --data.root=data --data.category=nut": "nut",
    "train --model=fastflow --data=synthetic --data.category=wool": "wool",
    "train --epochs=3 --model=fastflow": "--epochs",
    "train --lr=0.1 --model=fastflow": "--lr",
    "train -c": "-c",
    "train -c nowhere.yaml": "nowhere.yaml",
    "train -c notes.txt": "notes.txt",
    "train -c photos": "photos",
    "train -c photos/1.png": "photos/1.png",
    "train -c run": "run",
    "train -c empty": "empty",
    "train -c mine.yaml": "--data",
    "train -x": "-x",
    "train --": "--",
    "train ---model=fastflow": "-model",
    "train model=fastflow": "model=fastflow",
    "train --trainer=3 --model=fastflow": "--trainer",
    "train --loader=photos --model=fastflow": "--loader",
    "train --image=256 --model=fastflow": "--image",
    "train --resume": "--resume",
    "train --resume=nowhere": "nowhere",
    "train --resume=photos": "photos",
    "train --resume=run --name=other": "--name",
    "train --resume=run --model=cflow": "model",
    "train --resume=run --model.steps=3": "--model.steps",
    "train --resume=run --image.size=64": "--image.size",
    "train --resume=run --seed=3": "--seed",
    # Predictions and others
    "predict run --input=nowhere --output=new": "nowhere",
    "predict run --input=empty --output=new": "empty",
    "predict run --input=notes.txt --output=new": "notes.txt",
    "predict run --input=photos/*.bmp --output=new": "*.bmp",
    "predict run --input=run/images --output=new": "run/images",
    "predict run --input=movie.mp4 --output=new": "movie.mp4",
    "predict run --input=photos --output=notes.txt": "notes.txt",
    "predict run --input=photos --output=notes.txt/new": "notes.txt",
    "predict run --input=photos --output=run": "run",
    "predict run --input=photos --output=new --save=heatmaps": "--save",
    "predict run --input=photos --output=new --pictures=some": "--pictures",
    "predict run --input=photos --output=new --pictures=-1": "--pictures",
    "predict run --input=photos --output=new --device=GPU": "--device",
    "predict run --input=photos --output=new --device=cuda:7": "--device",
    "predict model.xml --input=photos --output=new --device=CPU:9": "CPU:9",
    "predict model.xml --input=empty --output=new": "empty",
    "predict model.xml --input=nowhere.mp4 --output=new": "nowhere.mp4",
    "predict model.bin --input=photos --output=new": "model.bin",
    "predict nowhere.xml --input=photos --output=new": "nowhere.xml",
    "test model.xml": "--data",
    "test model.xml --data=mvtec --data.root=data --data.category=nut": "--output",
    "test model.xml --data=mvtec --data.root=data --data.category=nut --output=new --protocol=paper": "model.xml",
    "test run --data=folder --data.normal=photos": "no test images",
    "test run --data=mvtec --data.root=nowhere --data.category=nut": "nowhere",
    "test run --disturb.rotate=200": "--disturb.rotate",
    "test run --model.steps=3": "--model.steps",
    "calibrate model.xml": "model.xml",
    "calibrate run --images=nowhere": "nowhere",
    "calibrate run --images=empty": "empty",
    "calibrate run --images=data/nut/train/good": "trained on",
    "calibrate run --defects=photos/nowhere": "nowhere",
    "calibrate run --defects=data/nut/test/good": "good",
    "calibrate run --max-missed=1": "--max-missed",
    "calibrate run --threshold=0.4 --defects=data/nut/test/cut": "--threshold",
    "calibrate run --threshold=1": "--threshold",
    "calibrate run --false-alarm-rate=1%": "--false-alarm-rate",
    "calibrate run --false-alarm-rate=0": "--false-alarm-rate",
    "calibrate run --false_alarm_rate=2": "--false-alarm-rate",
    "calibrate run --decision.mask_area=3.3": "--decision.mask_area",
    "export run --format=pdf": "pdf",
    "export run --precision=fp8": "--precision",
    "export run --output=photos": "photos",
    "export run --output=notes.txt": "notes.txt",
    "export run --images=nowhere": "nowhere",
    "export run --images=empty": "empty",
    "export run --int8.images=10": "--int8.images",
    "export run --input.size=0,5": "--input.size",
    "export run --input.batch=-1": "--input.batch",
    "export model.xml": "model.xml",
    "latency run --seconds=0": "--seconds",
    "latency run --seconds=1e9": "--seconds",
    "latency run --images=nowhere": "nowhere",
    "latency run --images=empty": "empty",
    "latency run --images=notes.txt": "notes.txt",
    "latency run --output=photos": "--output",
    "latency run --output=photos/1.png": "--output",
    "latency run --image-size=20000": "--image-size",
    "latency model.xml --streams=0": "--streams",
    "latency model.xml --precisions=f8": "--precisions",
    "report nowhere": "nowhere",
    "report photos": "photos",
    "report notes.txt": "notes.txt",
    "report run nowhere": "nowhere",
    "report run run": "run",
    "report run --output=photos": "--output",
    "report run --output=photos/1.png": "--output",
    "report run --output=new/report.html": "--output",
    "data check nowhere": "nowhere",
    "data check notes.txt": "notes.txt",
    "data check empty": "empty",
    "data check photos": "photos",
    "data check photos data": "data",
    "data check data --data=mvtec": "--data",
    "data check --data=folder --data.normal=empty": "mend them",
    "data check --data=folder --data.normal=nowhere --data.abnormal=empty": "2",
    "data check data --image.size=0": "--image.size",
    "data check data --max-megapixels=0": "--max-megapixels",
}
"""Lines as they are typed, and what the sentence names."""

SIZES = {
    "--image.size=100000": "--image.size",
    "--image.size=4097,64": "--image.size",
    "--image.size=9223372036854775808": "--image.size",
    "--loader.batch_size=1000000": "--loader.batch_size",
    "--loader.workers=100000": "--loader.workers",
    "--loader.max_megapixels=1e8": "--loader.max_megapixels",
    "--trainer.max_epochs=99999999999": "--trainer.max_epochs",
    "--trainer.max_steps=99999999999": "--trainer.max_steps",
    "--trainer.cache_variants=1000000": "--trainer.cache_variants",
    "--model.steps=100000": "--model.steps",
    "--model.steps=200 --model.hidden_ratio=16 --model.kernel_sizes=[31]": "--model.steps",
    "--model.hidden_ratio=1e9": "--model.hidden_ratio",
    "--model.kernel_sizes=[100001]": "--model.kernel_sizes",
    "--model.clamp=1e6": "--model.clamp",
    "--model.learning_rate=1e9": "--model.learning_rate",
    "--model.layers=[0,0,0,0]": "--model.layers",
    "--model.strides=[-1]": "--model.strides",
    "--pictures=99999999999": "--pictures",
    "--heatmap.smoothing=1e6": "--heatmap.smoothing",
}
"""Sizes that would take all memory or never end."""


@pytest.mark.parametrize(("line", "name"), TYPED.items(), ids=TYPED)
def test_a_line_is_answered_with_what_is_wrong(world: Path, capsys, line: str, name: str) -> None:
    if name:
        refused(capsys, world, line.split(), name)


@pytest.mark.parametrize("run", NO_RUNS)
@pytest.mark.parametrize("command", RUN_COMMANDS)
def test_what_is_no_run_is_named(world: Path, capsys, command: str, run: str) -> None:
    refused(capsys, world, [word.format(run) for word in command.split()], run)


@pytest.mark.parametrize(("options", "name"), SIZES.items(), ids=SIZES)
def test_sizes_are_refused_before_anything_is_built(world: Path, capsys, options: str, name: str) -> None:
    refused(capsys, world, [*TRAIN, *options.split()], name)


HOSTILE = [
    "\x1b[2J",
    "a\nerror: none",
    "../../etc/passwd",
    "$(touch new)",
    "`touch new`",
    "x" * 300,
    "\u202eexe",
    "%s%n",
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize(
    "command", ["test", "train -c", "predict run --output=new --input", "report", "list", "data check"]
)
def test_hostile_names_are_refused_and_shown_as_text(world: Path, capsys, command: str, text: str) -> None:
    said = refused(capsys, world, [*command.split(), text])
    assert not set(said) & {"\x1b", "\r", "\u202e"}
