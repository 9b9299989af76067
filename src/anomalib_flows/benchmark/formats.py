"""Tables in Markdown, HTML and LaTeX."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from anomalib_flows.core.files import atomic


@dataclass(frozen=True)
class Table:
    """A table with a title and notes below it; its first column has words, the others numbers.

    Args:
        title: What stands above it.
        header: Names of the columns.
        rows: The lines below the header.
        notes: Sentences below the table.
        averaged: Whether the last row is an average of the others.
    """

    title: str
    header: list[str]
    rows: list[list[str]]
    notes: list[str]
    averaged: bool = False


def write_tables(tables: Sequence[Table], folder: Path) -> list[Path]:
    """Write all tables in each format; return the files."""
    files = []
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
table.averaged tr:last-child td { font-weight: 600 }
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
    kind = ' class="averaged"' if table.averaged else ""
    rules = f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>"
    return f"<h2>{html.escape(table.title)}</h2>\n<table{kind}>\n{rules}\n</table>\n{notes}"


LATEX = {"\\": r"\textbackslash{}", "±": r"$\pm$", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"} | {
    letter: f"\\{letter}" for letter in "&%$#_{}"
}
LATEX |= {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "[": "{[}"}
"""What LaTeX would read as commands, or as an option of the end of a line, or show as another letter."""
FIT = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
"""Make a table as wide as the text if it is wider."""


def latex(tables: Sequence[Table]) -> str:
    r"""Return tables in LaTeX, for the packages booktabs and graphicx.

    Example:
        >>> print(latex([Table("a_b", ["x", "y"], [["c", "1 ± 2"]], [])]).splitlines()[9])
        c & 1 $\pm$ 2 \\
    """
    return "% Needs \\usepackage{booktabs,graphicx}.\n" + "\n".join(map(floated, tables))


def floated(table: Table) -> str:
    """Return a table in LaTeX, with its notes below it."""
    header, *rows = (" & ".join(map(escaped, row)) + r" \\" for row in (table.header, *table.rows))
    if table.averaged:
        rows.insert(len(rows) - 1, r"\midrule")
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escaped(table.title)}}}",
        FIT,
        rf"\begin{{tabular}}{{l{'r' * (len(table.header) - 1)}}}",
        r"\toprule",
        header,
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}}",
        r"\par\medskip\raggedright\footnotesize",
        "\\\\\n".join(map(escaped, table.notes)),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Escape what LaTeX would read as commands."""
    return "".join(LATEX.get(letter, letter) for letter in " ".join(text.split()))


WRITERS: dict[str, Callable[[Sequence[Table]], str]] = {"table.md": markdown, "table.html": page, "table.tex": latex}
