"""Questions in one language, documents in another: their data, and the systems that are compared on them.

Beside pivots stand the same questions in the documents' language (the ceiling), a dictionary, the source encoder on
questions that it does not know, and a dense bridge with its fusions.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sembridge.encoders.words import words
from sembridge.errors import SembridgeError
from sembridge.files.word_pairs import translations
from sembridge.retrieval.bm25 import bm25_run
from sembridge.retrieval.comparison import (
    DataReport,
    EvaluationSettings,
    chosen_row,
    dense_evaluation,
    fusion,
    reports_of,
    system_row,
)
from sembridge.retrieval.data import RetrievalData
from sembridge.retrieval.evaluation import Settings, evaluate, evaluate_bm25, evaluate_run
from sembridge.retrieval.measures import DEFAULT_TOP_K
from sembridge.retrieval.runs import Run, write_run
from sembridge.retrieval.system_rows import (
    BM25_WORDS,
    BRIDGE,
    BRIDGE_HYBRID,
    BRIDGE_WEIGHT,
    DICTIONARY,
    ENGLISH,
    OWN_QUESTIONS,
    SystemRow,
)

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer, SparseEncoder


@dataclass(frozen=True)
class AcrossData:
    """Questions of one language against documents of another.

    Attributes:
        data: the test collection.
        own_questions: query id -> the same question in the documents' language, of those that have one; empty where
            they are the same texts.
    """

    data: RetrievalData
    own_questions: Mapping[str, str]

    def sample(self, n_queries: int | None, n_documents: int | None, *, seed: int) -> "AcrossData":
        """As `RetrievalData.sample`."""
        data = self.data.sample(n_queries, n_documents, seed=seed)
        return AcrossData(data, {query: text for query, text in self.own_questions.items() if query in data.queries})


def across(questions: RetrievalData, documents: RetrievalData) -> AcrossData:
    """The questions of one against the documents of the other: parallel data, in which ids mean the same.

    Judgments are those of the questions. A document that only their own corpus has is left out, and a question without
    any relevant document left.

    Raises:
        SembridgeError: no question has a relevant document in the other corpus.
    """
    judged = {
        query: {doc: grade for doc, grade in grades.items() if doc in documents.corpus}
        for query, grades in questions.qrels.items()
    }
    qrels = {query: grades for query, grades in judged.items() if max(grades.values(), default=0) > 0}
    if not qrels:
        raise SembridgeError(
            f"No question of {questions.name} has a relevant document in {documents.name}; expected two folders with "
            "the same ids, one in each language."
        )
    data = replace(
        questions,
        name=f"{questions.name} in {documents.name}",
        corpus=documents.corpus,
        queries={query: text for query, text in questions.queries.items() if query in qrels},
        qrels=qrels,
    )
    own = {query: documents.queries[query] for query in data.queries if query in documents.queries}
    return AcrossData(data, {} if all(data.queries[query] == text for query, text in own.items()) else own)


@dataclass(frozen=True, eq=False)
class AcrossReferences:
    """What pivots are compared with.

    Attributes:
        bridge: a dense encoder, for a row of its own and fusions.
        dictionary: file of English words and their translations, as of `read_dictionary`.
        bridge_weight: of the bridge's standard scores in the fusions; the pivot has the rest.
    """

    bridge: "SentenceTransformer | None" = None
    dictionary: Path | None = None
    bridge_weight: float = BRIDGE_WEIGHT


def compare_across(
    pivots: "Mapping[str, SparseEncoder]",
    source: "SparseEncoder",
    data_sets: Sequence[AcrossData],
    settings: EvaluationSettings | None = None,
    *,
    references: AcrossReferences | None = None,
    baseline: str | None = None,
    run_files: Mapping[str, Mapping[str, Path]] | None = None,
) -> list[DataReport]:
    """The reports of pivots that ask the documents of `source`, tested as by `compare_systems`.

    Args:
        pivots: name of the row -> encoder of a pivot through `source`.
        references: None has no rows but those of the pivots.
        baseline: the row to test against: the first of several pivots, else the lexical row.

    Raises:
        SembridgeError: a baseline that is no row, and what `evaluate` refuses.
    """
    settings = settings or EvaluationSettings()
    by_name = {each.data.name: each for each in data_sets}
    english_of = None if references is None or references.dictionary is None else translations(references.dictionary)

    def rows_of(data: RetrievalData, files: Mapping[str, Path]) -> Iterator[SystemRow]:
        yield from _pivot_rows(pivots, source, data, settings, references, files)
        if references is None:
            return
        own = by_name[data.name].own_questions
        if len(own) == len(data.queries):  # a mean over other questions is no ceiling
            asked = replace(data, queries=dict(own))
            yield system_row(OWN_QUESTIONS, "ceiling", evaluate(source, asked, **vars(settings)))
        yield _lexical_row(data, english_of, settings)
        yield system_row(ENGLISH, "english", evaluate(source, data, **vars(settings)))

    chosen = across_baseline(
        list(pivots), baseline, references=references is not None, dictionary=english_of is not None,
        bridge=references is not None and references.bridge is not None,
    )  # fmt: skip
    return reports_of([each.data for each in data_sets], rows_of, chosen, run_files or {})


def across_baseline(
    pivots: Sequence[str], asked_for: str | None, *, references: bool, dictionary: bool, bridge: bool
) -> str | None:
    """The row that others are tested against; refused as by `baseline_row`."""
    lexical = DICTIONARY if dictionary else BM25_WORDS
    beside = [OWN_QUESTIONS, lexical, ENGLISH] if references else []
    fused = [BRIDGE, *(BRIDGE_HYBRID + name for name in pivots)] if bridge else []
    default = pivots[0] if len(pivots) > 1 else lexical if references else None
    return chosen_row([*pivots, *beside, *fused], asked_for) or default


def _pivot_rows(
    pivots: "Mapping[str, SparseEncoder]",
    source: "SparseEncoder",
    data: RetrievalData,
    settings: EvaluationSettings,
    references: AcrossReferences | None,
    run_files: Mapping[str, Path],
) -> Iterator[SystemRow]:
    """Pivots, the bridge and its fusions with them."""
    sparse: dict[str, Run] = {}
    for name, pivot in pivots.items():
        evaluation = evaluate(source, data, query_encoder=pivot, **vars(settings))
        if name in run_files:
            write_run(evaluation.run, run_files[name], system=name)
        sparse[name] = evaluation.run
        yield system_row(name, "encoder", evaluation)
    if references is None or references.bridge is None:
        return
    dense = dense_evaluation(references.bridge, data, settings)
    yield system_row(BRIDGE, "dense", dense)
    for name, run in sparse.items():
        yield fusion(BRIDGE_HYBRID + name, {BRIDGE: dense.run, name: run}, references.bridge_weight, data, settings)


def translated_run(data: RetrievalData, english_of: Mapping[str, Sequence[str]], *, top_k: int = DEFAULT_TOP_K) -> Run:
    """BM25 over words, every word of a question replaced by all its translations, or left as it is without any."""
    asked = {
        query: " ".join(english for word in words(text) for english in english_of.get(word, [word]))
        for query, text in data.queries.items()
    }
    return bm25_run(replace(data, queries=asked), top_k=top_k)


def _lexical_row(
    data: RetrievalData, english_of: Mapping[str, Sequence[str]] | None, settings: EvaluationSettings
) -> SystemRow:
    """BM25 over words: of the questions as they are, or translated by the dictionary."""
    if english_of is None:
        as_they_are = evaluate_bm25(data, measures=settings.measures, top_k=settings.top_k)
        return system_row(BM25_WORDS, "bm25", as_they_are)
    run = translated_run(data, english_of, top_k=settings.top_k)
    how: Settings = {"terms": "words, translated by a dictionary", "top_k": settings.top_k}
    translated = evaluate_run(run, data, measures=settings.measures, system="bm25", settings=how)
    return system_row(DICTIONARY, "bm25", translated)
