"""The comparison of trainings with anomalib's, ours only: anomalib has an environment of its own."""

import subprocess
import sys
from pathlib import Path

import timm
from safetensors.torch import save_file

TOOL = Path(__file__).parents[3] / "tools/benchmarks/compare_cflow_training.py"


def test_a_row_is_printed_for_each_test(root: Path, tmp_path: Path) -> None:
    weights = tmp_path / "weights.safetensors"
    save_file(timm.create_model("mobilenetv2_100", pad_type="same").state_dict(), weights)
    options = ["--ours", sys.executable, "--anomalib", "none", "--root", str(root), "--category", "noise"]
    options += ["--weights", str(weights), "--epochs", "2", "--tests", "2", "--workers", "ours"]
    done = subprocess.run([sys.executable, str(TOOL), *options], capture_output=True, text=True, check=True)
    head, _, *table = [[cell.strip() for cell in line.strip("|").split("|")] for line in done.stdout.splitlines()]
    assert head == ["trained by", "images", "seconds", "image AUROC", "pixel AUROC"]
    assert [row[:2] for row in table] == [["ours", "3"], ["ours", "6"]]  # one of 4 images is held out
    assert all(0 <= float(value) <= 1 for row in table for value in row[3:])
    assert float(table[0][2]) < float(table[1][2])
