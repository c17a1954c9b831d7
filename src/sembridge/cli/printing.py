"""What goes to stdout: plain tables, and JSON for machines.

rich is imported at the first line that is printed: `--help` and `--version` need none of it.
"""

import functools
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from sembridge.encoders.normalization import Normalization
    from sembridge.encoders.text_statistics import TextStatistics
    from sembridge.language_transfer.alignment import SourcePart


@functools.cache
def _console() -> "Console":
    """No markup, no emoji codes: tokens and texts such as [/INST] or :book: are printed as they are."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True, markup=False, emoji=False)


class _AtFirstUse:
    def __getattr__(self, name: str) -> Any:
        return getattr(_console(), name)


console = cast("Console", _AtFirstUse())

TEXT_COLUMNS = ("made of", "English tokens it is made of", "text")


def print_json(value: object) -> None:
    """Prints JSON; on a terminal that is not UTF-8 with escapes, so that nothing is lost."""
    is_utf8 = (sys.stdout.encoding or "utf-8").lower().replace("-", "").startswith("utf")
    print(json.dumps(value, ensure_ascii=not is_utf8, indent=1, allow_nan=False))


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]], *, title: str | None = None) -> None:
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, pad_edge=False, title_style="bold")
    for position, name in enumerate(header):
        table.add_column(name, justify="left" if position == 0 or name in TEXT_COLUMNS else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def styled(text: str, style: str = "") -> "Text":
    """A text of rich, which its own markup does not change."""
    from rich.text import Text

    return Text(text, style=style)


def print_counts(title: str, counts: Mapping[str, int]) -> None:
    total = sum(counts.values())
    rows = [(name, f"{count:,}", f"{count / total:.1%}") for name, count in counts.items() if count]
    print_table(("", "tokens", "share"), rows, title=title)


def print_text_statistics(statistics: "TextStatistics") -> None:
    """How a tokenizer cuts a text, what it does to the text before, and what is wrong with that."""
    from sembridge.encoders.text_statistics import text_warnings

    t = statistics
    console.print(
        f"Text of {t.words:,} words: {t.fertility} tokens a word, {t.tokens_per_character} a character, "
        f"{t.unknown_rate:.2%} unknown, {t.byte_rate:.2%} byte fragments"
    )
    if t.normalization is not None:
        console.print(_normalization_text(t.normalization))
    for warning in text_warnings(t):
        console.print(f"Warning: {warning}")


def _normalization_text(found: "Normalization") -> str:
    from sembridge.encoders.normalization import merged_text

    if not found.changed:
        return "Its normalizer leaves every word as it is"
    changed = ", ".join(f"{kind} {share:.1%}" for kind, share in found.changed.items())
    merged = f"; {found.merged_rate:.1%} become one with another ({merged_text(found)})" if found.merged else ""
    return f"Its normalizer changes words by {changed}{merged}"


def sources_text(parts: "Sequence[SourcePart]", *, most: int = 4) -> str:
    return "  ".join(f"{part.token} {part.weight:.2f}" for part in parts[:most])


def figure_text(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
