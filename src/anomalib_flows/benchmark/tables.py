"""Tables of a benchmark in Markdown, HTML and LaTeX, all from its results."""

from __future__ import annotations

import html
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from anomalib_flows.benchmark.published import AVERAGE, of_dataset
from anomalib_flows.benchmark.results import METRICS, Result
from anomalib_flows.core.errors import InputError
from anomalib_flows.core.files import atomic

TITLES = dict(zip(METRICS, ("image AUROC", "image best F1", "pixel AUROC", "AUPRO"), strict=True))


@dataclass(frozen=True)
class Table:
    """A table with a title and notes below it; its first column has words, the others numbers."""

    title: str
    header: list[str]
    rows: list[list[str]]
    notes: list[str]


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
    if any(result.error for result in results):
        notes.append("A dash stands where a run failed, or a metric is undefined.")
    return Table(f"{dataset}: {TITLES[metric]}", header, rows, notes)


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
    """Say which model is best: by the mean of image AUROC and AUPRO over categories and seeds."""
    scores = {model: score_of(results, model) for model in dict.fromkeys(result.model for result in results)}
    ranked = sorted(((s, m) for m, s in scores.items() if s is not None), reverse=True)
    if not ranked:
        return ""
    (score, best), *others = ranked
    second = f"; next is {others[0][1]} with {others[0][0]:.3f}" if others else ""
    return f"Best: {best}. Its mean of image AUROC and AUPRO, over all categories and seeds, is {score:.3f}{second}."


def score_of(results: Sequence[Result], model: str) -> float | None:
    """Return the mean of image AUROC and AUPRO over all runs of a model; None if a run has none."""
    found = [value for r in results if r.model == model for value in (r.image_auroc, r.pixel_aupro)]
    known = [value for value in found if value is not None]
    return statistics.fmean(known) if known and len(known) == len(found) else None


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


def write_tables(results: Sequence[Result], folder: Path) -> list[Path]:
    """Write all tables in each format; return the files."""
    tables, files = list(tables_of(results)), []
    for name, write in WRITERS.items():
        with atomic(folder / name) as temporary:
            temporary.write_text(write(tables), encoding="utf-8", errors="backslashreplace")
        files.append(folder / name)
    return files


def markdown(tables: Sequence[Table]) -> str:
    """Return tables in Markdown.

    Example:
        >>> print(markdown([Table("t", ["a", "b"], [["x|y", "1"]], ["n"])]))
        ## t
        <BLANKLINE>
        | a | b |
        | --- | ---: |
        | x/y | 1 |
        <BLANKLINE>
        n
        <BLANKLINE>
    """
    parts = []
    for table in tables:
        lines = [table.header, ["---", *["---:"] * (len(table.header) - 1)], *table.rows]
        body = "\n".join(f"| {' | '.join(text.replace('|', '/') for text in line)} |" for line in lines)
        parts.append(f"## {table.title}\n\n{body}\n\n" + "\n\n".join(table.notes) + "\n")
    return "\n".join(parts)


STYLE = """body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem }
table { border-collapse: collapse; display: block; overflow-x: auto }
th, td { border-bottom: 1px solid #ccc; padding: .3rem .7rem; text-align: right; white-space: nowrap }
th:first-child, td:first-child { text-align: left }
tr:last-child td { font-weight: 600 }
p { color: #555; font-size: 13px }
@media (prefers-color-scheme: dark) { body { background: #111; color: #eee } p { color: #aaa } }"""
HEAD = f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Benchmark</title>
<style>
{STYLE}
</style>
"""


def page(tables: Sequence[Table]) -> str:
    """Return tables as an HTML page."""
    return HEAD + "\n".join(map(section, tables)) + "\n</html>\n"


def section(table: Table) -> str:
    """Return a table in HTML."""
    head = "".join(f"<th>{html.escape(text)}</th>" for text in table.header)
    rows = ("".join(f"<td>{html.escape(text)}</td>" for text in row) for row in table.rows)
    body = "\n".join(f"<tr>{row}</tr>" for row in rows)
    notes = "\n".join(f"<p>{html.escape(note)}</p>" for note in table.notes)
    rules = f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>"
    return f"<h2>{html.escape(table.title)}</h2>\n<table>\n{rules}\n</table>\n{notes}"


LATEX = {"\\": r"\textbackslash{}", "±": r"$\pm$", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"} | {
    letter: f"\\{letter}" for letter in "&%$#_{}"
}


def latex(tables: Sequence[Table]) -> str:
    r"""Return tables in LaTeX, for the package booktabs.

    Example:
        >>> print(latex([Table("a_b", ["x", "y"], [["c", "1 ± 2"]], [])]).splitlines()[5])
        c & 1 $\pm$ 2 \\
    """
    return "\n".join(map(floated, tables))


def floated(table: Table) -> str:
    """Return a table in LaTeX."""
    header, *rows = (" & ".join(map(escaped, row)) + r" \\" for row in (table.header, *table.rows))
    lines = [
        r"\begin{table}",
        rf"\begin{{tabular}}{{l{'r' * (len(table.header) - 1)}}}",
        r"\toprule",
        header,
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
        rf"\caption{{{escaped(' '.join([f'{table.title}.', *table.notes]))}}}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Escape what LaTeX would read as commands."""
    return "".join(LATEX.get(letter, letter) for letter in text)


WRITERS: dict[str, Callable[[Sequence[Table]], str]] = {"table.md": markdown, "table.html": page, "table.tex": latex}
