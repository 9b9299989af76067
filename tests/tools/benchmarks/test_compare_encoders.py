"""The table of encoders, from commands whose results are given."""

import json
from pathlib import Path

import pytest

import compare_encoders
from compare_encoders import COLUMNS, Encoders, compare, row


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Write what each command would, and return the commands."""
    called: list[tuple[str, ...]] = []

    def call(*arguments: str, cache: Path | None = None) -> float:
        called.append(arguments)
        output = Path(next(a.partition("=")[2] for a in arguments if a.startswith("--output=")))
        RESULTS[arguments[0]](output)
        return 12.4

    monkeypatch.setattr(compare_encoders, "call", call)
    return called


def trained(output: Path) -> None:
    run = output / "fastflow/mvtec/tiles/run-001"
    run.mkdir(parents=True)
    seed = int(output.name)
    metrics = {"image": {"auroc": 0.9 + 0.02 * seed}, "pixel": {"auroc": 0.8, "aupro": 0.7}}
    (run / "metrics.json").write_text(json.dumps(metrics))


def timed(output: Path) -> None:
    output.write_text(json.dumps({"rows": [{"precision": "f32", "median_ms": 20.0}]}))


def exported(output: Path) -> None:
    output.mkdir()
    (output / "model.xml").write_bytes(bytes(100_000))
    (output / "model.bin").write_bytes(bytes(900_000))
    compared = {"labels_agree": 48, "image_auroc": {"exported": 0.88}}
    (output / "parity.json").write_text(json.dumps({"images": {"count": 50}, "computed_in": {"f32": compared}}))


RESULTS = {"train": trained, "latency": timed, "export": exported}


def test_a_row_has_the_mean_over_seeds_and_the_export_of_the_first(commands, tmp_path) -> None:
    encoders = Encoders(root=tmp_path, category="tiles", output=tmp_path / "out", seeds=2)
    cells = dict(zip(COLUMNS, row(encoders, "tf_efficientnet_lite0"), strict=True))
    assert cells["image / pixel AUROC"] == "0.910 / 0.800"
    assert (cells["AUPRO"], cells["train, s"], cells["torch, ms"]) == ("0.700", "12", "20.0")
    assert cells["INT8: AUROC, labels that differ"] == "0.880, 4.0%"
    assert (cells["bf16, ms"], cells["INT8, MB"]) == ("-", "1.0")
    names = [name for name, *_ in commands]
    assert (names.count("train"), names.count("export"), names.count("latency")) == (2, 2, 3)


def test_random_weights_show_no_detection_and_nothing_is_measured_again(commands, tmp_path, capsys) -> None:
    encoders = Encoders(root=tmp_path, category="tiles", output=tmp_path / "out", encoders=("resnet18",))
    compare(encoders)
    first, count = capsys.readouterr().out, len(commands)
    assert "| `resnet18` | - | - | 12 | 20.0 | 20.0 | - | 20.0 | - | 1.0 |" in first
    compare(encoders)
    assert (capsys.readouterr().out, len(commands)) == (first, count)
