"""The measurement of the smallest defects."""

from pathlib import Path

import numpy as np
import pytest

from anomalib_flows.cli import main
from smallest_defects import Defects, cover, measure


@pytest.mark.parametrize(("side", "area"), [(0.5, 0.25), (1, 1), (3, 9), (12.5, 156.25)])
def test_squares_cover_their_area(side: float, area: float) -> None:
    for seed in range(5):
        assert cover((64, 80), side, "square", np.random.default_rng(seed)).sum() == pytest.approx(area)


@pytest.mark.parametrize("width", [1, 2, 4])
def test_scratches_are_ten_times_as_long_as_wide(width: float) -> None:
    for seed in range(5):
        covered = cover((200, 220), width, "scratch", np.random.default_rng(seed)).sum()
        assert covered == pytest.approx(10 * width**2, rel=0.05)


@pytest.mark.filterwarnings("ignore:Too few calibration images")
def test_a_table_of_a_run_is_printed(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--model=fastflow", "--model.backbone=test_efficientnet", "--model.weights=random", "--image.size=64"]
    data = ["--data=mvtec", f"--data.root={root}", "--data.category=noise", f"--output={tmp_path / 'runs'}"]
    assert main(["train", *options, *data, "--trainer.max_epochs=1", "--pictures=0"]) == 0
    capsys.readouterr()
    run = tmp_path / "runs/fastflow/mvtec/noise/run-001"
    measure(Defects(runs=[run], sizes=(1, 24), contrasts=(100,), repeats=1))
    head, _, square, scratch = capsys.readouterr().out.splitlines()
    assert head == "| run | defect | contrast | 1 | 24 |"
    for kind, line in (("square", square), ("scratch", scratch)):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells[:3] == [str(run), kind, "100"]
        assert all(0 <= float(auroc) <= 1 for auroc in cells[3:])
