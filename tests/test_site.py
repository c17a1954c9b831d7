"""The documentation site: broken links fail its build, formulas are drawn while building, and no page asks elsewhere.

The whole site is built by `make check`; here it is a README and the method page, with the settings of the real one.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ASKS_ELSEWHERE = re.compile(
    r"""<(?:script|img|iframe|source|video)\b[^>]*\bsrc=["']?(?:https?:)?//"""
    r"""|<link\b[^>]*\brel=["']?(?:stylesheet|preload|preconnect|icon)[^>]*\bhref=["']?(?:https?:)?//"""
    r"""|<link\b[^>]*\bhref=["']?(?:https?:)?//[^>]*\brel=["']?(?:stylesheet|preload|preconnect|icon)"""
    r"""|@import|url\(["']?(?:https?:)?//|\bfetch\(["'](?:https?:)?//"""
)


def build(source: Path, out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sphinx", "-q", "-c", str(ROOT / "docs"), "-d", str(out) + ".doctrees", *options]
    return subprocess.run([*command, str(source), str(out)], check=False, capture_output=True, text=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("sphinx")
    folder = tmp_path_factory.mktemp("site")
    (folder / "source" / "docs").mkdir(parents=True)
    (folder / "source" / "README.md").write_text("# SemBridge\n\n[The method](docs/method.md)\n")
    shutil.copy(ROOT / "docs" / "method.md", folder / "source" / "docs")
    built = build(folder / "source", folder / "out")
    assert built.returncode == 0, built.stderr
    return folder / "out"


def test_formulas_are_mathml(site: Path) -> None:
    page = (site / "docs" / "method.html").read_text(encoding="utf-8")
    assert page.count("<math ") > 20
    assert "mathjax.js" not in page.lower()
    assert "$" not in re.sub(r"<(script|code|pre)\b.*?</\1>", "", page, flags=re.DOTALL)


def test_the_first_page_of_the_folder_leads_to_the_quickstart(site: Path) -> None:
    assert 'url=README.html"' in (site / "index.html").read_text(encoding="utf-8")


def test_no_page_asks_another_machine_for_anything(site: Path) -> None:
    files = [path for kind in ("*.html", "*.css") for path in site.rglob(kind)]
    assert len(files) > 5
    assert not [path.name for path in files if ASKS_ELSEWHERE.search(path.read_text(encoding="utf-8"))]


def test_a_page_that_asks_elsewhere_is_noticed() -> None:
    assert ASKS_ELSEWHERE.search('<link rel="stylesheet" href="https://fonts.example/css">')
    assert ASKS_ELSEWHERE.search('<script async src="https://cdn.example/mathjax.js">')
    assert ASKS_ELSEWHERE.search("src: url(//fonts.example/a.woff2)")
    assert not ASKS_ELSEWHERE.search('<a href="https://arxiv.org/abs/2605.26002">the paper</a>')


def test_a_link_that_leads_nowhere_fails_the_build(site: Path, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# SemBridge\n\n[a page](docs/missing.md) [an anchor](#nowhere)\n")
    built = build(tmp_path, tmp_path / "out", "--fail-on-warning")
    assert built.returncode != 0
    assert "docs/missing" in built.stderr
    assert "nowhere" in built.stderr
