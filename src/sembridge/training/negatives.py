"""Hard negatives: documents that BM25 or the encoder itself ranks high for a query that they do not answer."""

from typing import TYPE_CHECKING

from sembridge.encoders.vectors import encode_corpus, encode_queries
from sembridge.retrieval.bm25 import bm25_run
from sembridge.retrieval.data import RetrievalData
from sembridge.retrieval.runs import exact_search
from sembridge.training.data import TrainingData
from sembridge.training.recipe import TrainRecipe

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder

N_CANDIDATES = 50  # documents a query that hard negatives are chosen from


def mine_hard_negatives(
    encoder: "SparseEncoder", data: TrainingData, recipe: TrainRecipe, *, progress: bool = False
) -> TrainingData:
    """`data` with the best documents of BM25 or of the encoder itself that are not relevant to a row's query."""
    document_ids = {str(number): text for number, text in enumerate(sorted(set(data.documents)))}
    rows = [str(row) for row in range(len(data))]
    if recipe.hard_negatives == "bm25":
        id_of = {text: document for document, text in document_ids.items()}
        collection = RetrievalData(
            name=data.name,
            language=None,
            corpus=document_ids,
            queries=dict(zip(rows, data.queries, strict=True)),
            qrels={row: {id_of[document]: 1} for row, document in zip(rows, data.documents, strict=True)},
        )
        run = bm25_run(collection, encoder.tokenizer, top_k=N_CANDIDATES)
    else:
        documents = encode_corpus(encoder, list(document_ids.values()), progress=progress)
        queries = encode_queries(encoder, data.queries, progress=progress)
        run = exact_search(queries, documents, rows, list(document_ids), top_k=N_CANDIDATES)
    return data.with_negatives(run, document_ids, recipe.n_negatives)
