"""The documentation site: the repository's own pages, rendered by Sphinx (`make docs`).

The source folder is the repository's root, so that a link between two files is the same on the site
as where the files are read.
"""

from __future__ import annotations

from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).parents[1]

project = "Penjing"
author = "The Penjing contributors"
extensions = ["myst_parser"]
root_doc = "README"
include_patterns = ["*.md", "docs/**.md", "bench/*.md", "examples/**.md", "findings/*.md"]

myst_heading_anchors = 4
nitpicky = True

html_theme = "furo"
html_title = "Penjing"
html_show_sphinx = False
html_extra_path = ["site"]
html_static_path = ["static"]
html_css_files = ["tables.css"]
html_theme_options = {"navigation_with_keys": True}

SECTIONS = {
    "What it does": ("docs/features", "docs/gallery", "docs/results", "docs/compare"),
    "Tutorials": ("docs/tutorials/README", *(
        f"docs/tutorials/{page}" for page in
        ("pytorch", "keras", "onnx", "bnn", "arrays", "sparse", "waveform", "integrate"))),
    "Networks": ("docs/operators", "docs/pytorch", "docs/import", "docs/training", "docs/compress",
                 "docs/search", "docs/binary", "docs/sparse", "examples/*/README"),
    "Hardware": ("docs/place_and_route", "docs/report", "docs/link"),
    "Reference": ("docs/python", "docs/architecture", "docs/verification", "bench/README",
                  "findings/README"),
    "Project": ("CONTRIBUTING", "SECURITY", "CHANGELOG"),
}
"""What the site's menu lists; a pattern may match nothing, a page in no section is an error."""


def contents() -> str:
    """The menu, as Sphinx takes it."""
    trees = []
    for title, patterns in SECTIONS.items():
        pages = [page.relative_to(ROOT).with_suffix("").as_posix() for pattern in patterns
                 for page in sorted(ROOT.glob(f"{pattern}.md"))]
        if pages:
            trees.append("\n".join(("```{toctree}", ":hidden:", f":caption: {title}", "", *pages,
                                    "```")))
    return "\n\n".join(trees)


def add_contents(app: Sphinx, page: str, source: list[str]) -> None:
    """Put the menu behind README.md, which on other sites has no use for it."""
    if page == root_doc:
        source[0] += f"\n\n{contents()}\n"


def setup(app: Sphinx) -> None:
    """What Sphinx calls."""
    app.connect("source-read", add_contents)
