"""Search with a dense encoder, the bridge: the reference row for "why not search with the bridge itself?"."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sembridge.encoders.settings import BATCH_SIZE
from sembridge.errors import SembridgeError
from sembridge.files.progress import Progress
from sembridge.retrieval.data import RetrievalData
from sembridge.retrieval.evaluation import Evaluation, Settings, evaluate_run
from sembridge.retrieval.measures import DEFAULT_MEASURES, DEFAULT_TOP_K, parse_measures
from sembridge.retrieval.runs import dense_search

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

BYTES_PER_DIMENSION = 4  # float32
_TEXTS_AT_ONCE = 2048


def evaluate_dense(
    encoder: "SentenceTransformer",
    data: RetrievalData,
    *,
    measures: Sequence[str] = DEFAULT_MEASURES,
    top_k: int = DEFAULT_TOP_K,
    batch_size: int = BATCH_SIZE,
    progress: bool = False,
) -> Evaluation:
    """The evaluation of a dense encoder: the cosine of every query with every document, through its own prompts.

    Raises:
        SembridgeError: an unknown measure, a measure that looks deeper than `top_k`, or vectors that are not finite.
    """
    parse_measures(measures, top_k)  # before minutes of encoding

    def encode(side: str, texts: Mapping[str, str]) -> tuple[NDArray[np.float32], float]:
        method = {"query": encoder.encode_query, "document": encoder.encode_document}[side]
        start = time.perf_counter()
        contents, parts = list(texts.values()), []
        with Progress(f"dense {side} vectors", total=len(contents), shown=progress) as bar:
            for first in range(0, len(contents), _TEXTS_AT_ONCE):
                block = contents[first : first + _TEXTS_AT_ONCE]
                parts.append(method(block, batch_size=batch_size, show_progress_bar=False,
                                    convert_to_numpy=True, normalize_embeddings=True))  # fmt: skip
                bar.advance(len(block))
        seconds = time.perf_counter() - start
        return _finite(np.concatenate(parts).astype(np.float32), side), seconds

    documents, document_seconds = encode("document", data.corpus)
    queries, query_seconds = encode("query", data.queries)
    run = dense_search(queries, documents, list(data.queries), list(data.corpus), top_k=top_k)
    settings: Settings = {
        "top_k": top_k,
        "batch_size": batch_size,
        "max_seq_length": int(length) if math.isfinite(length := encoder.max_seq_length or math.inf) else None,
        "device": str(encoder.device),
        **{package: version(package) for package in ("sentence-transformers", "transformers", "torch")},
    }
    return replace(
        evaluate_run(run, data, measures=measures, system="dense encoder", settings=settings),
        bytes_per_document=float(BYTES_PER_DIMENSION * documents.shape[1]),
        queries_per_second=len(data.queries) / query_seconds,
        documents_per_second=len(data.corpus) / document_seconds,
    )


def _finite(vectors: NDArray[np.float32], side: str) -> NDArray[np.float32]:
    if not np.isfinite(vectors).all():
        raise SembridgeError(f"The dense encoder gives {side} vectors that are not finite; take another checkpoint.")
    return vectors
