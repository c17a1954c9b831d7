"""The folder of an export, with the manifest and the README that every export has."""

import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from sembridge.encoders.names import lasting_name
from sembridge.files.atomic import write_folder
from sembridge.files.digests import file_digest

ExportManifest = dict[str, object]
"""What `manifest.json` says: format, encoder (a folder by its absolute path, and the fingerprint of what lay there),
settings, counts, and every file's size and checksum."""


def write_export(
    out: Path, fill: Callable[[Path], ExportManifest], readme: Callable[[ExportManifest], str], *, overwrite: bool
) -> ExportManifest:
    """The manifest of the export in `out`, whose files `fill` writes into a folder and whose facts it returns.

    Raises:
        SembridgeError: as `write_folder`; nothing is left behind.
    """
    manifest: ExportManifest = {}

    def write(folder: Path) -> None:
        manifest.update(fill(folder), sembridge=version("sembridge"))
        manifest["files"] = {str(path.relative_to(folder)): _file_facts(path) for path in _files(folder)}
        given = manifest["encoder"]
        manifest["encoder"] = lasting_name(str(given))
        text = json.dumps(manifest, ensure_ascii=False, indent=1, allow_nan=False)
        (folder / "manifest.json").write_text(text + "\n", encoding="utf-8")
        (folder / "README.md").write_text(readme({**manifest, "encoder": given}), encoding="utf-8")

    write_folder(out, write, overwrite=overwrite)
    return manifest


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _file_facts(path: Path) -> ExportManifest:
    return {"bytes": path.stat().st_size, "sha256": file_digest(path)}
