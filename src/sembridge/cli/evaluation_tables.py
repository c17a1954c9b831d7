"""What `sembridge evaluate` prints: tables of figures, tests and health, and the verdicts that they come to."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sembridge.cli.printing import console, styled
from sembridge.retrieval.columns import best_of
from sembridge.retrieval.system_rows import BM25_TOKENS, DICTIONARY, OWN_QUESTIONS

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from sembridge.retrieval.columns import Column
    from sembridge.retrieval.comparison import DataReport, SystemComparison
    from sembridge.retrieval.evaluation_plan import EnglishEncoder
    from sembridge.retrieval.health import HealthCheck
    from sembridge.retrieval.system_rows import SystemRow

PIPE_WIDTH = 100  # of a file or pipe, which has none
N_SHOWN_SHIFTS = 3
LEFT_COLUMNS = ("", "measure", "verdict")


def print_report(report: "DataReport", source: "EnglishEncoder", *, details: bool) -> None:
    """What was found on a data set: a short table and the verdicts; with details all that it rests on."""
    title = f"{report.data}: {_count(report.n_queries, 'query', 'queries')}, "
    _page().rule(styled(title + _count(report.n_documents, "document", "documents"), style="bold"), align="left")
    _print_rows(report, details=details)
    encoders = [row for row in report.rows if row.kind == "encoder"]
    if details:
        _print_legend(report, source)
        if report.comparisons:
            _print_comparisons(report)
        _print_health(encoders)
    else:
        _print_warned(encoders)
    _print_verdicts(report)
    if not details:
        _say("More with --details: costs, tests, the queries behind them, the health check.")
    console.print()


def _print_verdicts(report: "DataReport") -> None:
    """The last words: what a reader who has to decide takes away."""
    if not report.verdicts:
        return
    console.print(f"\nVerdict, by {report.verdicts[0].measure}", style="bold")
    for verdict in report.verdicts:
        _say(verdict.sentence)
    _say("p: paired permutation tests over the queries, corrected by Holm over all verdicts.")


def _print_rows(report: "DataReport", *, details: bool) -> None:
    # Bytes a document say what postings say, of dense vectors, too; both do not fit into a line.
    columns = [c for c in report.rows[0].evaluation.columns() if (details and c.name != "postings") or c.in_brief]
    best = {column: best_of(column, [row.evaluation for row in report.rows]) for column in columns}
    rows: list[list[str | Text]] = []
    for row in report.rows:
        values = [(column, column.of(row.evaluation)) for column in columns]
        cells = [styled(c.text(v), style="bold" if v is not None and v == best[c] else "") for c, v in values]
        rows.append([row.name, *cells])
    _print_aligned(["", *map(_two_lines, columns)], rows)


def _print_legend(report: "DataReport", source: "EnglishEncoder") -> None:
    kinds = {row.kind for row in report.rows}
    encoders = [row for row in report.rows if row.kind == "encoder"]
    names = {row.name for row in report.rows}
    if OWN_QUESTIONS in names:
        _say(f"{OWN_QUESTIONS}: the same questions in the documents' language, the ceiling.")
    if DICTIONARY in names:
        _say(f"{DICTIONARY}: every word of a question replaced by its translations, BM25 over words.")
    if BM25_TOKENS in names:
        _say(
            f"bm25-tokens: over the tokens of {encoders[0].name}; bm25-words: over words. "
            "hybrid: fused with bm25-tokens by standard scores, .7 to .3."
        )
    if "dense" in kinds:
        _say("bridge: the dense encoder itself; hybrid-bridge: fusion with it.")
    if "english" in kinds:
        _say(f"english: {source.name}, untouched.")
    cached = [row.name for row in report.rows if row.evaluation.settings.get("vectors") == "cached"]
    if cached:
        _say(f"Vectors from the cache: {', '.join(cached)}; their speed is that of the run which encoded them.")


def _print_comparisons(report: "DataReport") -> None:
    console.print(f"\nAgainst {report.baseline}", style="bold")
    rows = []
    for found in report.comparisons:
        r = found.result
        figures = [f"{r.difference:+.3f}", _p_text(r.p_holm), f"{r.wins:,}", f"{r.ties:,}", f"{r.losses:,}"]
        rows.append([found.system, r.measure, *figures, found.verdict])
    _print_aligned(["", "measure", "difference", "p", "wins", "ties", "losses", "verdict"], rows)
    _say("p: two-sided paired permutation test over the queries, corrected by Holm over all comparisons made here.")
    first = report.comparisons[0].result.measure
    for found in report.comparisons:
        if found.result.measure == first:
            _print_shifts(found)


def _print_shifts(found: "SystemComparison") -> None:
    for what, shifts in (("gains", found.gains), ("losses", found.losses)):
        if shifts:
            title = f"Largest {what} of {found.system} over {found.baseline}, {found.result.measure}"
            console.print(f"\n{title}", style="bold")
        for shift in shifts[:N_SHOWN_SHIFTS]:
            _print_cut(f"{shift.baseline:.2f} to {shift.system:.2f}  ", f"{shift.query_id}: {shift.query}")
            _print_cut(" " * 14, f"{shift.document_id}: {shift.document_start}")


def _print_health(encoders: "Sequence[SystemRow]") -> None:
    reports = {row.name: row.evaluation.health for row in encoders if row.evaluation.health is not None}
    if not reports:
        return
    console.print("\nHealth", style="bold")
    rows: list[list[str | Text]] = []
    for checks in zip(*(report.checks for report in reports.values()), strict=True):
        values = [styled(_health_text(check), style="bold red" if check.warning else "") for check in checks]
        rows.append([checks[0].name, *values, _check_value(checks[0].name, checks[0].limit)])
    _print_aligned(["", *reports, "warned above"], rows)
    _print_warnings(encoders)
    for name in (name for name, report in reports.items() if not report.warnings):
        _say(f"{name}: no warning.")


def _print_warned(encoders: "Sequence[SystemRow]") -> None:
    """A line for an encoder that is not healthy: by what."""
    for row in encoders:
        checks = row.evaluation.health.checks if row.evaluation.health else ()
        if warned := [check.name for check in checks if check.warning]:
            _say(f"{row.name}: the health check warns of {', '.join(warned)}.")


def _print_warnings(encoders: "Sequence[SystemRow]") -> None:
    for row in encoders:
        for warning in row.evaluation.health.warnings if row.evaluation.health else ():
            _say(f"{row.name}: {warning}")


def print_overview(reports: "Sequence[DataReport]") -> None:
    """The first measure of every system on every data set."""
    measure = reports[0].rows[0].evaluation.columns()[0]
    _page().rule(styled(f"{measure.heading} on all data", style="bold"), align="left")
    names = [row.name for row in reports[0].rows]
    values = [[measure.of(row.evaluation) or 0.0 for row in report.rows] for report in reports]
    rows = [[report.data, *map(measure.text, of_data)] for report, of_data in zip(reports, values, strict=True)]
    means = [measure.text(sum(column) / len(column)) for column in zip(*values, strict=True)]
    _print_aligned(["", *names], [*rows, ["mean", *means]])


def _print_aligned(header: Sequence[str], rows: "Sequence[Sequence[str | Text]]") -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in header:
        left = name in LEFT_COLUMNS
        table.add_column(name, justify="left" if left else "right", no_wrap=not left, overflow="fold")
    for row in rows:
        table.add_row(*row)
    _page().print(table)


def _say(text: str) -> None:
    """A paragraph, wrapped at words."""
    _page().print(styled(text))


def _print_cut(start: str, text: str) -> None:
    """One line, cut at the width; a Hangul or Han character takes two columns."""
    page = _page()
    line = styled(start + " ".join(text.split()))
    line.truncate(page.width, overflow="ellipsis")
    page.print(line)


def _page() -> "Console":
    """The width of the terminal; a file or pipe has none."""
    from rich.console import Console

    return Console(width=None if console.is_terminal else PIPE_WIDTH, highlight=False)


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def _two_lines(column: "Column") -> str:
    """The heading over two lines, the lower one used first."""
    return column.heading.replace(" ", "\n", 1) if " " in column.heading else f"\n{column.heading}"


def _p_text(p_value: float) -> str:
    return f"{p_value:.3f}" if p_value >= 0.001 else "<.001"


def _health_text(check: "HealthCheck") -> str:
    return "" if check.value is None else _check_value(check.name, check.value)


def _check_value(name: str, value: float) -> str:
    if name == "dimensions in most documents":
        return f"{value:,.0f}"
    return f"{value:.3f}" if "cosine" in name else f"{value:.1%}"
