"""Settings of the Sphinx site. Build it with ``tox -e docs``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS / "_ext"))
os.environ.setdefault("TQDM_DISABLE", "1")  # no progress bars in the log of the build

from anomalib_flows import __version__  # noqa: E402

project = "anomalib-flows"
author = "anomalib-flows developers"
copyright = author
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.doctest",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "cli_reference",
    "configurations",
    "public_names",
    "sample_pages",
    "script_links",
    "mathml",
    "signatures",
]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_build", "_ext", "examples", "gallery", "example_plugin/src", "**/GALLERY_HEADER.rst"]
templates_path = ["_templates"]
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(?!anomalib_flows\.).*"),  # names of other packages: they need the network
    # Types of internals in public signatures.
    (
        r"py:.*",
        r"anomalib_flows\.(models\.options\.Model|models\.components\.positions\..*|run\.decision\.ThresholdRule)",
    ),
    (r"py:.*", r"anomalib_flows\.(run\.options|core\.preprocess\.resize|export\.parity\..*)"),
    (r"py:.*", r"anomalib_flows\.models\.components\.whitening\.Moments"),
]

myst_enable_extensions = ["attrs_block", "attrs_inline", "colon_fence", "deflist", "dollarmath", "fieldlist"]
myst_heading_anchors = 4
suppress_warnings = ["config.cache"]  # the gallery's settings have a function

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True, "exclude-members": "__init__, __new__"}
autodoc_preserve_defaults = True
autosummary_generate = True
autosummary_ignore_module_all = False
napoleon_numpy_docstring = False
napoleon_use_ivar = True
python_use_unqualified_type_names = True

doctest_global_setup = """
import torch
from torch import nn
from anomalib_flows import *
from anomalib_flows.encoders.encoder import Encoder
from anomalib_flows.flows import *
from anomalib_flows.metrics import *
from anomalib_flows.models.components.local_scale import LocalScale
from anomalib_flows.models.components.whitening import Moments, Whitening
from anomalib_flows.runtime import *
from anomalib_flows.testing import *
"""

html_theme = "furo"
html_math_renderer = "mathml"
html_title = f"anomalib-flows {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_last_updated_fmt = None
copybutton_exclude = ".linenos, .gp, .go"

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "auto_gallery",
    "abort_on_example_error": True,
    "capture_repr": ("_repr_html_",),  # not what matplotlib's functions return
    "within_subsection_order": "gallery_order.key",
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "write_computation_times": False,
    "min_reported_time": 1,
    "remove_config_comments": True,
    "image_srcset": ["2x"],
}
