"""Settings of the documentation site: `sphinx-build -W -b html docs build/site` (needs the [docs] extra)."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

import csoftmax

project = "csoftmax"
author = "The csoftmax developers"
project_copyright = "the csoftmax developers"
version = release = csoftmax.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx_copybutton",
    "outside",
    "pictures",
]
exclude_patterns = ["_*"]

templates_path = ["_templates"]
html_theme = "furo"
html_title = f"csoftmax {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False

# The anchors that GitHub makes of headings, which the pages' links use.
myst_heading_anchors = 4
myst_enable_extensions = ["attrs_block"]

# `name` in a docstring is a link if it can be imported, else it is set as code.
default_role = "autolink"
autodoc_typehints = "none"
autosummary_generate = True
numpydoc_show_class_members = False

# What a page shows is what is copied, without prompts and results.
copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True

# Links from type names to other projects need their inventories, which intersphinx fetches: off unless asked for, so
# that the site builds without a network.
if os.environ.get("CSOFTMAX_DOCS_ONLINE") == "1":
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "numpy": ("https://numpy.org/doc/stable", None),
        "scipy": ("https://docs.scipy.org/doc/scipy", None),
        "torch": ("https://docs.pytorch.org/docs/stable", None),
        "dask": ("https://docs.dask.org/en/stable", None),
    }
