"""Fills the tables and figures of the pages of benchmarks/ and of the README, from benchmarks/results.

    python benchmarks/make_readme.py           writes them
    python benchmarks/make_readme.py --check   names the pages that would change, and fails if there are any

The pages are written by hand. Only what stands between `<!-- made: NAME ARGUMENT... -->` and `<!-- /made -->` is made:
a block where a line ends after the first marker, otherwise a figure inside a sentence. The makers lie in
`tables_*.py` beside this.
"""

import argparse
import re
from collections.abc import Callable
from pathlib import Path

import tables_across
import tables_of_grids
import tables_of_models
import tables_of_speed
import tables_of_switches
from page_tables import RESULTS, ROOT, load, versions_of

MARKED = re.compile(r"(<!-- made: ([^\n]+?) -->)(.*?)(<!-- /made -->)", re.DOTALL)
DOCS = ("bring-your-language", "across-languages")  # pages of docs/ with tables of theirs


def pages() -> list[Path]:
    """The README, the pages of benchmarks/, and those of docs/ that have a table of theirs."""
    own = sorted([*RESULTS.glob("*.md"), *RESULTS.glob("*/README.md")])
    return [
        ROOT / "README.md",
        ROOT / "benchmarks" / "README.md",
        *(ROOT / "docs" / f"{name}.md" for name in DOCS),
        *own,
    ]


def filled(path: Path) -> str:
    """The text of a page with everything between its markers made anew."""

    def made(found: re.Match[str]) -> str:
        begin, words, old, end = found.groups()
        name, *arguments = words.split()
        new = MAKERS[name](path, *arguments)
        return f"{begin}\n{new}\n{end}" if old.startswith("\n") else f"{begin}{new}{end}"

    return MARKED.sub(made, path.read_text(encoding="utf-8"))


def value(_: Path, name: str, place: str, form: str) -> str:
    """A figure of NAME.json: `value pruning rows.0.postings_kept .2f`, with _ for a space in a key."""
    found = load(name)
    for key in place.split("."):
        found = found[int(key)] if isinstance(found, list) else found.get(key, found.get(key.replace("_", " ")))
    return format(found, form)


def part(page: Path, name: str) -> str:
    """The tables that a script wrote itself, as NAME.md beside its JSON."""
    return (page.parent / f"{name}.md").read_text(encoding="utf-8").strip()


MAKERS: dict[str, Callable[..., str]] = {
    "value": value, "part": part, "versions": lambda _, name: versions_of(name),
    **tables_of_grids.MAKERS, **tables_of_models.MAKERS, **tables_of_speed.MAKERS, **tables_across.MAKERS,
    **tables_of_switches.MAKERS,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a page would change")
    check = parser.parse_args().check
    new = {RESULTS / "encode_memory.svg": tables_of_speed.memory_picture(), **{path: filled(path) for path in pages()}}
    changed = [path for path, text in new.items() if text != path.read_text(encoding="utf-8")]
    for path in changed:
        print(path.relative_to(ROOT))
        if not check:
            path.write_text(new[path], encoding="utf-8")
    raise SystemExit(bool(check and changed))


if __name__ == "__main__":
    main()
