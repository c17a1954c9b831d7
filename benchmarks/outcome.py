"""What a benchmark ends with: settings, versions and rows as JSON, on stdout and in a file; and what it ran on."""

import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("torch", "transformers", "sentence-transformers")


def versions(*packages: str) -> dict[str, str]:
    """Python's and those of the distributions that are installed."""
    found = {"python": platform.python_version()}
    for package in packages or PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def processor() -> str:
    """Its name."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or "unknown")


def write(out: Path | None, result: Mapping[str, object]) -> None:
    """Prints the result, and writes it to `out` if there is one."""
    text = json.dumps(result, indent=1)
    if out:
        out.write_text(text + "\n", encoding="utf-8")
    print(text)


def finish(out: Path | None, *, settings: Mapping[str, object], rows: Sequence[Mapping[str, object]]) -> None:
    """The same for a benchmark that has settings and rows."""
    write(out, {"settings": settings, "versions": versions(), "rows": rows})
