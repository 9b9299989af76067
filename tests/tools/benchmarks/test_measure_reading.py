"""The measurement of reading."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import measure_reading


def test_every_way_to_read_has_a_rate(root: Path) -> None:
    arguments = [str(root / "noise/train"), "--size=32", "--rounds=1", "--cores=2", "--batch=2"]
    # It forks worker processes, which crashes in a process in which other tests have run OpenVINO.
    done = subprocess.run(
        [sys.executable, measure_reading.__file__, *arguments],
        env=os.environ | {"XDG_CACHE_HOME": "/nowhere"},  # the tool replaces it by a folder of its own
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    shown = done.stdout
    assert shown.startswith("4 images, the first of (64, 64) pixels")
    rates = re.findall(r"^\| ([\w ,]+) \| ([\d.]+) \(", shown, re.MULTILINE)
    assert len(rates) == 7
    assert all(float(rate) > 0 for _, rate in rates)
    assert {name for name, _ in rates} >= {"2 threads", "2 worker processes", "2 threads, cache in disk"}
