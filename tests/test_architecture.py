"""Who may import whom: a module imports modules of lower layers only, and the few siblings named here."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "sembridge"

LAYERS: tuple[frozenset[str], ...] = tuple(
    frozenset(names.split())
    for names in (
        "errors",
        # facts and files: nothing here knows an encoder's inside
        "recipes token_spelling vocabulary weights significance output fingerprint vector_cache"
        " model_folder model_card beir_folder results table_formats charts templates text_lines",
        # parts of the operation
        "bridge bridges hub loading initialization surgery extension alignment retrieval_data mteb_data runs"
        " lexical_overlap calibration health sparse_vectors corpus_cache fast_encoding corpus idf",
        # what a user asks for
        "language_transfer evaluation comparison evaluation_plan explain inspection bridge_scores search export tables"
        " figures encoding training tuning",
        "demo experiments report",
        "cli",
    )
)
# Importer -> siblings it may know.
SIBLINGS: dict[str, frozenset[str]] = {
    "vocabulary": frozenset({"token_spelling"}),
    "loading": frozenset({"hub"}),
    "retrieval_data": frozenset({"loading", "mteb_data"}),  # mteb_data makes what retrieval_data defines
    "mteb_data": frozenset({"retrieval_data"}),
    "runs": frozenset({"retrieval_data"}),
    "lexical_overlap": frozenset({"retrieval_data", "runs"}),
    "fast_encoding": frozenset({"surgery"}),  # where a head keeps its decoder
    "sparse_vectors": frozenset({"fast_encoding"}),
    "calibration": frozenset({"initialization", "sparse_vectors", "surgery"}),  # new rows, vectors, rows and biases
    "corpus": frozenset({"hub"}),
    "health": frozenset({"sparse_vectors"}),
    "alignment": frozenset({"initialization"}),  # the kinds of rows
    "bridges": frozenset({"initialization"}),  # what a transfer asks, and what is above chance
    "export": frozenset({"encoding"}),  # shards
    "comparison": frozenset({"evaluation"}),  # several of them
    "evaluation_plan": frozenset({"evaluation"}),  # which measures exist
    "training": frozenset({"evaluation"}),  # the dev measure
    "search": frozenset({"encoding"}),  # an index is also made from shards
    "tuning": frozenset({"language_transfer", "evaluation", "training"}),  # transfers, measured; pseudo queries
    "inspection": frozenset({"language_transfer"}),  # what a transfer finds before it starts
}
METHODS = ("gaussian", "mean", "random", "sembridge", "focus", "ofa", "wechsel")


def imported_modules(path: Path) -> set[str]:
    """The modules of sembridge that a file imports anywhere, as dotted names below the package."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise AssertionError(f"{path.name}: relative import in line {node.lineno}")
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names if node.module == "sembridge" else {str(node.module)}
    return {name.removeprefix("sembridge.") for name in found if name.startswith("sembridge.")}


def modules(package: Path) -> dict[str, Path]:
    """Dotted name -> file, for all but the package's own door and its data."""
    files = {str(p.relative_to(package).with_suffix("")).replace("/", "."): p for p in package.rglob("*.py")}
    return {
        name.removesuffix(".__init__"): path
        for name, path in files.items()
        if name != "__init__" and not name.startswith("mini")
    }


def top(name: str) -> str:
    return name.split(".")[0]


def offences(package: Path) -> list[str]:
    """Imports that the table does not allow, as `importer imports imported`; modules that it does not know."""
    layer_of = {name: layer for layer, names in enumerate(LAYERS) for name in names}
    found = []
    for name, path in sorted(modules(package).items()):
        if top(name) not in layer_of:
            found.append(f"{name} has no layer")
            continue
        for imported in sorted(imported_modules(path)):
            if top(imported) == top(name) or top(imported) in SIBLINGS.get(top(name), ()):
                continue
            if layer_of.get(top(imported), len(LAYERS)) >= layer_of[top(name)]:
                found.append(f"{name} imports {imported}")
    return found


def test_every_module_imports_lower_layers_only() -> None:
    assert offences(PACKAGE) == []


def test_the_table_names_each_module_once_and_no_other() -> None:
    named = [name for layer in LAYERS for name in layer]
    assert len(named) == len(set(named))
    assert set(named) == {top(name) for name in modules(PACKAGE)}


def test_every_exception_is_needed_and_leads_to_a_sibling() -> None:
    layer_of = {name: layer for layer, names in enumerate(LAYERS) for name in names}
    for importer, siblings in SIBLINGS.items():
        files = [path for name, path in modules(PACKAGE).items() if top(name) == importer]
        imported = {top(name) for path in files for name in imported_modules(path)}
        for sibling in siblings:
            assert sibling in imported
            assert layer_of[sibling] == layer_of[importer]


def test_sembridge_and_its_baselines_do_not_know_each_other() -> None:
    files = modules(PACKAGE)
    for method in METHODS:
        imported = {
            name for name in imported_modules(files[f"initialization.{method}"]) if top(name) == "initialization"
        }
        own = ("initialization.evidence", "initialization.hubs", "initialization.text_words")
        baseline = ("initialization.gaussian", "initialization.word_vectors")
        assert imported <= {"initialization.rows", *(own if method == "sembridge" else baseline)}


@pytest.mark.parametrize(
    "name",
    [
        "errors",
        "__init__",
        *(f"{path.parent.name}/{path.stem}" for part in ("cli", "recipes") for path in (PACKAGE / part).glob("*.py")),
    ],
)
def test_the_command_line_starts_without_heavy_imports(name: str) -> None:
    """At the top of the file, that is: the guard of a fast --help, which test_cli measures."""
    tree = ast.parse((PACKAGE / f"{name}.py").read_text(encoding="utf-8"))
    statements = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    found = {getattr(node, "module", None) or alias.name for node in statements for alias in node.names}
    assert not {top(module) for module in found} & {"torch", "transformers", "sentence_transformers", "numpy"}


@pytest.mark.parametrize(
    ("name", "text", "offence"),
    [
        ("weights.py", "from sembridge.bridge import Bridge", "weights imports bridge"),
        ("errors.py", "import sembridge.recipes", "errors imports recipes"),
        ("surgery.py", "def f():\n    from sembridge import loading", "surgery imports loading"),
        ("explain.py", "from sembridge.language_transfer import transfer", "explain imports language_transfer"),
        ("initialization/mean.py", "from sembridge.cli import main", "initialization.mean imports cli"),
        ("recipes.py", "if TYPE_CHECKING:\n    import sembridge.demo", "recipes imports demo"),
        ("utils.py", "", "utils has no layer"),
        ("bridge.py", "from sembridge.utils import f", "bridge imports utils"),
    ],
)  # fmt: skip
def test_the_gate_can_fail(tmp_path: Path, name: str, text: str, offence: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    (tmp_path / "runs.py").write_text("from sembridge.retrieval_data import RetrievalData\nimport torch")
    assert offences(tmp_path) == [offence]


def test_relative_imports_are_not_overlooked(tmp_path: Path) -> None:
    (tmp_path / "weights.py").write_text("from . import cli")
    with pytest.raises(AssertionError, match="relative import"):
        offences(tmp_path)
