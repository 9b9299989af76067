"""Predictions that are killed at random moments end, resumed, like undisturbed ones."""

from __future__ import annotations

import logging
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tiny import draw

from kills import KILLED, Killer
from tiny_export import write

pytestmark = pytest.mark.filterwarnings("always")  # the command line prints them


@pytest.fixture(scope="module")
def killer() -> Iterator[Killer]:
    with Killer() as started:
        yield started


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for i in range(50):
        (folder / f"{i % 3}").mkdir(exist_ok=True)
        draw(i, blob=i % 3 == 0)[0].save(folder / f"{i % 3}/{i}.png")
    return folder


def files_in(folder: Path) -> dict[str, bytes]:
    """Return all files; of the report without its time."""
    found = {file.relative_to(folder).as_posix(): file for file in folder.rglob("*") if file.is_file()}
    return {name: re.sub(rb"\d{4}-\d\d-\d\d \d\d:\d\d", b"", file.read_bytes()) for name, file in found.items()}


def state(output: Path) -> str:
    """Return how far a prediction has come."""
    if not output.exists():
        return "not begun"
    if (output / "predictions.csv").exists():
        return "rows complete"
    rows = output / "predictions.partial.csv"
    count = len(rows.read_bytes().splitlines()) - 1 if rows.exists() else 0
    return f"{count // 10 * 10} rows and more"


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("kind", "kills", "options"),
    [
        ("run", 4, ["--set-apart=copy"]),
        *(pytest.param(kind, 100, [], marks=SLOW) for kind in ("run", "exported")),
        *(pytest.param(kind, 50, ["--set-apart=move"], marks=SLOW) for kind in ("run", "exported")),
    ],
)
def test_killed_predictions(
    kind: str,
    kills: int,
    options: list[str],
    trained: Path,
    photos: Path,
    tmp_path: Path,
    killer: Killer,
) -> None:
    model = trained if kind == "run" else write(tmp_path / "model.xml")
    given, out, whole = tmp_path / "photos", tmp_path / "out", tmp_path / "whole"
    command = ["predict", str(model), "--input", str(given), "--output", str(out), *options]
    shutil.copytree(photos, given)
    code, seconds = killer.run(command)
    assert code == 0
    out.rename(whole)
    expected, left = files_in(whole), files_in(given)
    rng, states = np.random.default_rng(0), Counter[str]()
    while states.total() < kills:
        shutil.rmtree(out, ignore_errors=True)
        shutil.rmtree(given)
        shutil.copytree(photos, given)
        while (code := killer.run([*command, "--resume"], rng.uniform(0, seconds))[0]) == KILLED:
            states[state(out)] += 1
        # 2: it was killed after the end, so that there is nothing to resume.
        assert code == 0 or (code == 2 and not list(out.glob("*.partial.*")))
        assert files_in(out) == expected
        assert files_in(given) == left
    logging.getLogger(__name__).info("Killed: %s", dict(states))


@pytest.mark.parametrize(
    ("kind", "stride"), [("exported", 17), *(pytest.param(kind, 1, marks=SLOW) for kind in ("run", "exported"))]
)
def test_predictions_that_are_killed_before_each_step(
    kind: str, stride: int, trained: Path, photos: Path, tmp_path: Path, killer: Killer
) -> None:
    model = trained if kind == "run" else write(tmp_path / "model.xml")
    given, out, whole = tmp_path / "photos", tmp_path / "out", tmp_path / "whole"
    command = ["predict", str(model), "--input", str(given), "--output", str(out), "--set-apart=move", "--resume"]
    chosen = [photos / f"{i % 3}/{i}.png" for i in range(5)]

    def begin() -> None:
        for folder in (out, given):
            shutil.rmtree(folder, ignore_errors=True)
        given.mkdir()
        for photo in chosen:
            shutil.copy2(photo, given)

    begin()
    assert killer.run(command)[0] == 0
    out.rename(whole)
    expected, left = files_in(whole), files_in(given)
    begin()
    step = 1
    while killer.run(command, step=step, folder=tmp_path)[0] == KILLED:
        code, _ = killer.run(command)
        assert code == 0 or (code == 2 and not list(out.glob("*.partial.*")))
        assert files_in(out) == expected
        assert files_in(given) == left
        begin()
        step += stride
    logging.getLogger(__name__).info("Killed before %d steps.", (step - 1) // stride)
    assert step > 60
