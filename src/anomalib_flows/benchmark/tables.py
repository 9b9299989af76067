"""Tables of a benchmark, all from its results."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from anomalib_flows.benchmark.formats import Table
from anomalib_flows.benchmark.published import AVERAGE, of_dataset
from anomalib_flows.benchmark.results import METRICS, Result
from anomalib_flows.core.errors import InputError

TITLES = dict(zip(METRICS, ("image AUROC", "image best F1", "pixel AUROC", "AUPRO"), strict=True))


def tables_of(results: Sequence[Result]) -> Iterator[Table]:
    """Yield a table for each dataset and metric, and one of speed and size.

    Raises:
        InputError: If the results of a model are of several protocols, splits or sizes.
    """
    if not results:
        raise InputError("The results have no runs: run the benchmark first.")
    require_alike(results)
    for dataset in dict.fromkeys(result.dataset for result in results):
        for metric in METRICS:
            yield metric_table([result for result in results if result.dataset == dataset], dataset, metric)
    yield speed_table(results)


def require_alike(results: Sequence[Result]) -> None:
    """Raise an InputError if figures that would be averaged or compared are of different protocols or images."""
    if len({result.split for result in results}) > 1:
        raise InputError("The results mix test images and drawn defects: give each a file of its own.")
    for model, dataset in dict.fromkeys((result.model, result.dataset) for result in results):
        found = {result.protocol for result in results if (result.model, result.dataset) == (model, dataset)}
        if len(found) > 1:
            raise InputError(f"The results of {model} mix protocols ({', '.join(sorted(found))}): give each a name.")


def metric_table(results: Sequence[Result], dataset: str, metric: str) -> Table:
    """Return the table of a metric: categories by models, with published values beside ours."""
    models = list(dict.fromkeys(result.model for result in results))
    categories = list(dict.fromkeys(result.category for result in results))
    rows = [[c, *(cell(values(results, m, c, metric)) for m in models)] for c in categories]
    rows.append([AVERAGE, *(average(results, m, categories, metric) for m in models)])
    header, notes = ["category", *models], [about(results)]
    for number, (source, found) in enumerate(of_dataset(dataset, {r.method for r in results}, categories, metric), 1):
        header.append(f"{source.method} [{number}]")
        for row in rows:
            row.append(f"{found[row[0]]:.3f}" if row[0] in found else "-")
        notes.append(f"[{number}] {source}")
    if any("-" in row for row in rows):
        notes.append("A dash stands where a run failed, a metric is undefined, or nothing is published.")
    return Table(f"{dataset}: {TITLES[metric]}", header, rows, notes, averaged=True)


def about(results: Sequence[Result]) -> str:
    """Describe how our figures came about."""
    seeds = sorted({result.seed for result in results})
    each = "mean and standard deviation over the seeds" if len(seeds) > 1 else "seed"
    protocols = sorted({f"protocol {result.protocol}" for result in results})
    by_model = {f"{result.model}: protocol {result.protocol}" for result in results}
    said = ", ".join(protocols) if len(protocols) == 1 else "; ".join(sorted(by_model))
    where = "test images" if results[0].split == "test" else "held-out good images with drawn defects"
    versions = ", ".join(sorted({result.version for result in results}))
    return f"{each[0].upper()}{each[1:]} {', '.join(map(str, seeds))}; last epoch; {where}; {said}; version {versions}."


def values(results: Sequence[Result], model: str, category: str, metric: str) -> list[float] | None:
    """Return a metric of all seeds; None if one of them has none."""
    found = [getattr(r, metric) for r in results if (r.model, r.category) == (model, category)]
    return None if not found or None in found else found


def cell(found: Sequence[float] | None) -> str:
    """Return the mean and the standard deviation over seeds; a dash if a seed is missing.

    Example:
        >>> cell([0.9, 0.92]), cell([0.9]), cell(None)
        ('0.910 ± 0.014', '0.900', '-')
    """
    if found is None:
        return "-"
    spread = f" ± {statistics.stdev(found):.3f}" if len(found) > 1 else ""
    return f"{statistics.fmean(found):.3f}{spread}"


def average(results: Sequence[Result], model: str, categories: Sequence[str], metric: str) -> str:
    """Return the mean over categories, with its deviation over seeds; a dash unless all runs have the metric."""
    columns = [values(results, model, category, metric) for category in categories]
    if any(column is None for column in columns) or len({len(column or ()) for column in columns}) > 1:
        return "-"
    return cell([statistics.fmean(of_seed) for of_seed in zip(*(c or () for c in columns), strict=True)])


def speed_table(results: Sequence[Result]) -> Table:
    """Return the table of speed and size."""
    rows = []
    for model in dict.fromkeys(result.model for result in results):
        own = [result for result in results if result.model == model and not result.error]
        seconds = [result.seconds for result in own if result.seconds]
        weights = sorted({f"{result.parameters / 1e6:.2f}" for result in own if result.parameters})
        sizes = sorted({f"{result.megabytes:.1f}" for result in own if result.megabytes})
        images = sorted({result.size for result in own})
        time = f"{statistics.median(seconds):.0f}" if seconds else "-"
        latency = next((f"{result.latency_ms:.1f}" for result in own if result.latency_ms), "-")
        rows.append([model, *(", ".join(texts) or "-" for texts in (images, weights, sizes)), time, latency])
    header = ["model", "image size", "trained weights, million", "model file, MB", "a run, s", "an image, ms"]
    note = "Times of runs are medians, several at once. Latency is that of one image in torch."
    return Table("Speed and size", header, rows, [note])


def best_model(results: Sequence[Result]) -> str:
    """Say which model is best, by the mean of image AUROC and AUPRO, and how often it beats the next one."""
    runs = {model: scores_of(results, model) for model in dict.fromkeys(result.model for result in results)}
    means = {model: statistics.fmean(scores.values()) for model, scores in runs.items() if scores}
    if not means:
        return ""
    best, *others = sorted(means, key=lambda model: -means[model])
    text = f"Best: {best}. Its mean of image AUROC and AUPRO, over all categories and seeds, is {means[best]:.3f}"
    if not others:
        return f"{text}."
    pairs = [(score, runs[others[0]][run]) for run, score in runs[best].items() if run in runs[others[0]]]
    wins = sum(first > second for first, second in pairs)
    better = f"of {len(pairs)} runs on the same category and seed, {wins} are better than its"
    return f"{text}; next is {others[0]} with {means[others[0]]:.3f} ({better})."


def scores_of(results: Sequence[Result], model: str) -> dict[tuple[str, str, int], float]:
    """Return the mean of image AUROC and AUPRO of each run of a model; none at all if one run lacks a metric."""
    own = [(r, (r.image_auroc, r.pixel_aupro)) for r in results if r.model == model]
    if any(None in metrics for _, metrics in own):
        return {}
    return {(r.dataset, r.category, r.seed): statistics.fmean(metrics) for r, metrics in own}  # type: ignore[arg-type]


def averages(results: Sequence[Result]) -> list[list[str]]:
    """Return the averages of all models, below a header."""
    lines = [["dataset", "model", *TITLES.values()]]
    for dataset in dict.fromkeys(result.dataset for result in results):
        own = [result for result in results if result.dataset == dataset]
        categories = list(dict.fromkeys(result.category for result in own))
        for model in dict.fromkeys(result.model for result in own):
            metrics = [average(own, model, categories, metric) for metric in METRICS]
            lines += [[dataset, model, *metrics]]
    return lines
