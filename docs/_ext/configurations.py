"""Write the configurations that come with the package into the page that has the line ``<!-- configurations -->``."""

from __future__ import annotations

from itertools import groupby
from pathlib import PurePosixPath
from typing import Any

from sphinx.application import Sphinx

from anomalib_flows.run.configurations import config_folder, config_names

MARK = "<!-- configurations -->"


def listed() -> str:
    """Return Markdown with a section for each folder of configurations and each file in it."""
    sections = []
    for folder, names in groupby(sorted(config_names(), key=folder_of), folder_of):
        sections += [f"## {folder}", *map(section, names)]
    return "\n\n".join(sections)


def folder_of(name: str) -> str:
    """Return the folder of a configuration: ``cflow/mvtec`` of ``cflow/mvtec/bottle``."""
    return str(PurePosixPath(name).parent)


def section(name: str) -> str:
    """Return the section of a configuration: its name, its first comment as text, and its content."""
    lines = (config_folder() / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    count = next((place for place, line in enumerate(lines) if not line.startswith("#")), 0)
    comment, content = [line[1:].removeprefix(" ") for line in lines[:count]], lines[count:]
    prose = "\n".join(line for line in comment if not line.lstrip().startswith("anomalib-flows "))
    commands = "\n".join(line.strip() for line in comment if line.lstrip().startswith("anomalib-flows "))
    shown = f"```sh\n{commands}\n```" if commands else ""
    yaml = "\n".join(["```yaml", *content, "```"])
    return "\n\n".join(part for part in (f"### {name}", prose.strip(), shown, yaml) if part)


def write(app: Sphinx, docname: str, source: list[str]) -> None:
    """Replace the mark."""
    if MARK in source[0]:
        source[0] = source[0].replace(MARK, listed())


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx."""
    app.connect("source-read", write)
    return {"parallel_read_safe": True}
