"""The pages of this folder as a site that needs no network: .ci/docs builds and checks it.

Pages are Markdown that a Git host shows too; those with code cells are run while the site is built, and a
cell that fails ends the build.
"""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

from jmp_calc import __version__

project = "jmp-calc"
author = "the jmp-calc authors"
copyright = author
release = version = __version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_click"]

myst_enable_extensions = ["attrs_inline", "colon_fence"]
myst_heading_anchors = 4
myst_links_external_new_tab = False

nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 3600
nb_merge_streams = True
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # else fetched from a CDN

autodoc_typehints = "none"  # signatures of twenty settings are long enough, and texts say what a value is
autodoc_member_order = "bysource"
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!jmp_calc\.).*")]  # other projects' inventories are on the network

smartquotes = False  # --option stays what a reader types

html_theme = "furo"
html_title = f"jmp-calc {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}
pygments_style = "friendly"


def as_it_is_printed(app: Sphinx, context: Any, lines: list[str]) -> None:
    """Help of a command is plain text: its stars and underscores are no markup, and its examples are code."""
    found: list[str] = []
    for line in lines:
        example = re.fullmatch(r"\| ?(.*)", line)
        if example:
            if not (found and found[-1].startswith("    ")):
                found += [".. code-block:: bash", ""]
            found.append(f"    {example[1]}")
        elif not line.endswith(":default: ````"):  # several values, none by default
            found.append(line if line.startswith("..") else escaped(line))
    lines[:] = found


def escaped(line: str) -> str:
    """A line of reStructuredText without emphasis and references, except in ``literals``."""
    parts = re.split(r"(``.+?``|\*\*\w+\*\*)", line)
    parts[::2] = [re.sub(r"[*@]|(?<=FILE):|_(?=\W|$)", r"\\\g<0>", part) for part in parts[::2]]
    return re.sub(r"PosixPath\('(.*?)'\)", r"'\1'", "".join(parts))


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    for part in ("description", "options", "epilog"):
        app.connect(f"sphinx-click-process-{part}", as_it_is_printed)
