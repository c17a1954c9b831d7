"""What a transfer folder shows: coverage, its alignment, example texts, and a measurement where there is no other."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sembridge.errors import SembridgeError
from sembridge.experiments.report.explorer import TokenColumns
from sembridge.experiments.report.folders import TransferFolder
from sembridge.experiments.report.standings import answer_of
from sembridge.experiments.results import ResultRow, Results
from sembridge.retrieval.data import RetrievalData
from sembridge.retrieval.sources import load_retrieval_data

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder

    from sembridge.encoders.vocabulary import Vocabulary
    from sembridge.language_transfer.alignment import Alignment, SourcePart
    from sembridge.language_transfer.explanation import Dimension, Explainer
    from sembridge.retrieval.comparison import DataReport

logger = logging.getLogger(__name__)

N_EXAMPLES = 3
N_DIMENSIONS = 14  # of a text
N_SHARED = 10
MAX_EXAMPLE_CHARACTERS = 600


@dataclass(frozen=True)
class Chip:
    """A dimension of a text: its token, its value, the English tokens behind it, and whether the other text has it."""

    token: str
    value: float
    sources: tuple[str, ...]
    is_shared: bool = False


@dataclass(frozen=True)
class SharedChip:
    """A dimension that query and answer share, with its part of the score."""

    token: str
    query_value: float
    document_value: float
    share: float
    sources: tuple[str, ...]


@dataclass(frozen=True)
class ExampleText:
    """A text and its strongest dimensions; `more`: how many others fire."""

    role: str
    text: str
    chips: tuple[Chip, ...]
    more: int


@dataclass(frozen=True)
class Example:
    """A query and its answer with what they share, or a single text."""

    texts: tuple[ExampleText, ...]
    shared: tuple[SharedChip, ...] = ()
    score: float | None = None


@dataclass(frozen=True)
class Examples:
    """The examples of one transfer."""

    name: str
    language: str | None
    source: str
    examples: tuple[Example, ...]


@dataclass(frozen=True, eq=False)
class Measured:
    """A transfer's measurement on one data set."""

    transfer: TransferFolder
    report: "DataReport"
    data: RetrievalData


def read_alignment(transfer: TransferFolder) -> TokenColumns:
    """Every target token with its source tokens.

    Raises:
        SembridgeError: the alignment or the tokenizer cannot be read, or they do not belong together.
    """
    from sembridge.encoders.loading import load_tokenizer
    from sembridge.encoders.vocabulary import read_vocabulary
    from sembridge.language_transfer.alignment import Alignment

    alignment = Alignment.load(transfer.path)
    vocabulary = read_vocabulary(load_tokenizer(transfer.path), n_rows=alignment.weights.n_rows)
    return token_columns(transfer.name, transfer.report.language, vocabulary, alignment)


def token_columns(name: str, language: str | None, vocabulary: "Vocabulary", alignment: "Alignment") -> TokenColumns:
    """The columns of an alignment and the vocabulary of its rows."""
    from sembridge.encoders.scripts import token_script
    from sembridge.encoders.vocabulary import TokenKind
    from sembridge.language_transfer.initialization.rows import RowKind

    weights = alignment.weights
    support = np.diff(weights.crow_indices.numpy())
    rows = np.repeat(np.arange(weights.n_rows), support)
    columns, values = weights.col_indices.numpy(), weights.values.double().numpy()
    order = np.lexsort((columns, -values, rows))
    readable = [text.strip() for text in vocabulary.texts]
    is_text = vocabulary.kinds == TokenKind.TEXT
    return TokenColumns(
        name=name,
        language=language,
        texts=[text or token for text, token in zip(readable, vocabulary.tokens, strict=True)],
        kinds=[RowKind(kind).name.lower() for kind in alignment.kinds.tolist()],
        scripts=[token_script(text) for text in vocabulary.texts],
        continues=is_text & ~vocabulary.starts_word,
        support=support,
        similarity=_best_similarity(alignment, rows),
        part_tokens=[alignment.source_tokens[i] for i in columns[order].tolist()],
        part_weights=values[order],
    )


def _best_similarity(alignment: "Alignment", rows: np.ndarray) -> np.ndarray:
    """(n_target,) the highest cosine of every row; NaN where no part has one."""
    found = np.full(alignment.weights.n_rows, -np.inf)
    cosines = alignment.weights.similarities.double().numpy()
    known = ~np.isnan(cosines)
    np.maximum.at(found, rows[known], cosines[known])
    found[np.isinf(found)] = np.nan
    return found


def bundled_data(transfer: TransferFolder) -> RetrievalData | None:
    """The bundled questions and answers of the transfer's language, or None."""
    if not transfer.report.language:
        return None
    try:
        return load_retrieval_data(f"mini/faq-{transfer.report.language}")
    except SembridgeError:
        return None


def find_examples(
    transfer: TransferFolder, explainer: "Explainer", data: RetrievalData | None, texts: Sequence[str]
) -> Examples | None:
    """The given texts, or else a few questions of `data` with their answers; None without either."""
    if texts:
        given = tuple(Example((_text(explainer, "text", text, query=False),)) for text in texts)
        return Examples(transfer.name, transfer.report.language, "given with --text", given)
    if data is None:
        return None
    queries = sorted(data.queries)
    chosen = [queries[place * len(queries) // N_EXAMPLES] for place in range(min(N_EXAMPLES, len(queries)))]
    examples = tuple(_example(explainer, data.queries[query], answer_of(data, query)) for query in chosen)
    source = f"every {max(1, len(queries) // N_EXAMPLES)}th question of {data.name}, not chosen by their results"
    return Examples(transfer.name, transfer.report.language, source, examples)


def _example(explainer: "Explainer", query: str, answer: str) -> Example:
    shared = explainer.match(query, answer, top=explainer.alignment.weights.n_rows)
    score = sum(dimension.product for dimension in shared)
    ids = frozenset(dimension.token.token_id for dimension in shared)
    return Example(
        texts=(
            _text(explainer, "query", query, query=True, shared=ids),
            _text(explainer, "answer", answer, query=False, shared=ids),
        ),
        shared=tuple(
            SharedChip(
                token=d.token.text.strip() or d.token.token,
                query_value=d.query_value,
                document_value=d.document_value,
                share=d.product / score,
                sources=_sources(d.token.kind, d.token.parts),
            )
            for d in shared[:N_SHARED]
        ),
        score=score,
    )


def _text(
    explainer: "Explainer", role: str, text: str, *, query: bool, shared: frozenset[int] = frozenset()
) -> ExampleText:
    dimensions = explainer.text(text, top=explainer.alignment.weights.n_rows, query=query)
    chips = tuple(_chip(dimension, shared) for dimension in dimensions[:N_DIMENSIONS])
    cut = text if len(text) <= MAX_EXAMPLE_CHARACTERS else f"{text[:MAX_EXAMPLE_CHARACTERS]}…"
    return ExampleText(role, cut, chips, len(dimensions) - len(chips))


def _chip(dimension: "Dimension", shared: frozenset[int]) -> Chip:
    token = dimension.token
    text = token.text.strip() or token.token
    return Chip(text, dimension.value, _sources(token.kind, token.parts), token.token_id in shared)


def _sources(kind: str, parts: "Sequence[SourcePart]") -> tuple[str, ...]:
    """The heaviest English tokens; none of a copied row, whose only part is itself."""
    return tuple(part.token for part in parts[:2]) if kind == "combined" else ()


def measure(
    transfer: TransferFolder,
    encoder: "SparseEncoder",
    english: "SparseEncoder | None",
    data_sets: Sequence[RetrievalData],
) -> list[Measured]:
    """The transferred encoder on every data set beside BM25, fusions and the English encoder."""
    from sembridge.retrieval.comparison import EvaluationSettings, compare_systems

    settings = EvaluationSettings(encode_with="fast")
    reports = compare_systems({transfer.name: encoder}, data_sets, settings, english=english)
    return [Measured(transfer, report, data) for report, data in zip(reports, data_sets, strict=True)]


def load_english(transfer: TransferFolder) -> "SparseEncoder | None":
    """The source encoder, if it lies on this machine."""
    from sembridge.encoders.loading import load_encoder
    from sembridge.retrieval.evaluation_plan import english_encoder

    found = english_encoder([str(transfer.path)])
    if found.folder is None:
        return None
    encoder = load_encoder(found.folder)
    if (why_not := found.refusal(encoder)) is not None:
        logger.warning("No row of the English encoder of %s: %s.", transfer.name, why_not)
        return None
    return encoder


def as_results(measured: Sequence[Measured]) -> Results:
    """The measurements as a grid would write them, so that the same tables and figures show them."""
    rows: dict[tuple[str, str], ResultRow] = {}
    per_query: dict[tuple[str, str], Mapping[str, Mapping[str, float]]] = {}
    versions: dict[str, str] = {}
    methods = _methods([one.transfer for one in measured])
    for one in measured:
        method = methods[one.transfer.path]
        versions |= one.transfer.report.versions
        for system in one.report.rows:
            evaluation, reference = system.evaluation, system.kind in ("bm25", "english")
            name = {"encoder": method, "hybrid": f"hybrid-{method}"}.get(system.kind, system.name)
            source = None if system.kind == "bm25" else one.transfer.report.source_encoder
            stages = dict.fromkeys(("zero-shot", one.transfer.stage)) if reference else {one.transfer.stage: None}
            for stage in stages:
                cell = "/".join((source or "any", one.transfer.language, name, stage))
                row = ResultRow(
                    cell=cell,
                    source_encoder=source,
                    language=one.transfer.language,
                    method=name,
                    stage=stage,
                    data=one.report.data,
                    n_queries=one.report.n_queries,
                    n_documents=one.report.n_documents,
                    evaluation=evaluation.bare(),
                )
                rows.setdefault((cell, row.data), row)
                per_query.setdefault((cell, row.data), evaluation.per_query)
    return Results(rows=tuple(rows.values()), per_query=per_query, versions=versions)


def _methods(transfers: Sequence[TransferFolder]) -> dict[Path, str]:
    """The method of every folder, with the folder's name where two are of the same method, language and stage."""

    def key(transfer: TransferFolder) -> tuple[str, ...]:
        return transfer.method, transfer.language, transfer.stage, transfer.report.source_encoder

    keys = [key(transfer) for transfer in transfers]
    return {
        transfer.path: transfer.method if keys.count(key(transfer)) == 1 else f"{transfer.method}-{transfer.name}"
        for transfer in transfers
    }
