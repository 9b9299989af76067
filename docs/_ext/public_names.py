"""Let references to a class in its own module find the public name under which the API reference documents it."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.addnodes import desc_signature, pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

import anomalib_flows
from anomalib_flows import flows, runtime, testing


def public_names() -> dict[str, str]:
    """Return the documented name of each public object, by the name in the module that defines it."""
    found: dict[str, str] = {}
    for package in (anomalib_flows, flows, runtime, testing):
        for name in package.__all__:
            value = getattr(package, name)
            module = getattr(value, "__module__", "") or ""
            if module.startswith("anomalib_flows"):
                found.setdefault(f"{module}.{getattr(value, '__qualname__', name)}", f"{package.__name__}.{name}")
    return found


def resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: nodes.TextElement
) -> nodes.Element | None:
    """Resolve a reference to an object or to one of its members."""
    target = node.get("reftarget", "")
    if node.get("refdomain") != "py" or app.builder.format != "html":
        return None
    owner, _, member = target.rpartition(".")
    names = app.config.public_names
    public = names.get(target) or (f"{names[owner]}.{member}" if owner in names else None)
    if not public:
        return None
    domain = env.domains.python_domain
    return domain.resolve_xref(env, node["refdoc"], app.builder, node["reftype"], public, node, contnode)


def add_anchors(app: Sphinx, doctree: nodes.document) -> None:
    """Give each object an anchor for its public name and one for its own module.

    The pages of source code link back by one of the two, whichever the first object of the module is documented under.
    """
    own = {public: name for name, public in app.config.public_names.items()}
    for signature in doctree.findall(desc_signature):
        module, name = signature.get("module"), signature.get("fullname")
        if module and name:
            owner, _, member = name.partition(".")
            path = own.get(f"{module}.{owner}", f"{module}.{owner}")
            anchors = (f"anomalib_flows.{name}", f"{path}.{member}".rstrip("."))
            signature["ids"] += [anchor for anchor in anchors if anchor not in signature["ids"]]


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx."""
    app.add_config_value("public_names", public_names(), "")
    app.connect("missing-reference", resolve)
    app.connect("doctree-read", add_anchors)
    return {"parallel_read_safe": True}
