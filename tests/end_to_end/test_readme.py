"""The examples, commands and links of the README and the other pages work."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import torch
from PIL import Image

from anomalib_flows import CFlow, FastFlow, Pipeline
from anomalib_flows.cli.app import main
from anomalib_flows.models.checkpoint import save_pipeline

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
IN_PYTHON = (ROOT / "docs/how-to/python.md").read_text()
MADE = ROOT / "docs/samples"
"""Pages that the build of the documentation makes."""
PAGES = [page for page in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")) if MADE not in page.parents]


def test_the_how_to_on_python_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "".join(dedent(block) for block in re.findall(r"```python\n(.*?)```", IN_PYTHON, re.DOTALL))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    Path("photos").mkdir()
    Image.new("RGB", (80, 60)).save("photos/1.png")
    small = code.replace('"size": 128', '"size": 64').replace('"max_steps": 20', '"max_steps": 1')
    assert small.count('"size": 64') == small.count('"max_steps": 1') == 1
    with pytest.warns(UserWarning, match="calibration images"):
        exec(small, {})  # noqa: S102
    assert "tensor(" in capsys.readouterr().out
    assert len(Path("predicted/predictions.csv").read_text().splitlines()) == 2


@pytest.mark.parametrize("model", [FastFlow, CFlow])
def test_the_how_to_on_sampling_runs(model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first, fastflow, cflow = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs/explanation/sampling.md").read_text(), re.DOTALL
    )
    detector = model((64, 64), layers=[1, 2], steps=2)
    (named,) = re.findall(r'load\("(.*?)"\)', first)
    monkeypatch.chdir(tmp_path)
    Path(named).parent.mkdir(parents=True)
    save_pipeline(Pipeline(detector), Path(named))
    known: dict[str, Any] = {}
    exec(first + (fastflow if model is FastFlow else cflow), known)  # noqa: S102
    assert known["features"].shape == (1, *detector.shapes[0])
    if model is FastFlow:
        back, log_det = detector.flows[0](known["features"])
    else:
        back, log_det = detector.flows[0](known["vectors"], detector.flows[0].code.everywhere())
    torch.testing.assert_close(back, known["z"], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(log_det, -known["log_det"], rtol=1e-3, atol=1e-3)


def training_commands() -> list[str]:
    """Return the commands of all pages that train, except for those with placeholders or plug-ins."""
    shown = "".join(page.read_text(encoding="utf-8").replace("\\\n", " ") for page in PAGES)
    found = re.findall(r"anomalib-flows (train [^`\n]*)", shown)
    commands = {command.split("  #")[0].strip() for command in found}
    others = re.compile(r"\.\.\.|(?<!\$)\b[A-Z]{3,}\b|\$PUBLISHED|--resume|\.help|reference\.|gaussian|my\.yaml")
    return sorted(command for command in commands if not others.search(command))


@pytest.mark.parametrize("command", training_commands())
def test_commands_exist(command: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*shlex.split(command), "--print_config"])
    assert stopped.value.code in (0, None)


def test_the_readme_trains_in_several_ways() -> None:
    assert README.count("anomalib-flows train ") >= 5


def test_the_test_command_is_what_ci_runs() -> None:
    command = next(line for line in README.splitlines() if line.endswith(".venv/bin/tox"))
    assert command.replace("pip install", "pip install -q") in (ROOT / ".ci/run").read_text()


def text_of(page: Path) -> str:
    """Return a page without its code, in which brackets are no links."""
    return re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", text_of(page)):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_files_that_a_page_names_exist(page: Path) -> None:
    named = set(re.findall(r"`((?:tools|tests|docs|configs|src)/[\w/.]+\.\w+)`", page.read_text(encoding="utf-8")))
    assert not [name for name in sorted(named) if "NAME" not in name and not (ROOT / name).exists()]
