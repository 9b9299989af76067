"""The page of sample results shows the categories that are there, and says how they were made."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import sample_results
import trees
from sample_results import Found, main, present


def test_each_dataset_finds_its_own_categories(tmp_path: Path) -> None:
    made = {"mvtec": trees.mvtec, "mvtec_loco": trees.mvtec_loco, "btad": trees.btad, "visa": trees.visa}
    made |= {"mvtec_ad2": trees.mvtec_ad2}
    expected = set()
    for name, make in made.items():
        options = make(tmp_path / name)
        expected.add(Found(name, tmp_path / name, str(options["category"])))
    assert set(present(tmp_path)) == expected


def test_a_folder_of_a_category_alone_and_other_files_are_passed_over(root: Path) -> None:
    (root / "readme.txt").touch()
    (root / "empty").mkdir()
    assert [(found.dataset, found.category) for found in present(root)] == [("mvtec", "noise")]


@pytest.mark.filterwarnings("ignore:Too few calibration images")
def test_a_page_is_made_from_a_folder_and_again_from_the_run(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("page")
    results = ["--results", str(folder / "results"), "--max-steps", "1", "--size", "64"]
    main(["--data", str(root), *results, "--output", str(folder / "samples")])
    page = (folder / "samples/index.md").read_text()
    assert "fastflow, 1 steps on images of 64 x 64 pixels" in page
    assert "[mvtec noise](#mvtec-noise)" in page
    shown = re.findall(r"!\[(\w+)\]\((\S+)\)", page)
    assert [kind for kind, _ in shown] == ["good", "stripes"]
    assert all((folder / "samples" / picture).is_file() for _, picture in shown)

    (run,) = (folder / "results").glob("*/*/*/run-001")
    main(["--runs", str(run), "--output", str(folder / "samples")])
    assert re.findall(r"^\| \[mvtec noise.*", page, re.MULTILINE) == re.findall(
        r"^\| \[mvtec noise.*", (folder / "samples/index.md").read_text(), re.MULTILINE
    )


def test_nothing_found_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        sample_results.main(["--data", str(tmp_path), "--output", str(tmp_path / "samples")])
    assert "No run has test images of both labels" in capsys.readouterr().err
    assert not (tmp_path / "samples").exists()
