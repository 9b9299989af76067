"""Rules for the pixel threshold, compared on a tiny run."""

from pathlib import Path

import pytest

from anomalib_flows.run.component import Component
from anomalib_flows.run.config import TrainConfig
from anomalib_flows.run.options import ImageOptions, TrainerOptions
from compare_mask_rules import AREAS, RATES, compare


@pytest.mark.filterwarnings("ignore")
def test_each_rule_has_an_f1_and_a_share_of_specks(root: Path, tmp_path: Path, capsys) -> None:
    from anomalib_flows.experiment.train import train

    arguments = {"backbone": "test_efficientnet", "weights": "random", "steps": 1}
    config = TrainConfig(
        model=Component("fastflow", arguments),
        data=Component("mvtec", {"root": str(root), "category": "noise"}),
        image=ImageOptions(size=64),
        trainer=TrainerOptions(max_epochs=1, accelerator="cpu"),
        output=tmp_path / "results",
        pictures=0,
    )
    run = train(config)
    capsys.readouterr()
    compare([run.path])
    titles, _, row = capsys.readouterr().out.splitlines()
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert len(titles.strip("|").split("|")) == len(cells) == 3 + len(AREAS) + len(RATES)
    best, shown = float(cells[2]), [float(cell.split()[0]) for cell in cells[3:]]
    assert all(f1 <= best for f1 in shown)
    assert shown[0] == pytest.approx(run.metrics()["pixel"]["f1"], abs=0.005)
    marked = run.metrics()["errors"]["marked_good_images"]
    assert cells[3].endswith(f"({100 * marked['count'] / marked['of']:.0f} %)")
