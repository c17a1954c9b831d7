"""Overlap and coverage of a transfer: where its rows come from, by kind and script, and how sure they are."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sembridge.experiments.report.folders import TransferFolder
from sembridge.language_transfer.folder import LeastCertainToken, TransferReport

KINDS = {  # RowKind's names, in words for a reader who has not read the method
    "special": "special token",
    "exact": "copied: same spelling",
    "fuzzy": "copied: near spelling",
    "byte": "copied: same byte",
    "combined": "combined from English tokens",
    "fallback": "drawn: nothing similar enough",
    "inert": "never produced by a text",
}
N_LEAST_CERTAIN = 20
MAX_SUPPORT = 12  # wider supports are counted together


@dataclass(frozen=True)
class Bar:
    """A labelled count and the length of its bar: its share of the whole, of a support that of the most frequent."""

    key: str
    label: str
    count: int
    share: float


@dataclass(frozen=True)
class ScriptRow:
    """The rows of one script by kind."""

    script: str
    count: int
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Spread:
    """A figure of the combined rows between 0 and 1: share of the rows below -> value."""

    title: str
    figure: str
    levels: Mapping[str, float]

    @property
    def drawn(self) -> tuple[float, ...]:
        """The ends of the line, the ends of the box, the median."""
        return tuple(self.levels[level] for level in _DRAWN)


_DRAWN = ("5 %", "95 %", "25 %", "75 %", "50 %")


@dataclass(frozen=True)
class Coverage:
    """Where the rows of one transfer come from.

    Attributes:
        spreads: of similarity and confidence; none of what the transfer did not tell.
        calibration: what was changed after the rows were made, in sentences.
    """

    transfer: TransferFolder
    kinds: tuple[Bar, ...]
    scripts: tuple[ScriptRow, ...]
    support: tuple[Bar, ...]
    spreads: tuple[Spread, ...]
    calibration: tuple[str, ...]
    least_certain: tuple[LeastCertainToken, ...]
    sentence: str


def coverage(transfer: TransferFolder) -> Coverage:
    """The coverage in the transfer's own report."""
    report = transfer.report
    kinds = bars({kind: report.counts.get(kind, 0) for kind in KINDS} | report.counts)
    support = _support(report.support)
    widest = max(support.values(), default=1)
    return Coverage(
        transfer=transfer,
        kinds=kinds,
        scripts=tuple(
            ScriptRow(script, sum(counts.values()), bars({kind: counts.get(kind, 0) for kind in KINDS} | counts))
            for script, counts in report.scripts.items()
        ),
        support=tuple(Bar(size, size, count, count / widest) for size, count in support.items()),
        spreads=tuple(_spreads(report)),
        calibration=tuple(_calibration(report)),
        least_certain=tuple(report.least_certain[:N_LEAST_CERTAIN]),
        sentence=_sentence(kinds),
    )


def bars(counts: Mapping[str, int]) -> tuple[Bar, ...]:
    """The counts that are not zero, with their shares; kinds in the order of `KINDS`."""
    total = sum(counts.values()) or 1
    return tuple(Bar(kind, KINDS.get(kind, kind), count, count / total) for kind, count in counts.items() if count)


def _support(support: Mapping[int, int]) -> dict[str, int]:
    """Rows by their number of source tokens, those of `MAX_SUPPORT` and more in one."""
    counts = {str(size): count for size, count in sorted(support.items()) if size < MAX_SUPPORT}
    if wide := sum(count for size, count in support.items() if size >= MAX_SUPPORT):
        counts[f"{MAX_SUPPORT}+"] = wide
    return counts


def _spreads(report: TransferReport) -> Iterator[Spread]:
    told = (
        ("How near: best similarity of combined rows", "similarity", report.similarity),
        ("How sure: confidence in combined rows", "confidence", report.confidence),
    )
    for title, figure, quantiles in told:
        if quantiles.keys() >= set(_DRAWN):  # something was combined, and evidence asked for
            yield Spread(title, figure, quantiles)


def _calibration(report: TransferReport) -> Iterator[str]:
    if report.gain != 1:
        yield (
            f"Gain {report.gain:.2f}: by this factor the new rows' spread about their mean was changed, so that a text "
            "has about as many active dims as in English."
        )
    if report.n_lowered:
        biases, dimensions = ("bias", "its dimension") if report.n_lowered == 1 else ("biases", "their dimensions")
        yield f"{report.n_lowered:,} lowered {biases}: {dimensions} fired in too many texts to tell them apart."


def _sentence(kinds: tuple[Bar, ...]) -> str:
    shares = {bar.key: bar.share for bar in kinds}
    copied = sum(shares.get(kind, 0.0) for kind in ("special", "exact", "fuzzy", "byte"))
    return (
        f"{copied:.0%} of the new vocabulary is copied from the English one, "
        f"{shares.get('combined', 0.0):.0%} combined from English tokens by meaning, "
        f"{shares.get('fallback', 0.0):.0%} drawn without meaning."
    )
