"""What is installed: a small wheel without the bundled models, which are a distribution of their own."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import pytest
from commands import sembridge
from project import ROOT

from sembridge.encoders.names import mini_folder, mini_names
from sembridge.errors import MissingExtraError, SembridgeError


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Of the checkout, built offline by the backend that pyproject.toml names."""
    from hatchling.builders.wheel import WheelBuilder

    (path,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path_factory.mktemp("wheel")), versions=["standard"])
    return zipfile.ZipFile(path)


def test_the_wheel_is_below_1_mb(wheel: zipfile.ZipFile) -> None:
    assert Path(str(wheel.filename)).stat().st_size < 1e6


def test_the_wheel_holds_the_package_and_no_bundle(wheel: zipfile.ZipFile) -> None:
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    package = ROOT / "src"
    files = (path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    assert names == {str(path.relative_to(package)) for path in files}
    assert not {name for name in names if "mini" in name or name.endswith(".safetensors")}
    assert {"sembridge/py.typed", "sembridge/cli/program.py"} < names


def test_the_wheel_installs_the_command_and_its_licence(wheel: zipfile.ZipFile) -> None:
    (points,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert "sembridge = sembridge.cli:main" in wheel.read(points).decode()
    assert any(name.endswith("LICENSE") for name in wheel.namelist())


@pytest.fixture
def no_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where sembridge-mini is not installed: Python itself answers so for a module that is None."""
    monkeypatch.setitem(sys.modules, "sembridge_mini", None)


@pytest.mark.usefixtures("no_bundle")
def test_without_the_bundle_its_names_say_what_to_install(tmp_path: Path) -> None:
    assert mini_names() == []
    with pytest.raises(MissingExtraError, match=r"^mini/splade-en is part of .* pip install sembridge-mini \("):
        mini_folder("mini/splade-en")
    done = sembridge("transfer", "mini/splade-en", "mini/tokenizer-ko", tmp_path / "out", "--bridge", "mini/bridge")
    assert (done.code, "pip install sembridge-mini" in done.line) == (1, True)


def test_with_the_bundle_a_misspelt_name_is_put_right() -> None:
    with pytest.raises(SembridgeError, match=r"Did you mean mini/splade-en\?"):
        mini_folder("mini/splade-eng")
