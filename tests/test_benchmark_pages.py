"""The pages of benchmarks/ and the README show what the results say: no table or figure is older than its data."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from project import ROOT

MARKER = re.compile(r"<!-- /?made")


def script() -> ModuleType:
    sys.path.insert(0, str(ROOT / "benchmarks"))  # its tables lie in files beside it
    specification = importlib.util.spec_from_file_location("make_readme", ROOT / "benchmarks" / "make_readme.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


make_readme = script()


@pytest.mark.parametrize("path", make_readme.pages(), ids=lambda path: str(path.relative_to(ROOT)))
def test_what_stands_between_markers_is_what_the_script_writes(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert make_readme.filled(path) == text, f"python benchmarks/make_readme.py has not been run since {path} changed"
    assert len(MARKER.findall(text)) == 2 * len(make_readme.MARKED.findall(text))  # no marker is misspelt or left open


def test_the_picture_of_memory_is_that_of_its_measurements() -> None:
    assert (make_readme.RESULTS / "encode_memory.svg").read_text(
        encoding="utf-8"
    ) == make_readme.tables_of_speed.memory_picture()


def test_a_table_that_was_changed_by_hand_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    mean = make_readme.MAKERS["mean"](page, "grid", "bm25-tokens")
    page.write_text("BM25 has <!-- made: mean grid bm25-tokens -->.999<!-- /made -->, they say.")
    assert make_readme.filled(page) == f"BM25 has <!-- made: mean grid bm25-tokens -->{mean}<!-- /made -->, they say."
    page.write_text("<!-- made: bundled-encoders -->\n| by hand |\n<!-- /made -->\n")
    assert make_readme.filled(page).splitlines()[1] == make_readme.MAKERS["bundled-encoders"](page).splitlines()[0]


def test_every_folder_of_tables_has_a_page() -> None:
    assert {path.parent for path in make_readme.RESULTS.glob("*/tables")} <= {
        path.parent for path in make_readme.pages()
    }
