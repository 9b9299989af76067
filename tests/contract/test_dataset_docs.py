"""docs/reference/datasets.md agrees with the cards of the datasets, and its examples run."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from anomalib_flows.cli.app import main
from anomalib_flows.core import registry
from anomalib_flows.data.datasets.folder import Folder
from anomalib_flows.testing import check_dataset
from published import array, pack
from trees import draw, draw_masks

TEXT = (Path(__file__).parents[2] / "docs/reference/datasets.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (\w+)$(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))
OWN = [name for name, entry in registry.entries("datasets").items() if entry.value.startswith("anomalib_flows.")]


@pytest.mark.parametrize("name", OWN)
def test_every_dataset_has_a_section_with_its_card(name: str) -> None:
    section = SECTIONS[name]
    assert "anomalib-flows train" in section
    assert f"(#{name})" in TEXT
    card = registry.load("datasets", name).card
    if card is None:
        return
    words = " ".join(section.split())  # lines are wrapped
    assert all(fact in words for fact in (card.title, card.homepage, card.licence, card.citation))
    rows = re.findall(r"^\| (\w+) \| ((?:\d+ \| ?)+)$", section, re.MULTILINE)
    numbers = {category: tuple(map(int, re.findall(r"\d+", cells))) for category, cells in rows}
    held_out = any(counts.calibration for counts in card.counts.values())
    assert numbers == {category: tuple(counts)[: 3 + held_out] for category, counts in card.counts.items()}


@pytest.mark.parametrize("command", re.findall(r"^anomalib-flows (train .*)$", TEXT, re.MULTILINE))
def test_its_commands_exist(command: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*shlex.split(command), "--print_config"])
    assert stopped.value.code in (0, None)


def test_its_example_is_a_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [code] = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    (tmp_path / "castings.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    draw(tmp_path / "rim", "train/ok/1.png", "train/ok/2.png", "test/ok/1.png", "test/pore/1.png")
    draw_masks(tmp_path / "rim", "masks/pore/1.png")
    dataset = registry.load("datasets", "castings.Castings", trust=True)(root=tmp_path, category="rim")
    check_dataset(dataset)
    assert [sample.mask for sample in dataset.samples() if sample.label] == [tmp_path / "rim/masks/pore/1.png"]


def test_the_example_of_a_dataset_that_arranges_its_files_is_prepared(tmp_path: Path, monkeypatch) -> None:
    guide = (Path(__file__).parents[2] / "docs/how-to/plug-ins.md").read_text(encoding="utf-8")
    [code] = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    (tmp_path / "scans.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    archive = pack(tmp_path / "scans.zip", {f"scans/{i}.npy": array(np.full((6, 8), i, np.uint8)) for i in range(2)})
    root = tmp_path / "root"
    assert main(["data", "prepare", "scans.Scans", "--root", str(root), "--archive", str(archive)]) == 0
    assert len(registry.load("datasets", "scans.Scans", trust=True)(root=root, category="scan").samples()) == 2


def test_its_example_of_a_table_is_read(tmp_path: Path) -> None:
    [table] = re.findall(r"```text\n(path,.*?)```", TEXT, re.DOTALL)
    (tmp_path / "all.csv").write_text(table)
    samples = Folder(table=tmp_path / "all.csv").samples()
    assert [(s.split, s.defect) for s in samples] == [("train", "good"), ("test", "good"), ("test", "scratch")]
