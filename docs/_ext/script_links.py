"""Let links to the gallery's scripts, which lead to the script on a code host, lead to its page on this site."""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

SCRIPT = re.compile(r"\]\((\.\./|)gallery/(plot_\w+)\.py\)")


def rewrite(app: Sphinx, docname: str, source: list[str]) -> None:
    """Name the page that sphinx-gallery makes of a script."""
    source[0] = SCRIPT.sub(r"](\1auto_gallery/\2.rst)", source[0])


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx."""
    app.connect("source-read", rewrite)
    return {"parallel_read_safe": True}
