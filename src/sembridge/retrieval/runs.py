"""Runs: the documents a system returns for every query, from exact search over sparse vectors, BM25 or a fusion.

One order holds everywhere: score descending, then document id ascending (code points), as in the evaluators of
sentence-transformers. trec_eval orders ties the other way, by id descending; `evaluation.measure_run` hands it ranks
in place of scores, so that every measure sees the order of this module. A document that shares no active dimension
with the query is not in the run: no inverted index would return it.

A run file is in TREC format. Readers sort it by score, each with its own rule for ties, so `write_run` lowers the
scores of tied documents by the smallest steps of single precision: every reader then sees this module's order.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from sembridge.errors import SembridgeError
from sembridge.files.atomic import write_file

if TYPE_CHECKING:
    from sembridge.retrieval.data import RetrievalData

Run = dict[str, dict[str, float]]
"""Query id -> document id -> score, every query's documents from best to worst."""
BM25_WEIGHT = 0.7  # beside an encoder's .3: chosen on dev, see docs/decisions.md
_MAX_BLOCK_SCORES = 2**24  # scores held at once: 8 bytes each (value and column), 128 MiB


def ranked(scores: Mapping[str, float]) -> list[str]:
    """The document ids from best to worst: score descending, then id ascending."""
    return sorted(scores, key=lambda document_id: (-scores[document_id], document_id))


def exact_search(
    query_vectors: csr_array,
    document_vectors: csr_array,
    query_ids: Sequence[str],
    document_ids: Sequence[str],
    *,
    top_k: int = 1000,
) -> Run:
    """The run of every query's best documents by dot product, without approximation.

    Args:
        query_vectors: (n_queries, n_dims), rows in the order of `query_ids`.
        document_vectors: (n_documents, n_dims), rows in the order of `document_ids`.

    Raises:
        SembridgeError: vectors of different widths, ids that are not as many as vectors, or top_k below 1.
    """
    _check_search(query_vectors, document_vectors, query_ids, document_ids, top_k)
    order = sorted(range(len(document_ids)), key=document_ids.__getitem__)
    ids_by_column = [document_ids[position] for position in order]
    inverted_index = document_vectors[order].T.tocsr()  # (n_dims, n_documents)
    block_rows = max(1, _MAX_BLOCK_SCORES // len(document_ids))
    run: Run = {}
    for start in range(0, len(query_ids), block_rows):
        scores = query_vectors[start : start + block_rows] @ inverted_index
        for row, query_id in enumerate(query_ids[start : start + block_rows]):
            span = slice(scores.indptr[row], scores.indptr[row + 1])
            columns, best_scores = _best(scores.indices[span], scores.data[span], top_k)
            run[query_id] = dict(zip((ids_by_column[column] for column in columns), best_scores, strict=True))
    return run


def dense_search(
    query_vectors: NDArray[np.float32],
    document_vectors: NDArray[np.float32],
    query_ids: Sequence[str],
    document_ids: Sequence[str],
    *,
    top_k: int = 1000,
) -> Run:
    """As `exact_search` for dense vectors, (n_queries, dim) and (n_documents, dim): every document has a score.

    Raises:
        SembridgeError: vectors of different widths, ids that are not as many as vectors, or top_k below 1.
    """
    _check_search(query_vectors, document_vectors, query_ids, document_ids, top_k)
    order = sorted(range(len(document_ids)), key=document_ids.__getitem__)
    ids_by_column = [document_ids[position] for position in order]
    columns, documents = np.arange(len(order), dtype=np.int32), document_vectors[order].T
    block_rows = max(1, _MAX_BLOCK_SCORES // len(document_ids))
    run: Run = {}
    for start in range(0, len(query_ids), block_rows):
        scores = query_vectors[start : start + block_rows] @ documents
        for row, query_id in enumerate(query_ids[start : start + block_rows]):
            best, best_scores = _best(columns, scores[row], top_k)
            run[query_id] = dict(zip((ids_by_column[column] for column in best), best_scores, strict=True))
    return run


def search_collection(
    query_vectors: csr_array, document_vectors: csr_array, data: "RetrievalData", *, top_k: int = 1000
) -> Run:
    """`exact_search` of all queries of the data, rows in its order, without queries' own documents.

    Raises:
        SembridgeError: as `exact_search`.
    """
    deeper = top_k + (1 if data.own_documents else 0)
    run = exact_search(query_vectors, document_vectors, list(data.queries), list(data.corpus), top_k=deeper)
    return without_own_documents(run, data, top_k=top_k)


def without_own_documents(run: Run, data: "RetrievalData", *, top_k: int | None = None) -> Run:
    """The run, cut to `top_k`, without the documents that queries are themselves (`RetrievalData.own_documents`)."""
    own = data.own_documents
    if not own:
        return run
    kept = {
        query: {doc: s for doc, s in scores.items() if doc != query or query not in own}
        for query, scores in run.items()
    }
    if top_k is None:
        return kept
    return {query: {doc: scores[doc] for doc in ranked(scores)[:top_k]} for query, scores in kept.items()}


def _check_search(
    query_vectors: csr_array | NDArray[np.float32],
    document_vectors: csr_array | NDArray[np.float32],
    query_ids: Sequence[str],
    document_ids: Sequence[str],
    top_k: int,
) -> None:
    if top_k < 1:
        raise SembridgeError(f"top_k is {top_k}: expected 1 or more.")
    for what, vectors, ids in (("query", query_vectors, query_ids), ("document", document_vectors, document_ids)):
        if vectors.shape[0] != len(ids):
            raise SembridgeError(f"{vectors.shape[0]} {what} vectors but {len(ids)} {what} ids: expected one id a row.")
    if query_vectors.shape[1] != document_vectors.shape[1]:
        raise SembridgeError(
            f"Query vectors have {query_vectors.shape[1]} dimensions, document vectors {document_vectors.shape[1]}: "
            "encode both with the same encoder."
        )


def _best(columns: NDArray[np.int32], scores: NDArray[np.float32], top_k: int) -> tuple[list[int], list[float]]:
    """The columns and scores of the best `top_k`; columns count documents by id, so the lower column wins a tie."""
    if len(scores) > top_k:
        kept = scores >= np.partition(scores, -top_k)[-top_k]  # every score tied with the last one stays until sorted
        columns, scores = columns[kept], scores[kept]
    order = np.lexsort((columns, -scores))[:top_k]
    return columns[order].tolist(), scores[order].tolist()


def hybrid(runs: Sequence[Run], weights: Sequence[float], *, n_documents: int, top_k: int = 1000) -> Run:
    """The fusion of several runs: score(d) = sum over runs of weight * standard score of d.

    A query's scores are standardised over the whole corpus, so a run that tells documents apart weighs more than one
    that returns everything with about the same score; a fusion by ranks does not see the difference. A document that a
    run does not return has its score 0, or, where the run was cut off at `top_k`, the last score of it. The order of
    the runs makes no difference.

    Args:
        weights: one a run, above zero.
        n_documents: of the corpus.

    Raises:
        SembridgeError: no run, or not as many weights as runs.
    """
    if not runs:
        raise SembridgeError("No run to fuse: give hybrid() at least one.")
    if len(runs) != len(weights) or min(weights) <= 0:
        raise SembridgeError(f"{len(runs)} runs and the weights {list(weights)}: expected one above zero for each run.")
    parts: dict[str, list[tuple[dict[str, float], float]]] = {}
    for run, weight in zip(runs, weights, strict=True):
        for query_id, scores in run.items():
            parts.setdefault(query_id, []).append(_standard_scores(scores, weight, n_documents, top_k))
    fused: Run = {}
    for query_id, of_query in parts.items():
        found = set().union(*(scores for scores, _ in of_query))
        total = {doc: math.fsum(scores.get(doc, missing) for scores, missing in of_query) for doc in found}
        fused[query_id] = {doc: total[doc] for doc in ranked(total)[:top_k]}
    return fused


def _standard_scores(
    scores: Mapping[str, float], weight: float, n_documents: int, top_k: int
) -> tuple[dict[str, float], float]:
    """The weighted standard scores of the documents that a run returned, and that of all others."""
    missing = min(scores.values()) if len(scores) >= top_k else 0.0
    n_missing = max(0, n_documents - len(scores))
    n = n_missing + len(scores)
    mean = (math.fsum(scores.values()) + n_missing * missing) / max(n, 1)
    squares = math.fsum((score - mean) ** 2 for score in scores.values()) + n_missing * (missing - mean) ** 2
    if squares == 0:
        return dict.fromkeys(scores, 0.0), 0.0
    scale = weight / math.sqrt(squares / n)
    return {doc: scale * (score - mean) for doc, score in scores.items()}, scale * (missing - mean)


def write_run(run: Run, path: Path, *, system: str = "sembridge") -> None:
    """Writes `query Q0 document rank score system` lines; a file that stands there is replaced, or stays on failure.

    Scores are single precision and strictly falling within a query (see the top of this module). A query without
    documents has no line.

    Raises:
        SembridgeError: an id with white space, which the format cannot hold; a folder that is missing, a full disk.
    """
    write_file(path, chain.from_iterable(_run_lines(query, scores, system) for query, scores in run.items()))


def _run_lines(query_id: str, scores: Mapping[str, float], system: str) -> Iterator[str]:
    previous = np.float32(np.inf)
    for rank, document_id in enumerate(ranked(scores), start=1):
        for what, text in (("query", query_id), ("document", document_id)):
            if text.split() != [text]:
                raise SembridgeError(
                    f"The {what} id {text!r} has white space, which a TREC run cannot hold; give other ids."
                )
        previous = min(np.float32(scores[document_id]), np.nextafter(previous, np.float32(-np.inf)))
        yield f"{query_id} Q0 {document_id} {rank} {previous:.9g} {'-'.join(system.split())}\n"
