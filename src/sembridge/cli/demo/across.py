"""The English FAQ asked in another language: what the alignment of a transfer is good for besides the transfer."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sembridge.encoders.vectors import encode_corpus
from sembridge.language_transfer.pivot import Pivot
from sembridge.retrieval.across import across
from sembridge.retrieval.evaluation import evaluate
from sembridge.retrieval.runs import ranked
from sembridge.retrieval.sources import load_retrieval_data

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder

    from sembridge.language_transfer.folder import LanguageTransfer

N_WORDS = 4


@dataclass(frozen=True)
class AcrossAnswer:
    """A question and the English entry that it finds.

    Attributes:
        english: the question in English.
        answer: the entry's text.
        words: what was asked, and the English token that it became, those that count most first.
        n_right: questions of `n_questions` whose first entry is right.
    """

    text: str
    english: str
    answer: str
    right: bool
    words: list[tuple[str, str]]
    n_right: int
    n_questions: int


def ask_english(source: "SparseEncoder", moved: "LanguageTransfer", language: str) -> AcrossAnswer:
    """The first question of the FAQ in `language`, by its id, that finds its English entry first."""
    both = across(load_retrieval_data(f"mini/faq-{language}"), load_retrieval_data("mini/faq-en"))
    data, pivot = both.data, Pivot.of_transfer(source, moved)
    run = evaluate(source, data, measures=["nDCG@10"], encode_with="fast", query_encoder=pivot.encoder).run
    first = {query: next(iter(ranked(found)), "") for query, found in sorted(run.items())}
    right = [query for query, document in first.items() if data.qrels[query].get(document, 0) > 0]
    query = next(iter(right), next(iter(first)))
    answer = data.corpus.get(first[query], "")
    return AcrossAnswer(
        data.queries[query], both.own_questions[query], answer, query in right,
        _words(source, pivot, data.queries[query], answer), len(right), len(first),
    )  # fmt: skip


def _words(source: "SparseEncoder", pivot: Pivot, question: str, answer: str) -> list[tuple[str, str]]:
    products = pivot.encode_query([question]).multiply(encode_corpus(source, [answer or " "])).tocoo()
    strongest = sorted(zip(-products.data, products.col, strict=True))[:N_WORDS]
    origins, names = pivot.origins(question), source.tokenizer.convert_ids_to_tokens
    return [(origins.get(int(d), ""), names(int(d))) for _, d in strongest]
