"""The documentation, built by Sphinx: `make docs` writes docs/_build/index.html. Nothing is loaded from elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "classicnets"
author = "the authors of classicnets"
html_title = "classicnets"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "course",
]
exclude_patterns = ["_build"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}
myst_heading_anchors = 3
nb_execution_mode = "off"  # the notebooks have their outputs: `make docs-record`

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["course.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True
copybutton_line_continuation_character = "\\"

default_role = "code"  # in docstrings, one backtick is code
autodoc_typehints = "none"  # the signature shows them
autodoc_member_order = "bysource"
napoleon_use_ivar = True
nitpicky = True
nitpick_ignore_regex = [("py:.*", ".*")]  # types of other packages have no page here
