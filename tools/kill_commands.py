"""Kill every command at random moments, repeat it, and compare with an undisturbed one.

    python tools/kill_commands.py --kills 100 --output kills.json
    python tools/kill_commands.py --kills 20 --only train calibrate

After each kill, files that belong together must be all old or all new; the same command again (or its --resume) must
succeed with the figures of an undisturbed one; and nothing may be left over.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "end_to_end"))

from tiny import SMALL, draw

from kills.cases import Case, archive, cases, complete_run, copy, export, run_of
from kills.children import import_all, run

QUICK = [*SMALL, "--data=mvtec", "--data.category=stripes", "--trainer.max_epochs=3"]
RUBBISH = (".tmp-", ".commit", ".partial", ".case-")


def make_base(base: Path) -> list[str]:
    """Fill the folder that each case begins with, and return the options of a quick training."""
    stripes = base.parent / "data" / "stripes"
    for part in ("train/good", "test/good", "test/blob", "ground_truth/blob"):
        (stripes / part).mkdir(parents=True)
    for number in range(10):
        draw(number)[0].save(stripes / f"train/good/{number}.png")
    for number in range(4):
        draw(100 + number)[0].save(stripes / f"test/good/{number}.png")
        image, mask = draw(200 + number, blob=True)
        image.save(stripes / f"test/blob/{number}.png")
        mask.save(stripes / f"ground_truth/blob/{number}_mask.png")
    (base / "photos").mkdir(parents=True)
    for number in range(12):
        draw(300 + number)[0].save(base / f"photos/{number}.png")
    archive(base / "mvtec.tar.gz", ["bottle", "cable"], 20)
    archive(base.parent / "known.tar.gz", ["carpet"], 3)
    options = [*QUICK, f"--data.root={stripes.parent}"]
    place = base.with_name("place")
    copy(base, place)
    steps = [
        ["train", *options, f"--output={place / 'runs'}"],
        ["calibrate", str(run_of(place)), "--false-alarm-rate=0.4"],  # so that a test changes something
        ["data", "prepare", "mvtec", f"--root={place / 'known'}", f"--archive={base.parent / 'known.tar.gz'}"],
        [*export("openvino")(place)],
    ]
    for step in steps:
        import_all(step, place)
    (place / "exported").rename(place / "model")
    copy(place, base)
    return options


class Outcome:
    """What was seen in the kills of one command."""

    def __init__(self, name: str) -> None:
        self.name, self.kills, self.late, self.new, self.faults = name, 0, 0, 0, list[str]()

    def to_dict(self) -> dict[str, Any]:
        """Return the counts in plain types."""
        return dict(vars(self))


def names(place: Path) -> set[str]:
    """List what is left over: temporary files, and whatever is in the folder for temporary files."""
    files = {str(path.relative_to(place)) for path in place.rglob("*")}
    return {name for name in files if any(word in name for word in RUBBISH) or name.startswith("tmp/")}


def kill_case(case: Case, base: Path, kills: int, rng: random.Random) -> Outcome:
    """Kill a command some times, and look at what is left after each."""
    place, outcome = base.with_name("place"), Outcome(case.name)
    copy(base, place)
    before = case.together(place) if case.together else None
    ended = run(case.arguments(place), place)
    if ended.code:
        outcome.faults.append(f"undisturbed: exit code {ended.code}: {ended.printed[-500:]}")
        return outcome
    expected, after = case.figures(place), case.together(place) if case.together else None
    if left := names(place):
        outcome.faults.append(f"undisturbed: left {sorted(left)[:3]}")
    while outcome.kills < kills and len(outcome.faults) < 20 and outcome.late < 3 * kills:
        copy(base, place)
        moment = rng.uniform(0, ended.seconds)
        first = run(case.arguments(place), place, moment)
        outcome.kills += first.killed
        outcome.late += not first.killed
        for fault in look(case, place, (before, after), expected, outcome):
            outcome.faults.append(f"killed after {moment:.3f} s of {ended.seconds:.3f}: {fault}")
    return outcome


def look(case: Case, place: Path, states: tuple[Any, Any], expected: Any, outcome: Outcome) -> list[str]:
    """Return what is wrong after a kill, and after the command was repeated."""
    faults = []
    if case.together:
        complete_run(place)
        found = case.together(place)
        outcome.new += found == states[1]
        if found not in states:
            faults.append("files that belong together are neither old nor new")
    again = run((case.again or case.arguments)(place), place)
    if again.code and not (case.may_refuse and case.may_refuse in again.printed):
        faults.append(f"repeated: exit code {again.code}: {again.printed[-500:]}")
    elif case.figures(place) != expected:
        faults.append("repeated: other figures")
    if left := names(place):
        faults.append(f"repeated: left {sorted(left)[:3]}")
    return faults


def kill_all(folder: Path, kills: int, only: Sequence[str] = (), seed: int = 0) -> list[Outcome]:
    """Kill each command some times in a folder."""
    base = folder / "base"
    options = make_base(base)
    rng, outcomes = random.Random(seed), []  # noqa: S311 (moments of kills are no secrets)
    for case in cases(options):
        if not only or case.name in only:
            begin = time.monotonic()
            outcome = kill_case(case, base, kills, rng)
            outcomes.append(outcome)
            took = time.monotonic() - begin
            counts = f"{outcome.kills} kills, {outcome.late} too late, {len(outcome.faults)} faults"
            print(f"{case.name:18}{counts}, {took:.0f} s", flush=True)
            for fault in outcome.faults[:3]:
                print(f"  {fault}", flush=True)
    return outcomes


def main(argv: Sequence[str] | None = None) -> int:
    """Kill the commands, print the counts, and return 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="kills of each command")
    parser.add_argument("--only", nargs="*", default=[], help="names of commands")
    parser.add_argument("--seed", type=int, default=0, help="determines the moments")
    parser.add_argument("--output", type=Path, help="JSON file for the counts")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        outcomes = kill_all(Path(folder), options.kills, options.only, options.seed)
    if options.output:
        options.output.write_text(json.dumps([outcome.to_dict() for outcome in outcomes], indent=2) + "\n")
    return int(any(outcome.faults for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
