"""A table of results as Markdown, LaTeX (booktabs) and CSV, from one description."""

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

DASH = "–"
PARTIAL = "†"
_ARROWS = {"ahead": "▲", "behind": "▼"}
_LATEX_ARROWS = {"ahead": r"$^{\uparrow}$", "behind": r"$^{\downarrow}$"}
_LATEX_CHARACTERS = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "–": "--",
    "±": r"$\pm$",
    "†": r"\dag{}",
    "α": r"$\alpha$",
    "▲": r"$\uparrow$",
    "▼": r"$\downarrow$",
    "\n": " ",
}


@dataclass(frozen=True)
class Number:
    """A measured value and what is to be seen with it.

    Attributes:
        value: None where nothing was measured: a dash.
        rank: among the values it is compared with in its column.
        mark: significantly ahead of or behind sembridge-default.
        partial: a mean over fewer data sets than its neighbours.
    """

    value: float | None
    decimals: int = 3
    spread: float | None = None
    rank: Literal["best", "second"] | None = None
    mark: Literal["ahead", "behind"] | None = None
    partial: bool = False

    def text(self) -> str:
        """The rounded value with its spread, a fraction without the zero before the point, as in the paper."""
        if self.value is None:
            return DASH
        spread = "" if self.spread is None else f" ± {_rounded(self.spread, self.decimals)}"
        return f"{_rounded(self.value, self.decimals)}{spread}"

    def marks(self) -> str:
        """What follows the value: an arrow where the difference is significant, a dagger on a partial mean."""
        return (f" {_ARROWS[self.mark]}" if self.mark else "") + (PARTIAL if self.partial else "")


Cell = Number | str


@dataclass(frozen=True)
class Group:
    """Rows under one heading."""

    title: str
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Table:
    """A table that every format can write.

    Attributes:
        name: of its files, without ending; the label in LaTeX.
        columns: the heads; the first column holds words.
        notes: sentences below the table.
    """

    name: str
    caption: str
    columns: tuple[str, ...]
    groups: tuple[Group, ...]
    notes: tuple[str, ...] = ()


def to_markdown(table: Table) -> str:
    """The table as GitHub Markdown."""
    numeric = _numeric_columns(table)
    lines = [
        f"**{_markdown_text(table.caption)}**",
        "",
        _markdown_row([_markdown_text(column) for column in table.columns]),
        _markdown_row(["---:" if number else "---" for number in numeric]),
    ]
    for group in table.groups:
        if group.title:
            lines.append(_markdown_row([f"**{_markdown_text(group.title)}**", *[""] * (len(table.columns) - 1)]))
        lines += [_markdown_row([_markdown_cell(cell) for cell in row]) for row in group.rows]
    lines += ["", *(f"{_markdown_text(note)}  " for note in table.notes)]
    return "\n".join(lines).rstrip() + "\n"


def to_latex(table: Table) -> str:
    """The table as a LaTeX float; needs the package booktabs, and XeLaTeX or LuaLaTeX for tokens of other scripts."""
    alignment = "".join("r" if number else "l" for number in _numeric_columns(table))
    lines = [
        "% \\usepackage{booktabs}",
        "\\begin{table*}",
        "\\centering\\small",
        f"\\caption{{{_latex_text(' '.join([f'{table.caption}.', *table.notes]))}}}",
        f"\\label{{tab:{table.name}}}",
        f"\\begin{{tabular}}{{{alignment}}}",
        "\\toprule",
        _latex_row([_latex_text(column) for column in table.columns]),
    ]
    for group in table.groups:
        lines.append("\\midrule")
        if group.title:
            lines.append(f"\\multicolumn{{{len(table.columns)}}}{{l}}{{\\textit{{{_latex_text(group.title)}}}}} \\\\")
        lines += [_latex_row([_latex_cell(cell) for cell in row]) for row in group.rows]
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", "\\end{table*}", ""])


def to_csv(table: Table) -> str:
    """The table's unrounded values; a column's spread and its remarks (partial, ahead, behind) stand beside it."""
    rows = [(group.title, row) for group in table.groups for row in group.rows]
    grouped = any(group.title for group in table.groups)
    heads: list[str] = ["group"] if grouped else []
    columns: list[tuple[int, Callable[[Cell], str]]] = []
    for place, head in enumerate(table.columns):
        heads.append(head)
        columns.append((place, _csv_value))
        numbers = [row[place] for _, row in rows if isinstance(row[place], Number)]
        if any(isinstance(number, Number) and number.spread is not None for number in numbers):
            heads.append(f"{head} std")
            columns.append((place, _csv_spread))
        if any(_remarks(number) for number in numbers):
            heads.append(f"{head} remarks")
            columns.append((place, _remarks))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heads)
    for title, row in rows:
        writer.writerow([*([title] if grouped else []), *(text_of(row[place]) for place, text_of in columns)])
    return text.getvalue()


FORMATS: dict[str, Callable[[Table], str]] = {"md": to_markdown, "tex": to_latex, "csv": to_csv}


def _rounded(value: float, decimals: int) -> str:
    text = f"{value:.{decimals}f}"
    if float(text) == 0:
        text = text.removeprefix("-")
    return re.sub(r"^(-?)0\.", r"\1.", text) if decimals >= 3 else text


def _numeric_columns(table: Table) -> list[bool]:
    return [
        any(isinstance(row[place], Number) for group in table.groups for row in group.rows)
        for place in range(len(table.columns))
    ]


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown_text(text: str) -> str:
    """The text with what Markdown or HTML would read as markup escaped, on one line."""
    return re.sub(r"([\\`*_|<>\[\]~#])", r"\\\1", " ".join(text.split()))


def _markdown_cell(cell: Cell) -> str:
    if isinstance(cell, str):
        return _markdown_text(cell)
    text = cell.text()
    if cell.rank:
        text = f"**{text}**" if cell.rank == "best" else f"<ins>{text}</ins>"
    return text + cell.marks()


def _latex_row(cells: Sequence[str]) -> str:
    return f"{' & '.join(cells)} \\\\"


def _latex_text(text: str) -> str:
    return "".join(_LATEX_CHARACTERS.get(character, character) for character in text)


def _latex_cell(cell: Cell) -> str:
    if isinstance(cell, str):
        return _latex_text(cell)
    text = _latex_text(cell.text())
    if cell.rank:
        text = f"\\{'textbf' if cell.rank == 'best' else 'underline'}{{{text}}}"
    return text + (_LATEX_ARROWS[cell.mark] if cell.mark else "") + (r"\dag{}" if cell.partial else "")


def _csv_value(cell: Cell) -> str:
    if isinstance(cell, str):
        return cell
    return "" if cell.value is None else f"{cell.value:.6g}"


def _csv_spread(cell: Cell) -> str:
    return "" if isinstance(cell, str) or cell.spread is None else f"{cell.spread:.6g}"


def _remarks(cell: Cell) -> str:
    if isinstance(cell, str):
        return ""
    remarks = [*(["partial"] if cell.partial else []), *([cell.mark] if cell.mark else [])]
    return " ".join(remarks)
