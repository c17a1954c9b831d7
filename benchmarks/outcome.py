"""What a benchmark ends with: settings, versions and rows as JSON, on stdout and in a file."""

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("torch", "transformers", "sentence-transformers")


def finish(out: Path | None, *, settings: Mapping[str, object], rows: Sequence[Mapping[str, object]]) -> None:
    """Prints the result, and writes it to `out` if there is one."""
    versions = {package: version(package) for package in PACKAGES}
    text = json.dumps({"settings": settings, "versions": versions, "rows": rows}, indent=1)
    if out:
        out.write_text(text + "\n", encoding="utf-8")
    print(text)
