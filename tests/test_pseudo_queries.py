"""Laws of pseudo queries: pairs made of text alone, the same for the same seed, in the memory of what is kept."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest

from sembridge.errors import SembridgeError
from sembridge.retrieval.corpus import Document, stream_corpus
from sembridge.training.data import load_training_data
from sembridge.training.pseudo_queries import pseudo_pair, pseudo_pairs

PASSAGES = {
    "en": "The school opens at nine. Its teachers arrive at 8.30 a.m. already. Nobody works on Sundays.",
    "zh": "学校每天早上九点钟开门上课。所有的老师八点半就到学校了！星期天学校里没有人工作。",
    "ar": "تفتح المدرسة أبوابها في التاسعة. هل يصل المعلمون قبل ذلك؟ لا أحد يعمل يوم الأحد.",
    "hi": "स्कूल सुबह नौ बजे खुलता है। शिक्षक साढ़े आठ बजे पहुँच जाते हैं। रविवार को कोई काम नहीं करता।",
}


def document(text: str, number: int = 0, title: str = "") -> Document:
    return Document(id=str(number), title=title, text=text)


def test_a_title_asks_for_its_text() -> None:
    pair = pseudo_pair(document("At nine.", title="When does the school open?"), seed=0)
    assert (pair.query, pair.document) == ("When does the school open?", "At nine.")


@pytest.mark.parametrize("language", PASSAGES)
def test_a_sentence_asks_for_the_sentences_around_it(language: str) -> None:
    """Nine of ten are cut out of their passage, so that equal words do not give the answer away; one of ten stays."""
    pairs = [pseudo_pair(document(PASSAGES[language], number), seed=3) for number in range(400)]
    kept = [pair for pair in pairs if pair.document == PASSAGES[language]]
    assert 20 < len(kept) < 65
    assert len({pair.query for pair in pairs}) == 3
    for pair in pairs:
        assert pair.query in PASSAGES[language]
        assert pair in kept or pair.query not in pair.document


def test_a_sentence_that_comes_again_is_cut_out_everywhere() -> None:
    text = "Read the manual first. He said: Read the manual first. Then the lamp glows in green."
    pairs = [pseudo_pair(document(text, number), seed=0) for number in range(50)]
    repeated = [pair for pair in pairs if pair.query == "Read the manual first." and pair.document != text]
    assert {pair.document for pair in repeated} == {"Then the lamp glows in green."}


def test_one_sentence_is_cut_at_its_clauses_and_a_word_gives_nothing() -> None:
    pair = pseudo_pair(document("The school opens at nine, its teachers arrive before that"), seed=0)
    assert {pair.query, pair.document} == {"The school opens at nine,", "its teachers arrive before that"}
    assert pseudo_pair(document("school"), seed=0) is None
    assert pseudo_pair(document("Yes. No. Well."), seed=0) is None


def numbered(count: int) -> Iterator[Document]:
    return (document(f"This is passage {n}. Nothing else says {n} here.", n) for n in range(count))


def test_the_same_seed_draws_the_same_pairs_in_the_order_of_the_corpus() -> None:
    first = pseudo_pairs(numbered(500), name="numbers", n_pairs=20, seed=1)
    assert first == pseudo_pairs(numbered(500), name="numbers", n_pairs=20, seed=1)
    assert first != pseudo_pairs(numbered(500), name="numbers", n_pairs=20, seed=2)
    places = [int("".join(filter(str.isdigit, pair.query))) for pair in first]
    assert places == sorted(places)
    assert max(places) > 250  # not the head of the corpus


def test_every_document_is_as_likely_to_be_drawn() -> None:
    counts = dict.fromkeys(range(10), 0)
    for seed in range(600):
        for pair in pseudo_pairs(numbered(10), name="numbers", n_pairs=3, seed=seed):
            counts[int("".join(filter(str.isdigit, pair.query)))] += 1
    assert all(130 < count < 230 for count in counts.values())  # 180 expected, standard deviation 11


def test_a_corpus_without_labels_is_training_data(tmp_path: Path) -> None:
    data = load_training_data("corpus:mini/faq-ko", pairs=50, seed=4)
    corpus = {document.title: document.text for document in stream_corpus("mini/faq-ko")}
    assert len(data) == 50
    assert all(corpus[query] == text for query, text in zip(data.queries, data.documents, strict=True))
    path = tmp_path / "passages.txt.gz"
    path.write_bytes(gzip.compress("\n\n".join(PASSAGES.values()).encode()))
    assert len(load_training_data(f"corpus:{path}")) == len(PASSAGES)


def test_long_passages_are_cut_before_they_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    path.write_text("\n".join(" ".join(f"Sentence {n} of many." for n in range(10_000)) for _ in range(3)))
    lengths = [len(text) for text in load_training_data(f"corpus:{path}").documents]
    assert len(lengths) == 3
    assert all(19_900 < length <= 20_000 for length in lengths)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("words.txt", b"school\nhome\n", "title or two sentences"),
        ("empty.txt", b"", "title or two sentences"),
        ("latin.txt", "Die Größe der Schule. Mehr nicht gesagt.".encode("latin-1"), "UTF-8"),
        ("rows.jsonl", b'{"_id": "1"}\n', "text"),
    ],
)
def test_text_that_gives_no_pair_is_refused_in_one_line(
    tmp_path: Path, name: str, content: bytes, expected: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SembridgeError, match=expected) as caught:
        load_training_data(f"corpus:{tmp_path / name}")
    assert "\n" not in str(caught.value)
    with pytest.raises(SembridgeError, match="nowhere"):
        load_training_data(f"corpus:{tmp_path / 'nowhere.txt'}")
