"""Evaluation: measures of a sparse encoder, BM25 or a fusion on retrieval data, with what its vectors cost.

documents = encode_corpus(encoder, texts)        # (n_documents, n_dims) CSR
run = exact_search(queries, documents, ...)      # see runs.py for the order of ties
per_query = measure_run(run, data, measures)     # nDCG@10, R@100, RR@10 as in ir-measures
"""

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from scipy.sparse import csr_array

from sembridge.encoders.settings import BATCH_SIZE
from sembridge.encoders.stated import Task, stated_settings
from sembridge.encoders.vectors import EncodeWith, TextEncoder, flops
from sembridge.encoders.vocabulary import Vocabulary, read_vocabulary
from sembridge.errors import SembridgeError
from sembridge.retrieval.bm25 import BM25_B, BM25_K1, BM25_METHOD, bm25_index
from sembridge.retrieval.columns import EvaluationRow
from sembridge.retrieval.data import RetrievalData
from sembridge.retrieval.health import HealthReport, health
from sembridge.retrieval.measures import DEFAULT_MEASURES, DEFAULT_TOP_K, parse_measures
from sembridge.retrieval.runs import Run, ranked, search_collection, without_own_documents
from sembridge.retrieval.vector_cache import CorpusCache, EncodedTexts, timed

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)
Settings = dict[str, str | int | float | None]
BYTES_PER_POSTING = 8  # document number and weight, four bytes each


@dataclass(frozen=True, eq=False)
class Evaluation(EvaluationRow):
    """The result of one system on one retrieval data set: a row of a table, and what is behind it.

    Attributes:
        system: what was evaluated ("sparse encoder", "bm25", "dense encoder", "hybrid").
        measures: measure -> mean over all queries.
        per_query: measure -> query id -> value; what `compare` takes.
        query_active_dims, document_active_dims: mean number of non-zero dimensions; None without vectors.
        flops: the FLOPS statistic; None without vectors.
        postings: entries of an inverted index over the corpus; None without vectors.
        bytes_per_document: of an index without compression: 8 a posting (document number and weight), 4 a dimension of
            a dense vector; None for a fusion.
        queries_per_second, documents_per_second: encoding speed, that of the run which encoded them where the vectors
            were read from a cache; of BM25, queries cut into terms; None where nothing was encoded.
        health: the health report; None without vectors.
        settings: what a reader needs to get the same numbers again, with versions.
        run: the documents returned, for fusion; not part of `to_dict`.
    """

    data: str
    language: str | None
    system: str
    n_queries: int
    n_documents: int
    per_query: dict[str, dict[str, float]] = field(repr=False)
    health: HealthReport | None = field(default=None, repr=False)
    settings: Settings = field(default_factory=dict)
    run: Run = field(default_factory=dict, repr=False)

    def to_dict(self, *, per_query: bool = True) -> dict[str, object]:
        """The fields but the run as JSON-able values; `per_query=False` leaves the single queries out."""
        return {
            "data": self.data,
            "language": self.language,
            "system": self.system,
            "n_queries": self.n_queries,
            "n_documents": self.n_documents,
            "measures": self.measures,
            **({"per_query": self.per_query} if per_query else {}),
            **self.figures(),
            "health": self.health.to_dict() if self.health else None,
            "settings": self.settings,
        }


def evaluate(
    encoder: "SparseEncoder",
    data: RetrievalData,
    *,
    measures: Sequence[str] = DEFAULT_MEASURES,
    top_k: int = DEFAULT_TOP_K,
    batch_size: int = BATCH_SIZE,
    max_active_dims: int | None = None,
    encode_with: EncodeWith = "auto",
    cache_folder: Path | None = None,
    progress: bool = False,
    query_encoder: "SparseEncoder | None" = None,
) -> Evaluation:
    """The evaluation of a sparse encoder: every query against the whole corpus by exact search.

    Args:
        top_k: documents a query in the run.
        max_active_dims: keeps that many largest weights of every query and document; None is the encoder's own setting.
        encode_with: how texts are encoded, as in `encode_corpus`; `settings["encode_with"]` tells what auto came to.
        cache_folder: where vectors are kept, so that the same encoder, settings and texts are encoded once; None keeps
            nothing. `settings["vectors"]` tells "cached" from "encoded".
        query_encoder: reads the queries in place of `encoder`, and writes over its dimensions: a pivot's.

    Raises:
        SembridgeError: an unknown measure, a measure that looks deeper than `top_k`, or weights that are not finite.
    """
    parse_measures(measures, top_k)  # before minutes of encoding

    def encoded(task: Task, reader: "SparseEncoder", texts: Mapping[str, str]) -> tuple[EncodedTexts, str]:
        """The vectors of one side, and by which way; kept under the name of that way, whoever chose it."""
        encode = TextEncoder(reader, task, encode_with, batch_size=batch_size, max_active_dims=max_active_dims)
        way, side = encode.way if encode_with == "auto" else encode_with, "queries" if task == "query" else "documents"
        call = partial(encode, list(texts.values()), f"Encoding {side}" if progress else None)
        cache, options = CorpusCache.of(reader, cache_folder), {"max_active_dims": max_active_dims, "encode_with": way}
        return (timed(call) if cache is None else cache.encoded(side, list(texts.values()), options, call)), way

    documents, way = encoded("document", encoder, data.corpus)
    queries, _ = encoded("query", query_encoder or encoder, data.queries)
    n_dims = documents.vectors.shape[1]
    asked = queries.vectors if query_encoder is None else queries.vectors[:, :n_dims]
    evaluation = evaluate_vectors(
        asked, documents.vectors, data, measures=measures, top_k=top_k,
        vocabulary=_vocabulary_of_dimensions(encoder, n_dims),
    )  # fmt: skip
    return replace(
        evaluation,
        queries_per_second=len(data.queries) / queries.seconds,
        documents_per_second=len(data.corpus) / documents.seconds,
        settings=evaluation.settings
        | _encoder_settings(encoder, batch_size, max_active_dims)
        | {"encode_with": way, "vectors": "cached" if documents.cached else "encoded"},
    )


def evaluate_vectors(
    query_vectors: csr_array,
    document_vectors: csr_array,
    data: RetrievalData,
    *,
    measures: Sequence[str] = DEFAULT_MEASURES,
    top_k: int = DEFAULT_TOP_K,
    vocabulary: Vocabulary | None = None,
) -> Evaluation:
    """The evaluation of vectors encoded before, rows in the order of `data.queries` and `data.corpus`."""
    parse_measures(measures, top_k)
    run = search_collection(query_vectors, document_vectors, data, top_k=top_k)
    return replace(
        evaluate_run(run, data, measures=measures, system="sparse encoder", settings={"top_k": top_k}),
        bytes_per_document=_bytes_per_document(document_vectors),
        query_active_dims=query_vectors.nnz / query_vectors.shape[0],
        document_active_dims=document_vectors.nnz / document_vectors.shape[0],
        flops=flops(query_vectors, document_vectors),
        postings=int(document_vectors.nnz),
        health=health(query_vectors, document_vectors, vocabulary),
    )


def evaluate_bm25(
    data: RetrievalData,
    tokenizer: "PreTrainedTokenizerBase | None" = None,
    *,
    measures: Sequence[str] = DEFAULT_MEASURES,
    top_k: int = DEFAULT_TOP_K,
) -> Evaluation:
    """The evaluation of BM25, the reference row of every table; see `bm25_run` for its terms."""
    parse_measures(measures, top_k)
    settings: Settings = {
        "terms": "words" if tokenizer is None else f"tokenizer {tokenizer.name_or_path}",
        "method": BM25_METHOD,
        "k1": BM25_K1,
        "b": BM25_B,
        "top_k": top_k,
        "bm25s": version("bm25s"),
    }
    index = bm25_index(data, tokenizer)
    start = time.perf_counter()
    query_vectors = index.encode_queries(list(data.queries.values()))
    seconds = time.perf_counter() - start
    run = index.search(query_vectors, data, top_k=top_k)
    return replace(
        evaluate_run(run, data, measures=measures, system="bm25", settings=settings),
        bytes_per_document=_bytes_per_document(index.documents),
        queries_per_second=len(data.queries) / max(seconds, 1e-9),
    )


def evaluate_run(
    run: Run,
    data: RetrievalData,
    *,
    measures: Sequence[str] = DEFAULT_MEASURES,
    system: str = "run",
    settings: Settings | None = None,
) -> Evaluation:
    """The evaluation of any run (a fusion, a search engine's answer), without figures about vectors."""
    run = without_own_documents(run, data)
    per_query = measure_run(run, data, measures)
    own = {"own_documents_left_out": len(data.own_documents)} if data.own_documents else {}
    return Evaluation(
        data=data.name,
        language=data.language,
        system=system,
        n_queries=len(data.queries),
        n_documents=len(data.corpus),
        measures={measure: math.fsum(values.values()) / len(values) for measure, values in per_query.items()},
        per_query=per_query,
        settings={**(settings or {}), **own, **{package: version(package) for package in ("sembridge", "ir-measures")}},
        run=run,
    )


def measure_run(run: Run, data: RetrievalData, measures: Sequence[str]) -> dict[str, dict[str, float]]:
    """Measure -> query id -> value, for every query of the data; a query without results has value 0.

    A query's own document is left out (`RetrievalData.own_documents`), and a grade below 0 counts as 0.

    Ties follow this package's order for every measure. ir-measures alone does not have one: its nDCG (trec_eval) puts
    the higher document id first, its RR@k (MS MARCO) the lower, so scores are replaced by ranks before they go there.

    Raises:
        SembridgeError: a measure that ir-measures does not know or cannot compute here.
    """
    import ir_measures

    parsed = parse_measures(measures, None)
    run = without_own_documents(run, data)
    as_ranks = {query_id: _scores_by_rank(scores) for query_id, scores in run.items() if query_id in data.queries}
    per_query = {str(measure): dict.fromkeys(data.queries, 0.0) for measure in parsed}
    for metric in ir_measures.iter_calc(parsed, data.qrels, as_ranks):
        per_query[str(metric.measure)][metric.query_id] = float(metric.value)
    return per_query


def _bytes_per_document(vectors: csr_array) -> float:
    return float(BYTES_PER_POSTING * vectors.nnz / vectors.shape[0])


def _vocabulary_of_dimensions(encoder: "SparseEncoder", n_dims: int) -> Vocabulary | None:
    """The vocabulary that names the dimensions; None where they are no tokens or cannot be read."""
    try:
        return read_vocabulary(encoder.tokenizer, n_rows=n_dims) if encoder.tokenizer is not None else None
    except SembridgeError as error:
        logger.warning("The health check goes without token names: %s", error)
        return None


def _encoder_settings(encoder: "SparseEncoder", batch_size: int, max_active_dims: int | None) -> Settings:
    return {
        "batch_size": batch_size,
        "max_active_dims": max_active_dims if max_active_dims is not None else encoder.max_active_dims,
        "max_seq_length": encoder.max_seq_length,
        **stated_settings(encoder),
        "device": str(encoder.device),
        "dtype": str(next(encoder.parameters()).dtype).removeprefix("torch."),
        **{package: version(package) for package in ("sentence-transformers", "transformers", "torch")},
    }


def _scores_by_rank(scores: Mapping[str, float]) -> dict[str, float]:
    return {document_id: float(-rank) for rank, document_id in enumerate(ranked(scores))}
