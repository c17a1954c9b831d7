"""Lexical overlap is the share of a query's words in its best relevant document, in every script."""

from __future__ import annotations

import dataclasses

import pytest

from sembridge.errors import SembridgeError
from sembridge.retrieval.data import RetrievalData
from sembridge.retrieval.lexical_overlap import least_overlapping, lexical_overlap


def one_query(query: str, *relevant: str, other: str = "") -> RetrievalData:
    corpus = {f"d{number}": text for number, text in enumerate(relevant)} | {"other": other}
    qrels = {f"d{number}": 1 for number in range(len(relevant))} | {"other": 0}
    return RetrievalData(name="one", language=None, corpus=corpus, queries={"q": query}, qrels={"q": qrels})


@pytest.mark.parametrize(
    ("query", "document", "overlap"),
    [
        pytest.param("What IS the capital of Korea?", "Seoul is the Capital, of Korea.", 5 / 6, id="latin"),
        pytest.param("the the the end", "the start", 1 / 2, id="distinct words"),
        pytest.param("Кто написал «Анну Каренину»?", "Анну Каренину написал Толстой", 3 / 4, id="cyrillic"),
        pytest.param("ما هي عاصمة مصر؟", "القاهرة عاصمة مصر", 2 / 4, id="arabic"),
        pytest.param("भारत की राजधानी क्या है?", "नई दिल्ली भारत की राजधानी है।", 4 / 5, id="devanagari"),
        pytest.param("서울의 수도는 어디", "수도는 서울이다", 1 / 3, id="hangul: a particle makes another word"),
        pytest.param("中国首都在哪", "北京是中国的首都。", 2 / 5, id="han: 中国 国首 首都 都在 在哪"),
        pytest.param("東京タワー", "タワーは東京", 3 / 4, id="kana: 東京 京タ タワ ワー"),
        pytest.param("กรุงเทพ", "เทพ", 2 / 6, id="thai"),
        pytest.param("Python语言", "用python写语言", 1.0, id="two scripts in one word"),
        pytest.param("水，火", "水库", 1 / 2, id="a lone character occurs in a longer stretch"),
        pytest.param("capital", "수도", 0.0, id="no shared word"),
        pytest.param("?!", "?!", 0.0, id="no word at all"),
    ],
)
def test_overlap_is_the_share_of_distinct_terms_in_the_document(query: str, document: str, overlap: float) -> None:
    assert lexical_overlap(one_query(query, document)) == {"q": pytest.approx(overlap, abs=1e-12)}


@pytest.mark.parametrize(
    "text", ["The capital of Korea", "भारत की राजधानी", "中国首都在哪 水", "กรุงเทพ 2 มหานคร", "서울의 강"]
)
def test_query_equal_to_its_document_overlaps_fully(text: str) -> None:
    assert lexical_overlap(one_query(text, text)) == {"q": 1.0}


def test_best_relevant_document_counts_alone_and_others_never() -> None:
    """Half of the words in one document and the other half in another make a half, not the whole."""
    assert lexical_overlap(one_query("a b c d", "a b", "c d", "a", other="a b c d")) == {"q": 0.5}


def four_queries() -> RetrievalData:
    return RetrievalData(
        name="four",
        language="en",
        corpus={"d": "one two three four", "e": "unjudged"},
        queries={"q4": "one two", "q2": "one none", "q1": "one nothing", "q3": "nothing none", "q0": "no relevant"},
        qrels={query: {"d": 1} for query in ("q4", "q2", "q1", "q3")} | {"q0": {"d": 0}},
    )


def test_query_without_relevant_document_has_no_overlap() -> None:
    assert lexical_overlap(four_queries()) == {"q4": 1.0, "q2": 0.5, "q1": 0.5, "q3": 0.0}


@pytest.mark.parametrize(
    ("share", "kept"),
    [(1 / 3, ["q3"]), (0.5, ["q1", "q3"]), (0.75, ["q2", "q1", "q3"]), (0.01, ["q3"]), (1, ["q4", "q2", "q1", "q3"])],
)
def test_least_overlapping_queries_keep_their_order_and_ties_go_to_the_lower_id(share: float, kept: list[str]) -> None:
    data = four_queries()
    least = least_overlapping(data, share)
    assert list(least.queries) == list(least.qrels) == kept
    assert (least.corpus, least.language) == (data.corpus, "en")
    assert least.name == f"four (least overlapping {len(kept)} of 5 queries)"
    assert all(least.queries[query] == data.queries[query] for query in kept)


def test_a_third_is_a_third() -> None:
    queries = {f"q{number}": "word " * number + str(number) for number in range(9)}
    data = dataclasses.replace(four_queries(), queries=queries, qrels={query: {"d": 1} for query in queries})
    assert list(least_overlapping(data).queries) == ["q0", "q1", "q2"]


@pytest.mark.parametrize("share", [0, -0.1, 1.5, float("nan")])
def test_share_outside_of_its_range_is_refused(share: float) -> None:
    with pytest.raises(SembridgeError, match="above 0 and at most 1"):
        least_overlapping(four_queries(), share)
