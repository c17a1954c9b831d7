"""Training data: query-document pairs, with hard negatives where there are some.

From a BEIR folder (`qrels/train.tsv`), a file of pairs or triplets (JSONL, CSV, TSV, Parquet; gzipped too), a dataset
of the Hugging Face hub (`hub:NAME[:SUBSET]`), or text without labels (`corpus:PLACE`), of which pairs are made.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sembridge.errors import SembridgeError
from sembridge.retrieval.runs import Run, ranked
from sembridge.retrieval.sources import load_retrieval_data
from sembridge.training.hub_data import hub_columns
from sembridge.training.pseudo_queries import MAX_PAIRS, pseudo_pairs, stream_passages

if TYPE_CHECKING:
    import pyarrow

# The first name found in a file is taken; the order is that of Sentence Transformers' and WebFAQ's usual layouts.
QUERY_NAMES = ("query", "anchor", "question", "queries", "premise")
DOCUMENT_NAMES = ("positive", "document", "passage", "answer", "text", "context", "hypothesis")
NEGATIVE_NAMES = ("negative", "hard_negative", "neg")
FILE_KINDS = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
MAX_CHARACTERS = 20_000  # no encoder reads further; a text of megabytes would only slow the tokenizer down


@dataclass(frozen=True)
class TrainingData:
    """Pairs, row by row.

    Attributes:
        name: what logs and cards call it.
        queries, documents: of equal length; row i is a relevant pair.
        negatives: for every row the same number of documents that do not answer its query; empty lists without any.
        relevant: query text -> all its relevant document texts, which must never serve as its negatives.
        sources: a number for every row, the same for rows of one source; a batch holds rows of one.
    """

    name: str
    queries: list[str]
    documents: list[str]
    negatives: list[list[str]]
    relevant: dict[str, frozenset[str]]
    sources: list[int]

    def __len__(self) -> int:
        return len(self.queries)

    @property
    def columns(self) -> dict[str, list[str]]:
        """Column name -> texts, in the order that losses expect."""
        n_negatives = len(self.negatives[0]) if self.negatives else 0
        mined = {f"negative_{k + 1}": [row[k] for row in self.negatives] for k in range(n_negatives)}
        return {"query": self.queries, "document": self.documents, **mined}

    def sample(self, size: int | None, *, seed: int = 0) -> "TrainingData":
        """At most `size` random rows, in their order."""
        if size is None or size >= len(self):
            return self
        rows = sorted(random.Random(seed).sample(range(len(self)), size))
        chosen = self._chosen(rows, [self.negatives[row] for row in rows])
        return replace(chosen, name=f"{self.name} ({size} pairs, seed {seed})")

    def _chosen(self, rows: Sequence[int], negatives: list[list[str]]) -> "TrainingData":
        return replace(
            self,
            queries=[self.queries[row] for row in rows],
            documents=[self.documents[row] for row in rows],
            negatives=negatives,
            sources=[self.sources[row] for row in rows],
        )

    def with_negatives(self, run: Run, document_ids: dict[str, str], n_negatives: int) -> "TrainingData":
        """The rows with the best documents of `run` that are not relevant; rows with too few of them are dropped.

        Args:
            run: row number as text -> document id -> score.
            document_ids: document id -> text.
        """
        kept, negatives = [], []
        for row, query in enumerate(self.queries):
            texts = (document_ids[document] for document in ranked(run.get(str(row), {})))
            found = [text for text in dict.fromkeys(texts) if text not in self.relevant[query]][:n_negatives]
            if len(found) == n_negatives:
                kept.append(row)
                negatives.append(found)
        if not kept:
            raise SembridgeError(
                f"{self.name}: no query has {n_negatives} documents that are not relevant; lower n_negatives."
            )
        return self._chosen(kept, negatives)


def load_training_data(
    name: str | Path,
    *,
    split: str = "train",
    pairs: int | None = None,
    seed: int = 0,
    trust_remote_code: bool = False,
) -> TrainingData:
    """The training data at a BEIR folder, in a file, on the hub (`hub:NAME[:SUBSET]`) or made of text (`corpus:PLACE`).

    Args:
        split: of a BEIR folder or a dataset of the hub.
        pairs: at most so many of them, drawn by `seed`. Of text that is 100,000 where nothing is said, and any number
            of passages is read in the memory of the pairs.

    Raises:
        SembridgeError: nothing there, an unknown layout, texts that are no text, or no pair at all.
    """
    if str(name).startswith("corpus:"):
        return _from_corpus(str(name), pairs or MAX_PAIRS, seed)
    return _labelled(name, split).sample(pairs, seed=seed)


def _from_corpus(name: str, n_pairs: int, seed: int) -> TrainingData:
    passages = stream_passages(name.removeprefix("corpus:"))
    short = (replace(passage, text=passage.text[:MAX_CHARACTERS]) for passage in passages)
    found = pseudo_pairs(short, name=name, n_pairs=n_pairs, seed=seed)
    named = f"{name} (pseudo queries, seed {seed})"
    return pairs_data(named, [pair.query for pair in found], [pair.document for pair in found])


def _labelled(name: str | Path, split: str) -> TrainingData:
    if str(name).startswith("hub:"):
        return _from_columns(str(name), hub_columns(str(name), split))
    path = Path(name)
    if path.is_file():
        return _from_file(path)
    if not path.is_dir() and not str(name).startswith(("mini/", "mteb:")):
        raise SembridgeError(
            f"No training data at {str(name)!r}: expected a BEIR folder with qrels/{split}.tsv, a file of pairs "
            f"({', '.join(FILE_KINDS)}, also .gz), hub:NAME[:SUBSET], or corpus:PLACE for text without labels."
        )
    data = load_retrieval_data(name, split=split)
    pairs = [
        (data.queries[query], data.corpus[document])
        for query, judged in data.qrels.items()
        for document, score in judged.items()
        if score > 0
    ]
    return pairs_data(data.name, [query for query, _ in pairs], [document for _, document in pairs])


def pairs_data(
    name: str, queries: Sequence[str], documents: Sequence[str], negatives: Sequence[Sequence[str]] | None = None
) -> TrainingData:
    """Checked training data; empty texts are refused and very long ones cut to 20,000 characters.

    Raises:
        SembridgeError: no rows, or an empty text.
    """
    if not queries:
        raise SembridgeError(
            f"{name} holds no pair of a query and a relevant document; nothing can be learned from it."
        )
    relevant: dict[str, set[str]] = {}
    columns = [_checked(name, texts) for texts in (queries, documents)]
    for query, document in zip(*columns, strict=True):
        relevant.setdefault(query, set()).add(document)
    return TrainingData(
        name=name,
        queries=columns[0],
        documents=columns[1],
        negatives=[_checked(name, row) for row in negatives] if negatives else [[] for _ in queries],
        relevant={query: frozenset(texts) for query, texts in relevant.items()},
        sources=[0] * len(queries),
    )


def joined(parts: Sequence[TrainingData]) -> TrainingData:
    """The rows of all parts, one part after the other, each a source of its own.

    A query of several parts has the relevant documents of all.

    Raises:
        SembridgeError: no part, or parts with different numbers of hard negatives.
    """
    if not parts:
        raise SembridgeError("No training data given; name at least one data set.")
    if len({len(row) for part in parts for row in part.negatives}) > 1:
        names = ", ".join(part.name for part in parts)
        raise SembridgeError(
            f"{names}: rows with and without negatives cannot be trained on together; give data of one kind."
        )
    relevant: dict[str, frozenset[str]] = {}
    for part in parts:
        for query, texts in part.relevant.items():
            relevant[query] = relevant.get(query, frozenset()) | texts
    return TrainingData(
        name=" + ".join(part.name for part in parts),
        queries=[query for part in parts for query in part.queries],
        documents=[document for part in parts for document in part.documents],
        negatives=[row for part in parts for row in part.negatives],
        relevant=relevant,
        sources=[number for number, part in enumerate(parts) for _ in range(len(part))],
    )


def _checked(name: str, texts: Sequence[object]) -> list[str]:
    for row, text in enumerate(texts, start=1):
        if not isinstance(text, str) or not text.strip():
            raise SembridgeError(f"{name}, row {row}: {str(text)[:40]!r} instead of a text; remove the row.")
    return [str(text)[:MAX_CHARACTERS] for text in texts]


def _from_file(path: Path) -> TrainingData:
    kind = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    if kind not in FILE_KINDS:
        raise SembridgeError(f"{path} is no file of pairs: expected {', '.join(FILE_KINDS)}, also with .gz.")
    if path.stat().st_size == 0:
        raise SembridgeError(f"{path} is empty: expected rows with a query and a document.")
    try:
        table = _read_table(path, kind)
        columns = {column: table[column].to_pylist() for column in table.column_names}
    except (OSError, ValueError) as error:  # Arrow's own errors and broken UTF-8 are kinds of ValueError
        problem = " ".join(str(error).split())
        raise SembridgeError(f"{path} cannot be read as UTF-8 {kind[1:]}: {problem}") from error
    return _from_columns(str(path), columns)


def _read_table(path: Path, kind: str) -> "pyarrow.Table":
    import pyarrow as pa
    from pyarrow import csv, json, parquet

    if kind == ".parquet":
        return parquet.read_table(path)
    with pa.input_stream(path, compression="gzip" if path.suffix == ".gz" else None) as stream:
        if kind in (".csv", ".tsv"):
            parse = csv.ParseOptions(delimiter="\t" if kind == ".tsv" else ",", newlines_in_values=True)
            table = csv.read_csv(stream, parse_options=parse)
            if any(pa.types.is_binary(column.type) for column in table.schema):
                raise ValueError("its text is in another encoding; save it as UTF-8")
            return table
        return json.read_json(stream, read_options=json.ReadOptions(block_size=2**26))


def _from_columns(name: str, columns: dict[str, list[object]]) -> TrainingData:
    query, document = (_column(name, columns, names) for names in (QUERY_NAMES, DOCUMENT_NAMES))
    negative = next((column for column in NEGATIVE_NAMES if column in columns), None)
    return pairs_data(
        name,
        columns[query],  # type: ignore[arg-type]  # checked there
        columns[document],  # type: ignore[arg-type]
        None if negative is None else [[text] for text in columns[negative]],  # type: ignore[list-item]
    )


def _column(name: str, columns: dict[str, list[object]], names: tuple[str, ...]) -> str:
    for column in names:
        if column in columns:
            return column
    raise SembridgeError(
        f"{name} has the columns {', '.join(columns)}: expected one of {', '.join(names[:4])} "
        f"{'for the query' if names is QUERY_NAMES else 'for its relevant document'}."
    )
