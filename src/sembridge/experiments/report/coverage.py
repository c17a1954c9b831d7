"""Overlap and coverage of a transfer: where its rows come from, by kind and script, and how sure they are."""

from collections.abc import Mapping
from dataclasses import dataclass

from sembridge.experiments.report.folders import LeastCertain, TransferFolder

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
class Quantiles:
    """The spread of the combined rows' best cosine: 5, 25, 50, 75 and 95 % lie below."""

    low: float
    lower: float
    median: float
    upper: float
    high: float


@dataclass(frozen=True)
class Coverage:
    """Where the rows of one transfer come from."""

    transfer: TransferFolder
    kinds: tuple[Bar, ...]
    scripts: tuple[ScriptRow, ...]
    support: tuple[Bar, ...]
    quantiles: Quantiles | None
    least_certain: tuple[LeastCertain, ...]
    sentence: str


def coverage(transfer: TransferFolder) -> Coverage:
    """The coverage in the transfer's own report."""
    facts = transfer.facts
    kinds = bars({kind: facts.counts.get(kind, 0) for kind in KINDS} | facts.counts)
    support = _support(facts.support)
    widest = max(support.values(), default=1)
    return Coverage(
        transfer=transfer,
        kinds=kinds,
        scripts=tuple(
            ScriptRow(script, sum(counts.values()), bars({kind: counts.get(kind, 0) for kind in KINDS} | counts))
            for script, counts in facts.scripts.items()
        ),
        support=tuple(Bar(size, size, count, count / widest) for size, count in support.items()),
        quantiles=_quantiles(facts.similarity),
        least_certain=facts.least_certain[:N_LEAST_CERTAIN],
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


def _quantiles(similarity: Mapping[str, float]) -> Quantiles | None:
    try:
        return Quantiles(*(similarity[f"{level} %"] for level in (5, 25, 50, 75, 95)))
    except KeyError:  # nothing was combined
        return None


def _sentence(kinds: tuple[Bar, ...]) -> str:
    shares = {bar.key: bar.share for bar in kinds}
    copied = sum(shares.get(kind, 0.0) for kind in ("special", "exact", "fuzzy", "byte"))
    return (
        f"{copied:.0%} of the new vocabulary is copied from the English one, "
        f"{shares.get('combined', 0.0):.0%} combined from English tokens by meaning, "
        f"{shares.get('fallback', 0.0):.0%} drawn without meaning."
    )
