"""The floor plan: which package stands above which. The architecture test and CONTRIBUTING's table are made from it.

python tests/house.py     # rooms, floors, arrows, circles, long modules and functions, counted
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "src" / "sembridge"

# Lowest first. Packages of one floor never import each other.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("files",),
    ("encoders",),
    ("language_transfer", "retrieval"),
    ("training", "deployment"),
    ("experiments",),
    ("cli",),
)
Imports = Mapping[str, frozenset[str]]
"""Module -> the modules of sembridge that it imports anywhere, as dotted names below the package."""


def room(module: str) -> str:
    """The package, or the module, that lies on top: `retrieval` of `retrieval.runs`."""
    return module.partition(".")[0]


def read_imports(package: Path) -> Imports:
    """Of every module but the package's own door, which hands names on."""
    files = {_dotted(path.relative_to(package)): path for path in sorted(package.rglob("*.py"))}
    files.pop("", None)
    return {name: frozenset(_imported(path, files)) for name, path in files.items()}


def _dotted(path: Path) -> str:
    return ".".join(part for part in path.with_suffix("").parts if part != "__init__")


def _imported(path: Path, files: Mapping[str, Path]) -> Iterable[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"{path.name}: relative import in line {node.lineno}")
            names = [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        below = [name.removeprefix("sembridge.") for name in names if name.startswith("sembridge.")]
        # `from a.b import c` needs the module a.b.c where there is one, else a.b
        exact = [name for name in below if name in files]
        yield from exact[1:] if len(exact) > 1 else exact or below[:1]


def offences(imports: Imports, floors: tuple[tuple[str, ...], ...] = FLOORS) -> list[str]:
    """Imports that lead to a package on the same floor or above, and packages that stand on no floor."""
    floor_of = {name: floor for floor, names in enumerate(floors) for name in names}
    found = [f"{name} stands on no floor" for name in sorted({room(module) for module in imports} - set(floor_of))]
    for module, imported in sorted(imports.items()):
        upward = (
            name
            for name in sorted(imported)
            if room(name) != room(module) and floor_of.get(room(name), 99) >= floor_of.get(room(module), -1)
        )
        found += [f"{module} imports {name}" for name in upward if room(module) in floor_of]
    return found


def circles(imports: Imports) -> list[tuple[str, ...]]:
    """Groups of modules that import each other in a loop (strongly connected components), by Tarjan's algorithm."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[tuple[str, ...]] = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for other in sorted(imports[module] & imports.keys()):
            if other not in index:
                visit(other)
                low[module] = min(low[module], low[other])
            elif other in stack:
                low[module] = min(low[module], index[other])
        if low[module] == index[module]:
            start = stack.index(module)
            group = tuple(sorted(stack[start:]))
            del stack[start:]
            if len(group) > 1:
                found.append(group)

    for module in sorted(imports):
        if module not in index:
            visit(module)
    return found


def floor_table() -> str:
    """The floors as a Markdown table, highest first, with what each package says of itself."""
    lines = ["| floor | package | what it is |", "|---|---|---|"]
    for floor in range(len(FLOORS) - 1, -1, -1):
        for name in FLOORS[floor]:
            path = PACKAGE / f"{name}.py" if (PACKAGE / f"{name}.py").exists() else PACKAGE / name / "__init__.py"
            doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            lines.append(f"| {floor} | `{name}` | {doc.splitlines()[0]} |")
    return "\n".join(lines)


def _count() -> str:
    imports = read_imports(PACKAGE)
    arrows = {(room(a), room(b)) for a, names in imports.items() for b in names if room(a) != room(b)}
    module_arrows = sum(len(names) for names in imports.values())
    sources = {path: path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}
    functions = [n for text in sources.values() for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef)]
    wide = sum(len([*n.args.args, *n.args.kwonlyargs, *n.args.posonlyargs]) >= 9 for n in functions)
    longest = max(sources, key=lambda path: sources[path].count("\n"))
    return "\n".join(
        (
            f"rooms on top: {len({room(name) for name in imports})}, floors: {len(FLOORS)}",
            f"arrows between rooms: {len(arrows)}, between modules: {module_arrows}",
            f"upward: {len(offences(imports))}, circles: {len(circles(imports))}",
            f"functions with nine or more parameters: {wide} of {len(functions)}",
            f"longest module: {longest.relative_to(PACKAGE)}, {sources[longest].count(chr(10))} lines",
        )
    )


if __name__ == "__main__":
    print(_count())
    print(floor_table())
