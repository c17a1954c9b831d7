"""Training pairs of a dataset on the Hugging Face hub: rows of pairs, or corpus, queries and qrels as mteb has them."""

import logging
from typing import TYPE_CHECKING, Any

from sembridge.errors import SembridgeError

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

PARTS = ("corpus", "queries", "qrels")


def hub_columns(name: str, split: str) -> dict[str, list[Any]]:
    """Column -> values of `hub:NAME[:SUBSET]`.

    Where SUBSET is no subset but SUBSET-corpus, SUBSET-queries and SUBSET-qrels are (WebFAQ's retrieval data), the
    columns are `query` and `document`, a row for each positive judgment of `split`.

    Raises:
        SembridgeError: the package datasets is missing, the dataset cannot be read, or a judgment names a text that is
            not there.
    """
    try:
        from datasets import get_dataset_config_names, load_dataset
    except ImportError:
        raise SembridgeError(
            f'{name!r} needs the package datasets, which is not installed: pip install "sembridge[train]"'
        ) from None
    repository, _, subset = name.removeprefix("hub:").partition(":")
    try:
        subsets = get_dataset_config_names(repository)
        judged = subset not in subsets and {f"{subset}-{part}" for part in PARTS} <= set(subsets)
        if judged:
            parts = {part: _split(load_dataset(repository, f"{subset}-{part}"), split) for part in PARTS}
        else:
            rows = load_dataset(repository, subset or None, split=split)
    except Exception as error:  # datasets raises dozens of kinds, network failures among them
        problem = " ".join(str(error).split())[:300]
        raise SembridgeError(f"{name!r} ({split}) cannot be read from the hub: {problem}") from error
    return _judged_pairs(name, parts) if judged else {column: rows[column] for column in rows.column_names}


def _split(splits: "dict[str, Dataset]", split: str) -> "Dataset":
    """The split of this name, or the only one: corpora have one for all."""
    return splits[split] if split in splits or len(splits) > 1 else next(iter(splits.values()))


def _judged_pairs(name: str, parts: "dict[str, Dataset]") -> dict[str, list[Any]]:
    corpus = {row["_id"]: f"{row.get('title') or ''} {row['text'] or ''}".strip() for row in parts["corpus"]}
    queries = {row["_id"]: (row["text"] or "").strip() for row in parts["queries"]}
    pairs, n_empty = [], 0
    for row in parts["qrels"]:
        query, document = row["query-id"], row["corpus-id"]
        if query not in queries or document not in corpus:
            raise SembridgeError(f"{name}: a judgement names query {query!r} and document {document!r}, not both here.")
        if row["score"] > 0:
            n_empty += not (queries[query] and corpus[document])
            pairs.append((queries[query], corpus[document]))
    if n_empty:
        logger.warning("%s: %d of %d pairs have no text and are left out", name, n_empty, len(pairs))
    kept = [(query, document) for query, document in pairs if query and document]
    return {"query": [query for query, _ in kept], "document": [document for _, document in kept]}
