"""What the documents say works, and where they point exists."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    path
    for path in sorted(ROOT.rglob("*.md"))
    if not {".venv", ".git", "node_modules"} & set(path.relative_to(ROOT).parts)
]


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (path.parent / link).exists()]
    assert not missing


def test_the_readme_runs(tmp_path: Path) -> None:
    readme = ROOT / "README.md"
    (python,) = blocks(readme, "python")
    (shell,) = blocks(readme, "sh")
    subprocess.run([sys.executable, "-c", python], check=True, cwd=tmp_path)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for line in shell.splitlines():
        subprocess.run(shlex.split(line, comments=True), check=True, cwd=tmp_path, env=environment)
    assert (tmp_path / "splade-ko" / "model.safetensors").exists()


def test_documents_name_no_place_of_one_machine() -> None:
    absolute = re.compile(r"(?<![\w.])/(home|work|opt|root|tmp)/")
    assert not [path for path in DOCUMENTS if absolute.search(path.read_text(encoding="utf-8"))]
