"""The sets that benchmarks bring along: translations of the bundled FAQ, id by id, in the letters of a language."""

from __future__ import annotations

import unicodedata

import pytest
from project import ROOT

from sembridge import load_retrieval_data
from sembridge.encoders.scripts import is_all_english

DATA = ROOT / "benchmarks" / "data"
LETTERS = {"de": "äöüß", "es": "áéíóúñ¿", "tr": "çğıöşüİ", "vi": "ăâđêôơưạảếộ"}


@pytest.mark.parametrize("language", LETTERS)
def test_a_set_is_the_faq_in_its_language(language: str) -> None:
    data, english = load_retrieval_data(DATA / f"faq-{language}"), load_retrieval_data("mini/faq-en", split="test")
    assert (len(data.corpus), len(data.queries)) == (40, 60)
    assert data.qrels == {query: english.qrels[query] for query in data.queries}
    assert data.corpus.keys() <= english.corpus.keys()
    texts = "".join([*data.corpus.values(), *data.queries.values()])
    assert set(LETTERS[language]) <= set(texts)
    assert unicodedata.is_normalized("NFC", texts)
    assert is_all_english(texts)  # Latin letters and common signs, and nothing else


def test_false_friends_have_four_sentences_each_with_the_word() -> None:
    rows = [line.split("\t") for line in (DATA / "false-friends-de.tsv").read_text(encoding="utf-8").splitlines()]
    assert {kind for kind, *_ in rows} == {"true", "false"}
    for _, word, text in rows:
        sentences = text.split(" | ")
        assert len(sentences) == 4
        assert all(word in sentence.lower() for sentence in sentences)
