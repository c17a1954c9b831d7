"""The files of the project itself: tests read these, never what a user's run happens to have left in the tree."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Where a copy without git has its pages: an unpacked archive. Runs write beside these, `make demo` too.
PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")
FOLDERS = ("docs", "benchmarks", "reproduction", "src", "mini")


def markdown_files(root: Path = ROOT) -> list[Path]:
    """Every Markdown file that git tracks in `root`; of a copy without git, those at the places of the project."""
    found = tracked_files(root)
    if found is None:
        found = [*(root / page for page in PAGES), *(path for name in FOLDERS for path in (root / name).rglob("*.md"))]
    return sorted(path for path in found if path.suffix == ".md" and path.exists())


def tracked_files(root: Path = ROOT) -> list[Path] | None:
    """What git tracks in `root`, or None where `root` is no repository of its own or git does not answer."""
    if not (root / ".git").exists():  # a folder, or a file in a linked worktree
        return None
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, check=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return [root / name for name in listed.stdout.split("\0") if name]
