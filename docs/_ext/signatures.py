"""Show the arguments of a detector's constructor: its ``__new__``, which records them, takes any."""

from __future__ import annotations

import inspect
from typing import Any

from sphinx.application import Sphinx
from sphinx.util.inspect import stringify_signature

from anomalib_flows import Detector


def own(
    app: Sphinx, what: str, name: str, value: Any, options: Any, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """Return the signature of a class, as Python itself reports it."""
    if what == "class" and issubclass(value, Detector):
        return stringify_signature(inspect.signature(value), show_return_annotation=False), None
    return signature, returned


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx."""
    app.connect("autodoc-process-signature", own)
    return {"parallel_read_safe": True}
