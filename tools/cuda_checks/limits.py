"""What happens at the limits of a device: memory that ends, and two runs at once."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import re
from pathlib import Path
from typing import Any

from cuda_checks.commands import losses, train
from cuda_checks.place import Place, demand
from cuda_checks.processes import Row

GIB = 2**30
TOO_LARGE = {"cuda": ("1024", "32"), "cpu": ("1024", "8")}
"""Size and number of images that take more memory than is allowed."""


def limit_memory(device: str) -> None:
    """Allow this process a gibibyte on a GPU, or a quarter of it beyond what it has on a CPU."""
    if device == "cuda":
        import torch

        torch.cuda.set_per_process_memory_fraction(GIB / torch.cuda.get_device_properties(0).total_memory)
    else:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        allowed = pages * resource.getpagesize() + GIB // 4
        resource.setrlimit(resource.RLIMIT_AS, (allowed, allowed))


def out_of_memory(place: Place) -> list[Row]:
    """Train with too large a batch: one sentence names the batch size; on a GPU the suggested one fits."""
    import anomalib_flows.experiment.train
    import anomalib_flows.training.fit  # noqa: F401 (imported before memory is limited)

    limit_memory(place.device)
    size, batch = TOO_LARGE[place.device]
    words = [f"--image.size={size}", "--loader.workers=0", "--trainer.max_epochs=1", "--trainer.precision=32"]
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.suppress(AssertionError):
        train(place, "out-of-memory", "fastflow", *words, f"--loader.batch_size={batch}")
    errors = [line for line in said.getvalue().splitlines() if line.startswith("error:")]
    print(said.getvalue())
    demand(len(errors) == 1 and "Traceback" not in said.getvalue(), f"not one sentence: {said.getvalue()[-300:]!r}")
    found = re.search(rf"too small for --loader.batch_size {batch}: set it to (\d+)\.", errors[0])
    demand(found is not None, f"the sentence names no batch size that fits: {errors[0]}")
    suggested = found[1] if found else ""
    if place.device == "cuda":
        train(place, "within-memory", "fastflow", *words, f"--loader.batch_size={suggested}")
    return [{"batch size": int(batch), "suggested": int(suggested), "sentence": errors[0]}]


def two_at_once(place: Place) -> list[Row]:
    """Start two trainings together: both end well, in runs of their own, with the same losses."""
    context = multiprocessing.get_context("fork")  # this process has not used CUDA
    started: list[Any] = [context.Process(target=one_of_two, args=(place, i)) for i in range(2)]
    for process in started:
        process.start()
    for process in started:
        process.join()
    demand([p.exitcode for p in started] == [0, 0], f"exit codes: {[p.exitcode for p in started]}")
    runs = sorted(file.parent for file in (place.folder / "runs" / "together").rglob("config.yaml"))
    demand(len(runs) == 2, f"{len(runs)} runs")
    first, second = map(losses, runs)
    return [{"runs": len(runs), "first loss of each": [first[0], second[0]]}]


def one_of_two(place: Place, number: int) -> None:
    """Train, beside another process that does the same."""
    del number
    train(place, "together", "fastflow", "--trainer.max_epochs=1")
