"""Make the page of sample results with the drawn products, unless it is newer than the package."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tools/make/sample_results.py"
SETTINGS = ("--drawn", "--max-steps", "40", "--size", "160")
NOTE = """These settings take seconds. The defaults, 120 steps on images of 256 x 256 pixels, take a minute for each and
detect more: in the [tutorial](../tutorial.md) they miss 7 of the 50 defective boards."""


def make(app: Sphinx) -> None:
    """Train on each drawn product, with settings that take seconds."""
    output = Path(app.srcdir, "samples")
    sources = [SCRIPT, Path(__file__), *(ROOT / "src").rglob("*.py")]
    page = output / "index.md"
    if page.exists() and page.stat().st_mtime > max(source.stat().st_mtime for source in sources):
        return
    with tempfile.TemporaryDirectory() as results:
        command = [sys.executable, str(SCRIPT), *SETTINGS, "--results", results, "--output", str(output)]
        subprocess.run(command, check=True)
    page.write_text(page.read_text(encoding="utf-8").replace("\n\n|", f"\n\n{NOTE}\n\n|", 1), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx, before it lists the pages."""
    app.connect("builder-inited", make)
    return {"parallel_read_safe": True}
