"""The tests that only a GPU can pass."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from cuda_checks.place import Place, demand
from cuda_checks.processes import Row

ROOT = Path(__file__).resolve().parents[2]
MARK = "mark.gpu"


def marked_gpu(place: Place) -> list[Row]:
    """Run the tests with the marker `gpu`; on a CPU only collect them."""
    files = sorted(str(file) for file in (ROOT / "tests").rglob("test_*.py") if MARK in file.read_text("utf-8"))
    demand(bool(files), "there are no tests with the marker gpu")
    how = ["--collect-only"] if place.device == "cpu" else []
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "gpu", *how, *files]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, env=dict(os.environ), check=False)
    print(done.stdout, done.stderr)
    last = (done.stdout.strip().splitlines() or ["nothing was printed"])[-1]
    demand(done.returncode == 0, f"pytest says: {last}")
    counted = re.search(r"(\d+)(?:/\d+)? (?:tests collected|passed)", last)
    return [{"files": len(files), "tests": int(counted[1]) if counted else 0, "run": place.device != "cpu"}]
