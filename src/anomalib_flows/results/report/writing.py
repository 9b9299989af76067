"""Write pages from templates, piece by piece, so that memory does not grow with the number of images."""

from __future__ import annotations

import re
from base64 import b64encode
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from anomalib_flows import __version__
from anomalib_flows.core.errors import InputError, require
from anomalib_flows.core.files import atomic
from anomalib_flows.results.colours import table

TEMPLATES = Path(__file__).parent / "templates"
DASH = "\N{EN DASH}"
"""Stands where a value is undefined."""


@cache
def environment() -> Environment:
    """Return the templates. All text is escaped; an unknown name is an error."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(marked=marked, hashed=hashed)
    return made


def marked(text: str) -> Markup:
    """Set what stands in backticks as code.

    Example:
        >>> str(marked("`a` < `b`"))
        '<code>a</code> &lt; <code>b</code>'
    """
    return Markup(re.sub("`([^`]*)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 (the text is escaped)


def hashed(script: str) -> Markup:
    """Return the hash by which a page's security policy knows its own script, so that no other one runs."""
    digest = b64encode(sha256(script.encode()).digest()).decode()
    return Markup(f"'sha256-{digest}'")  # noqa: S704 (it has no letters of a user)


def heat_colours() -> list[str]:
    """Return colours of the heatmap from score 0 to 1, as CSS has them."""
    return [f"rgb({red} {green} {blue})" for red, green, blue in table()[::15].tolist()]


def write_page(file: Path, template: str, content: dict[str, Any]) -> Path:
    """Write a page as a whole or not at all, and return its file.

    Raises:
        InputError: If the file cannot be written.
    """
    if file.is_dir():
        raise InputError(f"`output` {file} is a folder: name a file in it, such as {file / 'report.html'}.")
    require(file.suffix.lower() in (".html", ".htm"), "output", file, "a file whose name ends with .html")
    if not file.parent.is_dir():
        raise InputError(f"`output` {file} cannot be written, as there is no folder {file.parent}: make it first.")
    script = (TEMPLATES / template).with_suffix(".js").read_text(encoding="utf-8")
    content = content | {"version": __version__, "colours": heat_colours(), "script": script}
    pieces = environment().get_template(template).generate(**content)
    try:
        with atomic(file) as temporary, temporary.open("w", encoding="utf-8") as stream:
            stream.writelines(pieces)
    except OSError as error:
        raise InputError(f"`output` {file} cannot be written ({error.strerror}): name another file.") from error
    return file
