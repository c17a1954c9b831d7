"""What an evaluation says to someone who has to decide: a sentence for every encoder.

Worth deploying? An encoder is set against BM25, against the untouched English encoder, against the bridge where it
searches by itself, and against the first encoder of several; its fusion with BM25 against the better of the two that
are fused. All by paired permutation tests.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from sembridge.retrieval.significance import SIGNIFICANT, Comparison, compare, holm
from sembridge.retrieval.system_rows import DICTIONARY, HYBRID, SystemRow


@dataclass(frozen=True)
class Contest:
    """A row against another on the verdict's measure.

    Attributes:
        system, baseline: names of rows.
        against: what the sentence calls the baseline.
        result: `p_holm` is corrected over all verdicts of the same call, those on other data included.
    """

    system: str
    baseline: str
    against: str
    result: Comparison

    @property
    def outcome(self) -> Literal["better than", "worse than", "not told apart from"]:
        """What the corrected p-value allows to say at the level of .05."""
        if self.result.p_holm >= SIGNIFICANT:
            return "not told apart from"
        return "better than" if self.result.difference > 0 else "worse than"

    @property
    def text(self) -> str:
        """The outcome with the difference and its p-value: "worse than BM25 (-.160, p<.001)"."""
        difference = f"{self.result.difference:+.3f}".replace("0.", ".", 1)
        p = f"p={self.result.p_holm:.3f}".replace("0.", ".", 1) if self.result.p_holm >= 0.001 else "p<.001"
        return f"{self.outcome} {self.against} ({difference}, {p})"

    def to_dict(self) -> dict[str, object]:
        """The fields as JSON-able values."""
        return {
            "system": self.system,
            "baseline": self.baseline,
            "outcome": self.outcome.rsplit(" ", 1)[0],
            "difference": self.result.difference,
            "p_permutation": self.result.p_permutation,
            "p_holm": self.result.p_holm,
        }


@dataclass(frozen=True)
class Verdict:
    """One encoder on one data set, by the first measure."""

    encoder: str
    measure: str
    contests: tuple[Contest, ...]

    @property
    def text(self) -> str:
        """What is said of the encoder, without its name."""
        alone = [contest.text for contest in self.contests if contest.system == self.encoder]
        fused = [f"fused with BM25: {contest.text}" for contest in self.contests if contest.system != self.encoder]
        return "; ".join([", ".join(alone), *fused]) + "."

    @property
    def sentence(self) -> str:
        """The verdict in one sentence."""
        return f"{self.encoder}: {self.text}"

    def to_dict(self) -> dict[str, object]:
        """The fields and the sentence as JSON-able values."""
        contests = [contest.to_dict() for contest in self.contests]
        return {"encoder": self.encoder, "measure": self.measure, "sentence": self.sentence, "contests": contests}


def verdicts(tables: Sequence[Sequence[SystemRow]]) -> list[tuple[Verdict, ...]]:
    """The verdicts on every data set's rows, p-values corrected over all of them; none where there is nothing beside.

    Two rows of BM25 count as one, the better one: that favours BM25.
    """
    found = [[(row, list(_contests(row, rows))) for row in rows if row.kind == "encoder"] for rows in tables]
    made = [contest for table in found for _, contests in table for contest in contests]
    corrected = iter(holm([contest.result.p_permutation for contest in made]))

    def judged(row: SystemRow, contests: Sequence[Contest]) -> Verdict:
        tested = tuple(replace(one, result=replace(one.result, p_holm=next(corrected))) for one in contests)
        return Verdict(row.name, _measure(row), tested)

    return [tuple(judged(row, contests) for row, contests in table if contests) for table in found]


def _contests(row: SystemRow, rows: Sequence[SystemRow]) -> Iterator[Contest]:
    bm25 = max((other for other in rows if other.kind == "bm25"), key=_mean, default=None)
    first = next(other for other in rows if other.kind == "encoder")
    if bm25 is not None:
        yield _contest(row, bm25, "the dictionary" if bm25.name == DICTIONARY else "BM25")
    for english in (other for other in rows if other.kind == "english"):
        yield _contest(row, english, "English")
    for bridge in (other for other in rows if other.kind == "dense"):
        yield _contest(row, bridge, "the bridge")
    if first is not row:
        yield _contest(row, first, first.name)
    fused = next((other for other in rows if other.name == HYBRID + row.name), None)
    if fused is not None and bm25 is not None:
        better, said = (row, row.name) if _mean(row) > _mean(bm25) else (bm25, "BM25")
        yield _contest(fused, better, f"{said} alone")


def _contest(system: SystemRow, baseline: SystemRow, against: str) -> Contest:
    measure = _measure(system)
    own, theirs = ({measure: row.evaluation.per_query[measure]} for row in (system, baseline))
    return Contest(system.name, baseline.name, against, compare(theirs, own, n_changes=0)[measure])


def _measure(row: SystemRow) -> str:
    return next(iter(row.evaluation.measures))


def _mean(row: SystemRow) -> float:
    return row.evaluation.measures[_measure(row)]
