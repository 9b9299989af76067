"""Memory that is freed is used again."""

import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
import torch
from anomalib_flows.core.allocation import keep_memory

if sys.argv[1] == "keep":
    keep_memory()
for _ in range(30):
    torch.ones(12_500_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(12_500_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is done")
def test_large_tensors_take_fewer_pages_of_the_system() -> None:
    faults = {way: int(subprocess.check_output([sys.executable, "-c", SCRIPT, way])) for way in ("plain", "keep")}
    assert faults["keep"] < faults["plain"] / 10
