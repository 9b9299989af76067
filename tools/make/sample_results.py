"""Make a page of sample results: one section for each dataset category that is on this machine.

    python tools/make/sample_results.py --data $DATA --output samples
    python tools/make/sample_results.py --drawn --max-steps 60 --size 192 --output samples
    python tools/make/sample_results.py --runs results/*/*/*/run-001 --output samples

The page is OUTPUT/index.md, its pictures are in OUTPUT/pictures. A category is whatever one of the registered datasets
reads from ROOT/CATEGORY or ROOT/FOLDER/CATEGORY, for each ROOT given by ``--data``.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import warnings
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from anomalib_flows import Dataset, InputError, Run, TrainConfig, train
from anomalib_flows.core import registry
from anomalib_flows.core.commit import together
from anomalib_flows.core.types import ANOMALOUS, Sample
from anomalib_flows.data.datasets.base import CategoryDataset
from anomalib_flows.data.drawing.scene import DEFECTS

HEAD = """# Sample results

Results for each category: a table of all, and pictures of each. {settings} The pictures are the first test image of
each kind, in the order of their names; none was chosen.

| category | training images | image AUROC | pixel AUROC | AUPRO | false alarms | missed defects |
|---|---:|---:|---:|---:|---:|---:|
"""


class Found(NamedTuple):
    """A category on this machine."""

    dataset: str
    root: Path
    category: str

    def component(self) -> dict[str, Any]:
        """Return the configuration of the dataset."""
        return {"class_path": self.dataset, "init_args": {"root": str(self.root), "category": self.category}}


def present(root: Path) -> Iterator[Found]:
    """Yield the categories in a folder and in the folders in it."""
    for folder in (root, *folders(root)):
        inner = {path.name for path in folders(folder)}
        for category in sorted(inner.union(*(cls.card.counts for cls in datasets().values() if cls.card))):
            there = [name for name, cls in datasets().items() if category in inner or category in counts_of(cls)]
            sizes = {name: size for name in there if (size := size_of(name, folder, category))}
            if sizes:
                # MVTec AD's layout may fit others in part: the dataset that uses most of the images reads them best.
                yield Found(max(sizes, key=lambda name: (sizes[name], name == "mvtec")), folder, category)


def folders(root: Path) -> list[Path]:
    """Return the folders in a folder, sorted."""
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


@cache
def datasets() -> dict[str, type[Dataset]]:
    """Return the registered datasets that have categories, except the drawn one."""
    found = {name: registry.load("datasets", name) for name in registry.names("datasets") if name != "synthetic"}
    return {name: cls for name, cls in found.items() if issubclass(cls, CategoryDataset)}


def counts_of(dataset: type[Dataset]) -> Collection[str]:
    """Return the published categories of a dataset, which need not be folders."""
    return dataset.card.counts if dataset.card else ()


def size_of(dataset: str, root: Path, category: str) -> int:
    """Return the number of images that a dataset reads from a category; 0 if it cannot train and test on them."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            samples: list[Sample] = datasets()[dataset](root=root, category=category).samples()  # type: ignore[call-arg]
    except (InputError, OSError):
        return 0
    complete = any(s.split == "train" for s in samples) and any(s.label == ANOMALOUS for s in samples)
    return len(samples) if complete else 0


def trained(components: Iterable[dict[str, Any]], args: argparse.Namespace) -> Iterator[Run]:
    """Train on each category and yield the runs; one that cannot be trained on is reported and left out."""
    for data in components:
        settings = {
            "model": args.model,
            "data": data,
            "image": {"size": args.size},
            "trainer": {"max_steps": args.max_steps} if args.max_steps else {},
            "output": str(args.results),
        }
        try:
            yield train(TrainConfig.from_dict(settings))
        except InputError as error:
            print(f"left out: {error}", file=sys.stderr)


def row(metrics: dict[str, Any], images: int) -> str:
    """Return the row of a category in the table."""
    image, pixel, errors = metrics["image"], metrics.get("pixel") or {}, metrics["errors"]
    values = [image["auroc"], pixel.get("auroc"), pixel.get("aupro")]
    counts = [f"{errors[name]['count']} of {errors[name]['of']}" for name in ("false_alarms", "missed")]
    numbers = ["" if value is None else f"{value:.3f}" for value in values]
    name = title(metrics)
    return f"| [{name}](#{name.replace(' ', '-')}) | {' | '.join([str(images), *numbers, *counts])} |"


def title(metrics: dict[str, Any]) -> str:
    """Return the heading of a category."""
    return f"{metrics['dataset']} {metrics['subset']}"


def section(run: Run, metrics: dict[str, Any], pictures: Path) -> str:
    """Copy the pictures of a run, and return the section that shows them."""
    lines = [f"## {title(metrics)}"]
    card = getattr(registry.load("datasets", metrics["dataset"]), "card", None)
    if card and metrics["subset"] in card.counts:
        lines.append(f"{card.title}. Licence: {card.licence}. {card.citation}.")
    for kind in sorted(folders(run.images), key=lambda path: (path.name != "good", path.name)):
        first = min(file for file in kind.rglob("*.*") if file.suffix in (".jpg", ".png", ".webp"))
        name = f"{metrics['dataset']}-{metrics['subset']}-{kind.name}{first.suffix}".replace(" ", "-")
        shutil.copyfile(first, pictures / name)
        lines.append(f"![{kind.name}](pictures/{name})")
    return "\n\n".join(lines)


def write_page(runs: Sequence[Run], settings: str, output: Path) -> None:
    """Write the page and its pictures."""
    tested = [(run, metrics) for run in runs if (metrics := run.metrics()) and metrics.get("image")]
    if not tested:
        raise InputError("No run has test images of both labels: name other runs, or another folder.")
    rows = [row(metrics, count_training(run)) for run, metrics in tested]
    with together(output.absolute().parent) as temporary:
        folder = temporary / output.name
        (folder / "pictures").mkdir(parents=True)
        sections = [section(run, metrics, folder / "pictures") for run, metrics in tested]
        page = HEAD.format(settings=settings) + "\n".join(rows) + "\n\n" + "\n\n".join(sections) + "\n"
        (folder / "index.md").write_text(page, encoding="utf-8")


def count_training(run: Run) -> int:
    """Return the number of images that a run was trained on."""
    from anomalib_flows.data.splits import read_splits, select

    return len(select(read_splits(run.splits_file), "train"))


def main(argv: Sequence[str] | None = None) -> None:
    """Find or train the runs, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", default=[], help="folder of categories; may be repeated")
    parser.add_argument("--drawn", action="store_true", help="the drawn products, which need no files")
    parser.add_argument("--runs", type=Path, nargs="+", default=[], help="finished runs to show as they are")
    parser.add_argument("--model", default="fastflow")
    parser.add_argument("--max-steps", type=int, help="training steps; by default those of the model's recipe")
    parser.add_argument("--size", type=int, default=256, help="height and width of the images")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder for the new runs")
    parser.add_argument("--output", type=Path, required=True, help="folder of the page; replaced if it exists")
    args = parser.parse_args(argv)
    found = [category.component() for root in args.data for category in present(root)]
    found += [{"class_path": "synthetic", "init_args": {"category": name}} for name in sorted(DEFECTS) if args.drawn]
    steps = f"{args.max_steps} steps" if args.max_steps else "the default number of steps"
    settings = f"Each was trained with {args.model}, {steps} on images of {args.size} x {args.size} pixels."
    try:
        runs = [Run.open(path) for path in args.runs] + list(trained(found, args))
        write_page(runs, "" if args.runs else settings, args.output)
    except InputError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
