"""Training pairs of a dataset on the Hugging Face hub: rows of pairs, or corpus, queries and qrels as mteb has them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sembridge.errors import SembridgeError, require
from sembridge.training.columns import ReadRows, TrainingRow, read_rows

if TYPE_CHECKING:
    from datasets import Dataset

PARTS = ("corpus", "queries", "qrels")


def hub_rows(name: str, split: str) -> ReadRows:
    """The training rows of `hub:NAME[:SUBSET]`, its columns read as `read_rows` reads them.

    Where SUBSET is no subset but SUBSET-corpus, SUBSET-queries and SUBSET-qrels are (WebFAQ's retrieval data), a row
    for each positive judgment of `split`.

    Raises:
        MissingExtraError: the package datasets is not installed.
        SembridgeError: the dataset cannot be read, or a judgment names a text that is not there.
    """
    require("train", "datasets", what=repr(name))
    from datasets import get_dataset_config_names, load_dataset

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
    if judged:
        return _judged_rows(name, parts)
    return read_rows(name, ((f"row {number}", row) for number, row in enumerate(_named_classes(rows), start=1)))


def _named_classes(rows: "Dataset") -> Iterator[dict[str, Any]]:
    """The rows, a class by its name where that says more than its number: entailment instead of 0."""
    from datasets import ClassLabel

    names = {
        column: feature.names
        for column, feature in rows.features.items()
        if isinstance(feature, ClassLabel) and not all(name.isdigit() for name in feature.names)
    }
    for row in rows:
        named = {
            column: classes[row[column]] for column, classes in names.items() if row[column] in range(len(classes))
        }
        yield {**row, **named}


def _split(splits: "dict[str, Dataset]", split: str) -> "Dataset":
    """The split of this name, or the only one: corpora have one for all."""
    return splits[split] if split in splits or len(splits) > 1 else next(iter(splits.values()))


def _judged_rows(name: str, parts: "dict[str, Dataset]") -> ReadRows:
    corpus = {row["_id"]: f"{row.get('title') or ''} {row['text'] or ''}".strip() for row in parts["corpus"]}
    queries = {row["_id"]: (row["text"] or "").strip() for row in parts["queries"]}
    found = ReadRows()
    for row in parts["qrels"]:
        query, document = row["query-id"], row["corpus-id"]
        if query not in queries or document not in corpus:
            raise SembridgeError(f"{name}: a judgement names query {query!r} and document {document!r}, not both here.")
        if row["score"] <= 0:
            found.leave_out("judgments of documents that are not relevant")
        elif queries[query] and corpus[document]:
            found.rows.append(TrainingRow(queries[query], corpus[document]))
        else:
            found.leave_out("pairs without a text")
    return found
