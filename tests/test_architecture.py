"""The law of the house: a package imports packages of lower floors only, and no modules import each other in a loop."""

from __future__ import annotations

import ast
from pathlib import Path

import house
import pytest

from sembridge.language_transfer.methods import METHODS

ROOT = Path(__file__).parents[1]


def test_every_package_imports_lower_floors_only() -> None:
    assert house.offences(house.read_imports(house.PACKAGE)) == []


def test_no_modules_import_each_other_in_a_loop() -> None:
    assert house.circles(house.read_imports(house.PACKAGE)) == []


def test_every_floor_is_inhabited() -> None:
    on_top = {house.room(module) for module in house.read_imports(house.PACKAGE)}
    assert {name for floor in house.FLOORS for name in floor} == on_top


def test_the_page_for_contributors_shows_these_floors() -> None:
    assert house.floor_table() in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_the_page_of_the_architecture_draws_these_floors() -> None:
    drawn = (
        (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").partition("```text\n")[2].partition("```")[0]
    )
    assert [set(line.split()) for line in drawn.splitlines()] == [set(floor) for floor in reversed(house.FLOORS)]


def test_the_faces_of_packages_hold_no_program() -> None:
    """Nor imports: a recipe would then be as heavy as all that its package holds."""
    for face in house.PACKAGE.rglob("__init__.py"):
        if face.parent not in (house.PACKAGE, house.PACKAGE / "cli"):  # the doors
            assert len(ast.parse(face.read_text(encoding="utf-8")).body) == 1, face


@pytest.mark.parametrize(
    ("name", "text", "offence"),
    [
        (
            "retrieval/runs.py",
            "from sembridge.language_transfer import recipe",
            "retrieval.runs imports language_transfer",
        ),
        (
            "training/data.py",
            "def f():\n    from sembridge.deployment import shards",
            "training.data imports deployment",
        ),
        ("errors.py", "import sembridge.files", "errors imports files"),
        ("files/lines.py", "if TYPE_CHECKING:\n    import sembridge.cli.program", "files.lines imports cli.program"),
        ("utils.py", "", "utils stands on no floor"),
        ("encoders/names.py", "from sembridge.utils import f", "encoders.names imports utils"),
    ],
)
def test_the_gate_can_fail(tmp_path: Path, name: str, text: str, offence: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    assert house.offences(house.read_imports(tmp_path)) == [offence]


def test_a_circle_is_found(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    for one, other in ("ab", "bc", "ca", "da"):
        (tmp_path / "files" / f"{one}.py").write_text(f"def f():\n    from sembridge.files.{other} import x")
    assert house.circles(house.read_imports(tmp_path)) == [("files.a", "files.b", "files.c")]


def test_relative_imports_are_not_overlooked(tmp_path: Path) -> None:
    (tmp_path / "errors.py").write_text("from . import cli")
    with pytest.raises(ValueError, match="relative import"):
        house.read_imports(tmp_path)


def test_sembridge_and_its_baselines_do_not_know_each_other() -> None:
    imports = house.read_imports(house.PACKAGE)
    here = "language_transfer.initialization"
    for method in METHODS:
        imported = {name.removeprefix(f"{here}.") for name in imports[f"{here}.{method}"] if name.startswith(here)}
        own = ("evidence", "hub_correction", "text_words", "translations")
        baseline = ("univariate", "word_vectors")
        assert imported <= {"inputs", "rows", *(own if method == "sembridge" else baseline)}


LIGHT = [
    house.PACKAGE / "__init__.py",
    house.PACKAGE / "errors.py",
    *sorted((house.PACKAGE / "cli").glob("*.py")),
    *sorted(house.PACKAGE.rglob("*recipe.py")),
]


@pytest.mark.parametrize("path", LIGHT, ids=lambda path: str(path.relative_to(house.PACKAGE)))
def test_the_command_line_starts_without_heavy_imports(path: Path) -> None:
    """At the top of the file, that is: the guard of a fast --help, which test_cli measures."""
    statements = [
        n for n in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(n, ast.Import | ast.ImportFrom)
    ]
    found = {getattr(node, "module", None) or alias.name for node in statements for alias in node.names}
    assert not {house.room(module) for module in found} & {"torch", "transformers", "sentence_transformers", "numpy"}


def test_no_module_is_longer_than_400_lines() -> None:
    lengths = {path: path.read_text(encoding="utf-8").count("\n") for path in house.PACKAGE.rglob("*.py")}
    assert {str(path): n for path, n in lengths.items() if n > 400} == {}


def test_annotations_are_of_one_style() -> None:
    """Names that only checkers import, or that are defined below, are quoted; typer and pydantic read the others."""
    lazy = [path for path in house.PACKAGE.rglob("*.py") if "from __future__" in path.read_text(encoding="utf-8")]
    assert lazy == []
