"""Verdicts: what is said of an encoder beside BM25, English, the first encoder and the fusion, and how surely."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from sembridge.encoders.model_card import Score, with_scores
from sembridge.retrieval.evaluation import Evaluation
from sembridge.retrieval.significance import holm
from sembridge.retrieval.system_rows import Kind, SystemRow
from sembridge.retrieval.verdicts import Contest, verdicts


def row(name: str, kind: Kind, values: list[float]) -> SystemRow:
    per_query = {"RR@10": {f"q{i}": value for i, value in enumerate(values)}}
    measures = {"RR@10": sum(values) / len(values)}
    return SystemRow(name, kind, Evaluation("set", "de", kind, len(values), 9, per_query=per_query, measures=measures))


LOW, MIDDLE, HIGH = [0.1] * 20, [0.4] * 20, [0.5] * 20
MIXED = [0.3, 0.5] * 10  # as good as MIDDLE, query by query otherwise


def test_the_sentence_says_what_is_shown_and_what_is_not() -> None:
    rows = [
        row("splade-de", "encoder", MIDDLE), row("bm25-tokens", "bm25", LOW), row("bm25-words", "bm25", HIGH),
        row("english", "english", MIXED), row("hybrid-splade-de", "hybrid", [0.9] * 20),
    ]  # fmt: skip
    ((verdict,),) = verdicts([rows])
    assert verdict.sentence == (
        "splade-de: worse than BM25 (-.100, p<.001), not told apart from English (+.000, p=1.000); "
        "fused with BM25: better than BM25 alone (+.400, p<.001)."
    )
    assert [contest.baseline for contest in verdict.contests] == ["bm25-words", "english", "bm25-words"]


def test_a_fusion_has_to_beat_the_better_of_the_two_and_a_second_encoder_the_first() -> None:
    rows = [row("a", "encoder", LOW), row("b", "encoder", HIGH), row("bm25-words", "bm25", MIDDLE),
            row("hybrid-a", "hybrid", MIDDLE), row("hybrid-b", "hybrid", MIDDLE)]  # fmt: skip
    ((a, b),) = verdicts([rows])
    assert "fused with BM25: not told apart from BM25 alone" in a.text
    assert (
        "better than BM25 (+.100, p<.001), better than a (+.400, p<.001); fused with BM25: worse than b alone" in b.text
    )


def test_p_values_are_corrected_over_all_verdicts_of_a_call() -> None:
    tables = [
        [row("a", "encoder", [0.1, 0.9, 0.4, 0.8, 0.3, 0.5]), row("bm25-words", "bm25", values)]
        for values in ([0.2, 0.1, 0.3, 0.1, 0.1, 0.2], [0.4, 0.9, 0.4, 0.1, 0.8, 0.5])
    ]
    contests: list[Contest] = [contest for (verdict,) in verdicts(tables) for contest in verdict.contests]
    assert [c.result.p_holm for c in contests] == holm([c.result.p_permutation for c in contests])
    assert contests[0].result.p_holm == 2 * contests[0].result.p_permutation


def test_an_encoder_alone_has_no_verdict() -> None:
    assert verdicts([[row("a", "encoder", LOW)]]) == [()]


def test_a_card_keeps_the_verdicts_on_other_data_and_replaces_that_on_the_same() -> None:
    card = with_scores("# Model\n", [Score("a", "test", "AP", 0.5)], {"a": "by AP, worse than BM25."})
    card = with_scores(card, [Score("b", "test", "AP", 0.5)], {"b": "by AP, better than BM25."})
    card = with_scores(card, [Score("a", "test", "AP", 0.6)], {"a": "by AP, better than English."})
    assert re.findall(r"^- .*$", card.partition("## Quality")[2], re.MULTILINE) == [
        "- **b**: by AP, better than BM25.",
        "- **a**: by AP, better than English.",
    ]


@pytest.mark.parametrize(("p", "said"), [(0.0499, "p=.050"), (0.0004, "p<.001"), (1.0, "p=1.000")])
def test_p_values_are_said_as_papers_do(p: float, said: str) -> None:
    ((verdict,),) = verdicts([[row("a", "encoder", LOW), row("bm25-words", "bm25", HIGH)]])
    contest = verdict.contests[0]
    assert said in replace(contest, result=replace(contest.result, p_holm=p)).text
