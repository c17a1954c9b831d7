"""The tests read the project's own files: what a user's runs leave in the tree changes nothing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from project import ROOT, markdown_files, tracked_files

# What `make demo`, pytest, a build and a user's own commands leave where they ran.
LEFT = (
    "sembridge-demo/splade-ko/README.md",
    "splade-id/README.md",
    "out/notes.md",
    ".pytest_cache/README.md",
    ".venv/lib/package/README.md",
    "notes.md",
)
PAGE = '```python\nraise SystemExit("a page that is no page of the project")\n```\n[a link](nowhere.md)\n'


def names(paths: list[Path], root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in paths]


@pytest.fixture(params=["with git", "without git"])
def copy(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The pages and what it takes to collect their tests, in a folder in which a user worked."""
    needed = [*markdown_files(), ROOT / "pyproject.toml"]
    needed += [
        ROOT / "tests" / f"{name}.py"
        for name in ("conftest", "bundle", "commands", "project", "transferred", "test_docs")
    ]
    for path in needed:
        place = tmp_path / path.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    if request.param == "with git":
        for command in (["init", "--quiet"], ["add", "--all"]):
            subprocess.run(["git", *command], cwd=tmp_path, check=True)
    for name in LEFT:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(PAGE)
    return tmp_path


def test_pages_are_the_project_s_and_no_others(copy: Path) -> None:
    assert (tracked_files(copy) is None) == (not (copy / ".git").exists())
    assert names(markdown_files(copy), copy) == names(markdown_files(), ROOT)


@pytest.mark.parametrize("copy", ["with git"], indirect=True)
def test_what_runs_have_left_is_not_collected(copy: Path) -> None:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "tests/test_docs.py"]
    collected = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    assert collected.returncode == 0, collected.stdout + collected.stderr
    assert "test_every_block_of_a_page_runs_in_its_order[README.md]" in collected.stdout
    assert not [name for name in LEFT if name in collected.stdout]
    assert collected.stdout.count("test_links_lead_somewhere") == len(markdown_files())
