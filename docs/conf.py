"""The documentation site, built by `make docs`: every page is a Markdown file where readers of the repository find it.

The source folder of the build is the repository's root, so that a link between two files is the same link on the site.
Nothing is fetched while building, and no page asks another machine for anything.
"""

import re
from importlib.metadata import version as installed_version
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx

project = "SemBridge"
author = "The SemBridge developers"
copyright = "The SemBridge developers, Apache-2.0"
version = release = installed_version("sembridge")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "README"
include_patterns = [
    "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "benchmarks/README.md", "benchmarks/results/*.md",
    "benchmarks/results/*/README.md", "benchmarks/results/*/tables/*.md", "reproduction/*/README.md", "docs/*.md",
]  # fmt: skip
exclude_patterns = [
    ".*", "site", "src", "tests", "out", "demo-out", "sembridge-demo",
    "benchmarks/results/transfer.md", "benchmarks/results/search_engines.md",  # parts of other pages
]  # fmt: skip

# What the navigation shows; a page of docs/ that it leaves out fails the build.
NAVIGATION: dict[str, tuple[str, ...]] = {
    "Start": ("Quickstart <self>", "docs/install", "docs/models", "docs/bring-your-language", "docs/faq"),
    "Verbs": (
        "tokenizer <docs/tokenizer>",
        "inspect <docs/inspect>",
        "transfer <docs/transfer>",
        "explain <docs/explain>",
        "train <docs/train>",
        "evaluate <docs/evaluate>",
        "reproduce <docs/reproduce>",
        "encode <docs/encode>",
        "index and search <docs/search>",
        "export <docs/export>",
        "report <docs/report>",
        "demo <docs/demo>",
    ),
    "Topics": (
        "docs/method",
        "docs/across-languages",
        "docs/data",
        "docs/engines",
        "docs/scaling",
        "docs/reading-results",
    ),
    "Reference": (
        "docs/api",
        "docs/glossary",
        "benchmarks/README",
        "reproduction/mini/README",
        "reproduction/published/README",
    ),
    "Project": ("docs/architecture", "docs/decisions", "CONTRIBUTING", "CHANGELOG"),
}

myst_enable_extensions = ["dollarmath", "html_image"]
myst_heading_anchors = 3
myst_html_meta = {"color-scheme": "light dark"}
nitpicky = False
default_role = "literal"
smartquotes = False  # they make a dash of the two hyphens before an option
highlight_language = "none"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
napoleon_use_rtype = False

html_theme = "furo"
pygments_style = "a11y-light"
pygments_dark_style = "a11y-dark"
html_title = "SemBridge"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_additional_pages = {"index": "redirect.html"}
templates_path = ["_templates"]
html_math_renderer = "mathml"
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}


def setup(app: Sphinx) -> None:
    app.connect("source-read", _complete_page)
    app.add_html_math_renderer("mathml", (_inline_formula, None), (_formula, None))


def _complete_page(app: Sphinx, docname: str, source: list[str]) -> None:
    """What only the site needs: navigation, and a heading for the tables of a grid, which are fragments elsewhere."""
    if docname == root_doc:
        source[0] += "".join(_navigation(pages, caption) for caption, pages in NAVIGATION.items())
    elif docname == "benchmarks/README":
        source[0] += _navigation(("results/*/README", "results/*"), "Results")
    elif (app.srcdir / docname).with_name("tables").is_dir():
        source[0] += _navigation(("tables/*",), "Tables")
    elif "/tables/" in docname:
        source[0] = re.sub(r"\A\*\*(.+)\*\*$", r"# \1", source[0], count=1, flags=re.MULTILINE)


def _navigation(pages: tuple[str, ...], caption: str) -> str:
    return f"\n```{{toctree}}\n:hidden:\n:glob:\n:caption: {caption}\n\n" + "\n".join(pages) + "\n```\n"


def _inline_formula(translator: Any, node: nodes.math) -> None:
    translator.body.append(convert(node.astext(), display="inline"))
    raise nodes.SkipNode


def _formula(translator: Any, node: nodes.math_block) -> None:
    translator.body.append(f'<div class="math">{convert(node.astext(), display="block")}</div>')
    raise nodes.SkipNode
