"""Settings of the documentation site: `sphinx-build -W -n docs docs/_build`."""

from __future__ import annotations

import tomllib
from pathlib import Path

_PROJECT = tomllib.loads(
    (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
)["project"]

project = "Encore"
author = "The Encore authors"
version = release = _PROJECT["version"]
extensions = ["myst_parser", "sphinx.ext.autodoc"]
html_theme = "furo"
html_title = f"Encore {release}"
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_show_copyright = False
exclude_patterns = ["_build"]

myst_heading_anchors = 3  # links such as recipes.md#overrides

# Docstrings are plain prose in which `name` is code; types are read from the annotations.
default_role = "literal"
add_module_names = False
autodoc_class_signature = "separated"  # fields with their types instead of a long constructor
autodoc_default_options = {"exclude-members": "__init__, __new__", "member-order": "bysource"}
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
# Names of other projects, whose sites would need a network, and of Encore's internals.
nitpick_ignore_regex = [(r"py:.*", r"(?!encore\.).*"), (r"py:.*", r"encore\.(data|tables)\..*")]
