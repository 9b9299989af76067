"""Check everything that CUDA has to show with one command, without network: a JSON file and a Markdown table.

    python tools/check_cuda.py --output checks

takes at most thirty minutes on a GPU, and needs the package installed (`pip install --no-deps` is enough beside torch,
timm, Lightning, einops, safetensors, jsonargparse, kornia, pydantic, SciPy and Pillow). Photos are drawn, weights are
random. Each check runs in a process of its own with a time limit; one that fails is recorded, and the others go on. The
exit code is 0 if all passed. What a check prints is in OUTPUT/logs.

    python tools/check_cuda.py --device cpu --output checks

runs the same checks at a tiny size, so that this tool itself is tested. With `--anomalib FOLDER`, a folder with an
unpacked anomalib (`pip download --no-deps anomalib`, then unzip; needs FrEIA), training steps of its models take turns
with ours.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TOOLS = Path(__file__).resolve().parent
sys.path[:0] = [str(TOOLS), str(TOOLS / "benchmarks")]

from cuda_checks import tables  # noqa: E402
from cuda_checks.place import PRECISIONS, Place, models  # noqa: E402
from cuda_checks.processes import Check, Outcome, run  # noqa: E402


def main() -> int:
    """Run the checks; return 0 if all passed."""
    args = parse()
    place = Place(args.device, args.output.absolute(), args.anomalib)
    place.folder.mkdir(parents=True, exist_ok=True)
    os.environ |= {"XDG_CACHE_HOME": str(place.folder / "cache"), "HF_HUB_OFFLINE": "1"}
    ends = time.monotonic() + 60 * args.minutes
    drawn = run(Check("device and photos", begin), place, ends - time.monotonic())
    about, outcomes = drawn.rows[0] if drawn.rows else {}, [drawn]
    if args.device == "cpu":
        import_once()
    wanted = [c for c in checks(place) if not args.only or any(word in c.name for word in args.only)]
    wanted = [c for c in wanted if not any(word in c.name for word in args.skip)]
    for check in wanted if drawn.passed else []:
        outcomes.append(run(check, place, ends - time.monotonic()))
        show(outcomes[-1])
        tables.write(place.folder, about, outcomes)
    if not drawn.passed:
        show(drawn)
        tables.write(place.folder, about, outcomes)
    print(f"{sum(o.passed for o in outcomes)} of {len(outcomes)} checks passed: {place.folder / 'checks.md'}")
    return 0 if all(outcome.passed for outcome in outcomes) else 1


def parse() -> argparse.Namespace:
    """Parse the options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--output", type=Path, required=True, help="folder for the tables, logs and runs")
    parser.add_argument("--anomalib", default="", help="folder with an unpacked anomalib to measure beside ours")
    parser.add_argument("--only", nargs="+", help="run only checks with one of these words in their names")
    parser.add_argument("--skip", nargs="+", default=[], help="leave out checks with one of these words in their names")
    parser.add_argument("--minutes", type=float, default=30, help="limit of the whole run")
    args = parser.parse_args()
    if (args.output / "checks.json").exists() or (args.output / "runs").exists():
        parser.error(f"{args.output} has checks already: name another folder")
    return args


def checks(place: Place) -> Iterator[Check]:
    """Yield all checks: first those of what is right, then those of speed."""
    # Imported here, since a process that is forked brings along what its parent has imported.
    from cuda_checks import commands, limits, numbers, peer, pytests, speed

    for model in models():
        yield Check(f"{model} against the CPU", numbers.against_cpu, (model,))
        for precision in PRECISIONS:
            yield Check(f"{model} trained in {precision}", commands.training, (model, precision))
        yield Check(f"{model} resumed on another device", commands.resume, (model,))
        yield Check(f"{model} after training", commands.after_training, (model,))
        yield Check(f"{model} exported", commands.exported, (model,))
        yield Check(f"{model} feature cache", commands.feature_cache, (model,))
    yield Check("out of memory", limits.out_of_memory)
    yield Check("two runs at once", limits.two_at_once)
    yield Check("tests of a GPU", pytests.marked_gpu)
    for model in models():
        for backbone in place.scale.measured:
            yield Check(f"{model} speed {backbone}", speed.training_speed, (model, backbone))
            yield Check(f"{model} variants {backbone}", speed.variants, (model, backbone))
            yield Check(f"{model} latency {backbone}", speed.latency, (model, backbone))
            if place.anomalib:
                named = backbone if place.device == "cuda" else "resnet18"
                yield Check(f"{model} beside anomalib {named}", peer.beside_anomalib, (model, named))
        yield Check(f"{model} speed of the command", speed.command_speed, (model,))
    for model in models():
        yield Check(f"{model} compiled", commands.compiled, (model,), 240)


def import_once() -> None:
    """Import what takes seconds before processes are forked, which then have it."""
    import lightning  # noqa: F401
    import timm  # noqa: F401
    import torch

    torch.set_num_threads(1)


def begin(place: Place) -> list[dict[str, Any]]:
    """Draw the photos, and describe the device and the software."""
    from importlib.metadata import version

    import torch

    if place.device == "cuda" and not torch.cuda.is_available():
        raise RuntimeError("torch finds no CUDA device")
    place.draw()
    about = {name: version(name) for name in ("anomalib-flows", "torch", "timm", "lightning")}
    if place.device == "cpu":
        return [{"name": "a CPU, at a tiny size", **about}]
    facts = torch.cuda.get_device_properties(0)
    named = {"name": facts.name, "memory, GiB": round(facts.total_memory / 2**30, 1)}
    return [{**named, "compute capability": f"{facts.major}.{facts.minor}", "CUDA": torch.version.cuda, **about}]


def show(outcome: Outcome) -> None:
    """Print one line."""
    print(
        f"{'passed' if outcome.passed else 'FAILED':7} {outcome.seconds:6.1f} s  {outcome.name}  {outcome.message}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
