"""What answers a question on the demo page: the English encoder moved in several ways, itself, and BM25.

All of them are one thing here, vectors of the documents and a way to make a vector of the question, so that a score is
a sum over shared terms in every column. They are made when first asked for, and the last few are kept.
"""

from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_array

from sembridge.cli.demo.walk import BRIDGE, SOURCE
from sembridge.deployment.search.explanation import ExplainedTerm, TermExplainer
from sembridge.deployment.search.protocol import Term, rows, shared_terms
from sembridge.encoders.loading import load_bridge, load_encoder, load_tokenizer
from sembridge.encoders.vectors import encode_corpus, encode_queries
from sembridge.encoders.vocabulary import read_vocabulary
from sembridge.errors import SembridgeError
from sembridge.language_transfer.alignment import Alignment
from sembridge.language_transfer.assembly import transfer
from sembridge.language_transfer.recipe import TransferRecipe
from sembridge.retrieval.bm25 import Bm25Index
from sembridge.retrieval.corpus import Document, stream_corpus
from sembridge.retrieval.runs import exact_search
from sembridge.retrieval.sources import load_retrieval_data

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder
    from transformers import PreTrainedTokenizerBase

TOP_K = 5
N_QUERY_TERMS = 12
N_KEPT_SYSTEMS = 8  # about 70 MB each
# Of as many topics, and not chosen by result; the last two share hardly a word with their answer.
EXAMPLES = ("devices-04-a", "health-03-a", "money-05-a", "pets-04-a", "weather-08-b", "travel-03-b")


@dataclass(frozen=True)
class Way:
    """One way to answer: what its column is called and what is said below, and the recipe of its transfer if any."""

    name: str
    about: str
    recipe: dict[str, object] | None = None


SEMBRIDGE, ENGLISH, BM25 = "sembridge", "english", "bm25"
WAYS = {
    SEMBRIDGE: Way("SemBridge", "Every new row is a few English rows of near meaning, as far as the bridge is sure.",
                   {}),
    "paper": Way("SemBridge as published", "Preset paper: the bridge is trusted for every row, nothing is calibrated.",
                 {"preset": "paper"}),
    "multivariate": Way("Multivariate Gaussian", "New rows are drawn: as large and as correlated as English ones.",
                        {"method": "multivariate"}),
    "univariate": Way("Univariate Gaussian", "New rows are drawn, every dimension by itself.",
                      {"method": "univariate"}),
    "mean": Way("Mean", "Every new row is the mean of all English rows: only copied tokens tell texts apart.",
                {"method": "mean"}),
    "random": Way("Random", "New rows are drawn as before a pre-training.", {"method": "random"}),
    ENGLISH: Way("English encoder", "Not moved at all: it cuts the text with its English vocabulary."),
    BM25: Way("BM25", "No model: it counts the tokens that question and answer share, rare ones more."),
}  # fmt: skip
OTHERS = tuple(way for way in WAYS if way not in (SEMBRIDGE, BM25))
"""What can stand beside SemBridge and BM25."""
FIRST_OTHER = "random"


@dataclass(frozen=True)
class DemoCollection:
    """What is searched in a language.

    Attributes:
        examples: question -> the id of its answer.
        glosses: document id -> its title in English, for readers who do not read the language.
        example_glosses: question -> the same in English.
    """

    language: str
    documents: tuple[Document, ...]
    examples: dict[str, str]
    glosses: dict[str, str]
    example_glosses: dict[str, str]


@dataclass(frozen=True)
class Answer:
    """A document that was found; the products of its terms add up to its score."""

    document: Document
    score: float
    terms: tuple[ExplainedTerm, ...]


@dataclass(frozen=True)
class Result:
    """What a system makes of a question: its strongest terms, and the best answers."""

    query_terms: tuple[ExplainedTerm, ...]
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Step:
    """What is being done while a system is made, and the share that is done already."""

    share: float
    text: str


@dataclass(frozen=True, eq=False)
class System:
    """Documents as vectors, and how a question becomes one.

    Attributes:
        vectors: (n_documents, n_dims), rows in the order of `documents`.
        encode: a question -> (1, n_dims).
    """

    documents: Sequence[Document]
    vectors: csr_array
    encode: Callable[[str], csr_array]
    explainer: TermExplainer

    def search(self, question: str, *, top_k: int = TOP_K) -> Result:
        """The best answers to a question; none where they share no term with it."""
        vector = self.encode(question)
        row_of = {document.id: row for row, document in enumerate(self.documents)}
        run = exact_search(vector, self.vectors, ["question"], list(row_of), top_k=top_k)["question"]
        (query,) = rows(vector)
        answers = [
            Answer(self.documents[row_of[i]], score, self._explained(shared_terms(query, found)))
            for (i, score), found in zip(run.items(), rows(self.vectors[[row_of[i] for i in run]]), strict=True)
        ]
        strongest = np.argsort(-query.values, kind="stable")[:N_QUERY_TERMS]
        of_question = [Term(int(query.indices[i]), float(query.values[i]), 0.0) for i in strongest]
        return Result(self._explained(of_question), tuple(answers))

    def _explained(self, terms: Sequence[Term]) -> tuple[ExplainedTerm, ...]:
        return tuple(self.explainer.explain(terms))


def bundled_collection(language: str) -> DemoCollection:
    """The bundled questions and answers of a language, with their English titles."""
    data, english = load_retrieval_data(f"mini/faq-{language}"), load_retrieval_data("mini/faq-en")
    return DemoCollection(
        language,
        tuple(stream_corpus(f"mini/faq-{language}")),
        {data.queries[query]: max(data.qrels[query], key=data.qrels[query].__getitem__) for query in EXAMPLES},
        {document.id: document.title for document in stream_corpus("mini/faq-en")},
        {data.queries[query]: english.queries[query] for query in EXAMPLES},
    )


class Workshop:
    """Makes systems when first asked for, and keeps the last few.

    No lock: the page's queue asks for one at a time. One made twice, after a question was given up, is the same one.
    """

    def __init__(self, collection: Callable[[str], DemoCollection] = bundled_collection) -> None:
        self.collection = cache(collection)
        self._systems: OrderedDict[tuple[str, str], System] = OrderedDict()
        self._source = cache(partial(load_encoder, SOURCE))
        self._bridge = cache(partial(load_bridge, BRIDGE))

    def prepare(self, language: str, way: str) -> Iterator[Step]:
        """The steps that are left until `system` has it: none where it is kept.

        Raises:
            SembridgeError: an unknown way.
        """
        if way not in WAYS:
            raise SembridgeError(f"{way!r} is none of {', '.join(WAYS)}.")
        if (language, way) not in self._systems:
            self._systems[language, way] = yield from self._make(language, way)
        self._systems.move_to_end((language, way))
        while len(self._systems) > N_KEPT_SYSTEMS:
            self._systems.popitem(last=False)

    def system(self, language: str, way: str) -> System:
        """The system; made now if it was not prepared."""
        for _ in self.prepare(language, way):
            pass
        return self._systems[language, way]

    def _make(self, language: str, way: str) -> Generator[Step, None, System]:
        documents = self.collection(language).documents
        if way == BM25:
            yield Step(0.5, "Counting words")
            return _bm25(documents, load_tokenizer(f"mini/tokenizer-{language}"))
        yield Step(0.1, "Reading the English encoder")
        encoder, alignment = self._source(), None
        recipe = WAYS[way].recipe
        if recipe is not None:
            yield Step(0.2, "Building rows for the new vocabulary")
            tokenizer = load_tokenizer(f"mini/tokenizer-{language}")
            bridge = self._bridge() if recipe.get("method", SEMBRIDGE) == SEMBRIDGE else None
            made = transfer(encoder, tokenizer, bridge, recipe=TransferRecipe.build(recipe))
            encoder, alignment = made.encoder, made.alignment
        yield Step(0.5, f"Encoding {len(documents)} answers")
        return _sparse(documents, encoder, alignment)


def _sparse(documents: Sequence[Document], encoder: "SparseEncoder", alignment: Alignment | None) -> System:
    vectors = encode_corpus(encoder, [document.content for document in documents], encode_with="fast")

    def encode(question: str) -> csr_array:
        return encode_queries(encoder, [question])

    vocabulary = read_vocabulary(encoder.tokenizer, n_rows=vectors.shape[1])
    return System(documents, vectors, encode, TermExplainer(vocabulary, alignment))


def _bm25(documents: Sequence[Document], tokenizer: "PreTrainedTokenizerBase") -> System:
    """BM25 over the target tokenizer's tokens, whose ids become the dimensions."""
    index = Bm25Index.of([document.content for document in documents], tokenizer)
    vocabulary = read_vocabulary(tokenizer)
    token_ids = np.array(list(index.term_ids), dtype=np.int32)

    def over_tokens(vectors: csr_array) -> csr_array:
        return csr_array(
            (vectors.data, token_ids[vectors.indices], vectors.indptr), shape=(vectors.shape[0], len(vocabulary))
        )

    def encode(question: str) -> csr_array:
        return over_tokens(index.encode_queries([question]))

    return System(documents, over_tokens(index.documents), encode, TermExplainer(vocabulary, None))
