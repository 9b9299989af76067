"""Read the files of a corpus, among them hostile ones, with limits of time and memory; then run commands on them.

    pip download --no-binary :all: --no-deps pillow
    python tools/try_corpus.py pillow-*.tar.gz --run results/fastflow/folder/photos/run-001 --exported model.xml

Each file is read in a process of its own, which may take 10 seconds and 2 GB. The exit code is 1 if one of them
crashes, hangs, takes more memory, or raises anything but the one sentence that users see.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from jsonargparse import auto_cli

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.images import read_pixels

SECONDS, MEGABYTES = 10, 2000
LIMIT = 4 * MEGABYTES * 10**6
"""Bytes at which a child fails: more than it may take, so that this is seen and not refused for want of memory."""
OUTCOMES = ("read", "refused", "raised another error", "was killed", "took too long", "took too much memory")


@dataclass(frozen=True)
class Outcome:
    """What became of a file: one of OUTCOMES, and the seconds and megabytes that it took."""

    name: str
    what: str
    seconds: float
    megabytes: float


def read_apart(file: Path) -> Outcome:
    """Read a file as an image in a child process with limits."""
    start = time.perf_counter()
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))
        signal.alarm(SECONDS)
        warnings.simplefilter("ignore")
        code = 2
        try:
            read_pixels(file)
            code = 0
        except InputError as error:
            code = 1 if "\n" not in str(error) else 2
        finally:
            os._exit(code)
    _, status, usage = os.wait4(child, 0)
    if os.WIFSIGNALED(status):
        what = OUTCOMES[4] if os.WTERMSIG(status) == signal.SIGALRM else OUTCOMES[3]
    else:
        what = OUTCOMES[os.WEXITSTATUS(status)]
    megabytes = usage.ru_maxrss / 1000
    return Outcome(file.name, OUTCOMES[5] if megabytes > MEGABYTES else what, time.perf_counter() - start, megabytes)


def run_command(words: list[str]) -> bool:
    """Run a command, print what it took, and return whether it ended in order, without a traceback."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "anomalib_flows.cli", *words]
    ran = subprocess.run(command, check=False, capture_output=True, text=True)
    megabytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1000  # of the largest so far
    good = ran.returncode in (0, 2) and "Traceback" not in ran.stderr
    seconds = time.perf_counter() - start
    print(f"{' '.join(words[:2]):40} exit code {ran.returncode}, {seconds:.0f} s, at most {megabytes:.0f} MB")
    lines = ran.stderr.strip().splitlines()
    print("\n".join(lines[-1:] if good else lines[-20:]))
    return good


def unpack(archive: Path, folder: Path) -> list[Path]:
    """Unpack an archive, and return its image files: those in folders called images."""
    with tarfile.open(archive) as stream:
        stream.extractall(folder, filter="data")
    return [file for file in sorted(folder.rglob("images/**/*")) if file.is_file()]


def try_corpus(archive: Path, run: Path | None = None, exported: Path | None = None) -> None:
    """Read all files of a corpus, and run commands on its folder.

    Args:
        archive: Source distribution of Pillow, or another tar archive with a folder called images.
        run: Run directory to predict with.
        exported: Exported model (.xml) to predict with.
    """
    with tempfile.TemporaryDirectory() as folder:
        files = unpack(archive, Path(folder))
        outcomes = [read_apart(file) for file in files]
        counts = Counter(outcome.what for outcome in outcomes)
        print(f"{len(files)} files: " + ", ".join(f"{counts[what]} {what}" for what in OUTCOMES))
        slowest, largest = (
            max(outcomes, key=lambda one, key=key: getattr(one, key)) for key in ("seconds", "megabytes")
        )
        print(f"slowest: {slowest.name}, {slowest.seconds:.1f} s; largest: {largest.name}, {largest.megabytes:.0f} MB")
        for outcome in outcomes:
            if outcome.what not in OUTCOMES[:2]:
                print(outcome)
        images = next(path for path in sorted(Path(folder).rglob("images")) if path.is_dir())
        good = run_command(["data", "check", "--data=folder", f"--data.normal={images}"])
        for number, model in enumerate(filter(None, (run, exported))):
            to = Path(folder, f"predicted-{number}")
            words = ["predict", str(model), f"--input={images}", f"--output={to}", "--loader.on_error=skip"]
            good = run_command([*words, "--pictures=none"]) and good
    sys.exit(not good or counts["read"] + counts["refused"] < len(files))


if __name__ == "__main__":
    auto_cli(try_corpus, as_positional=True)
