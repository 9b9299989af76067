"""Formulas as MathML, which browsers show by themselves: the site needs no script from the network."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from docutils.utils.math import latex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

logger = logging.getLogger(__name__)


def formula(node: nodes.Element, *, block: bool) -> str:
    """Return the MathML of a formula; one that cannot be converted is a warning, and stays as it is."""
    text = node.astext().replace("\\dots", "\\ldots")  # which docutils does not know
    try:
        return str(latex2mathml.tex2mathml(text, as_block=block))
    except Exception as error:
        logger.warning("the formula %r cannot be converted: %s", text, error, location=node)
        return f"<code>{nodes.unescape(text)}</code>"


def visit_inline(translator: HTML5Translator, node: nodes.Element) -> None:
    """Write a formula in a line."""
    translator.body.append(formula(node, block=False))
    raise nodes.SkipNode


def visit_block(translator: HTML5Translator, node: nodes.Element) -> None:
    """Write a formula on its own."""
    translator.body.append(f'<div class="math">{formula(node, block=True)}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer; ``html_math_renderer`` selects it."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))  # type: ignore[arg-type]
    return {"parallel_read_safe": True}
