"""Training data: query-document pairs, with hard negatives where there are some.

From a BEIR folder (`qrels/train.tsv`), a file of pairs or tuples (JSON lines or an array, CSV, TSV, Parquet; gzipped
too), a dataset of the Hugging Face hub (`hub:NAME[:SUBSET]`), or text without labels (`corpus:PLACE`), of which pairs
are made.
"""

import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from sembridge.errors import SembridgeError
from sembridge.files.rows import RECORD_FILES, record_kind, shown, stream_records
from sembridge.retrieval.corpus import stream_passages
from sembridge.retrieval.runs import Run, ranked
from sembridge.retrieval.sources import load_retrieval_data
from sembridge.training.columns import ReadRows, TrainingRow, read_rows
from sembridge.training.hub_data import hub_rows
from sembridge.training.pseudo_queries import MAX_PAIRS, pseudo_pairs

logger = logging.getLogger(__name__)

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
        left_out: what was read and is in no row -> how many; what was changed counts too.
        unused_columns: names of columns that say nothing to a training.
    """

    name: str
    queries: list[str]
    documents: list[str]
    negatives: list[list[str]]
    relevant: dict[str, frozenset[str]]
    sources: list[int]
    left_out: Mapping[str, int] = field(default_factory=dict)
    unused_columns: tuple[str, ...] = ()

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
        """The rows with the best documents of `run` that are not relevant, after the negatives they have already.

        Rows with too few of them are dropped, and counted.

        Args:
            run: row number as text -> document id -> score.
            document_ids: document id -> text.
        """
        kept, negatives = [], []
        for row, query in enumerate(self.queries):
            texts = (document_ids[document] for document in ranked(run.get(str(row), {})))
            known = {*self.relevant[query], *self.negatives[row]}
            found = [text for text in dict.fromkeys(texts) if text not in known][:n_negatives]
            if len(found) == n_negatives:
                kept.append(row)
                negatives.append([*self.negatives[row], *found])
        if not kept:
            raise SembridgeError(
                f"{self.name}: no query has {n_negatives} documents that are not relevant; lower n_negatives."
            )
        left_out = _sum(self.left_out, {"rows with too few hard negatives": len(self) - len(kept)})
        return replace(self._chosen(kept, negatives), left_out=left_out)


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


def load_translations(
    name: str | Path, *, split: str = "train", pairs: int | None = None, seed: int = 0
) -> TrainingData:
    """Pairs of an English text and its translation; English text without labels (`corpus:PLACE`) is its own.

    Args:
        pairs: at most so many, drawn by `seed`.

    Raises:
        SembridgeError: as `load_training_data`.
    """
    if not str(name).startswith("corpus:"):
        return load_training_data(name, split=split, pairs=pairs, seed=seed)
    texts = [passage.content[:MAX_CHARACTERS] for passage in stream_passages(str(name).removeprefix("corpus:"))]
    return pairs_data(str(name), texts, texts).sample(pairs, seed=seed)


def _from_corpus(name: str, n_pairs: int, seed: int) -> TrainingData:
    passages = stream_passages(name.removeprefix("corpus:"))
    short = (replace(passage, text=passage.text[:MAX_CHARACTERS]) for passage in passages)
    found = pseudo_pairs(short, name=name, n_pairs=n_pairs, seed=seed)
    named = f"{name} (pseudo queries, seed {seed})"
    return pairs_data(named, [pair.query for pair in found], [pair.document for pair in found])


def _labelled(name: str | Path, split: str) -> TrainingData:
    if str(name).startswith("hub:"):
        return _from_rows(str(name), hub_rows(str(name), split))
    path = Path(name)
    if path.is_file():
        return _from_file(path)
    if not path.is_dir() and not str(name).startswith(("mini/", "mteb:")):
        raise SembridgeError(
            f"No training data at {str(name)!r}: expected a BEIR folder with qrels/{split}.tsv, a file of pairs "
            f"({', '.join(RECORD_FILES)}, also .gz), hub:NAME[:SUBSET], or corpus:PLACE for text without labels."
        )
    data = load_retrieval_data(name, split=split)
    found = ReadRows()
    for query, judged in data.qrels.items():
        relevant = [document for document, score in judged.items() if score > 0]
        found.rows += [TrainingRow(data.queries[query], data.corpus[document]) for document in relevant]
        found.leave_out("judgments of documents that are not relevant", len(judged) - len(relevant))
    return _from_rows(data.name, found)


def _from_file(path: Path) -> TrainingData:
    if record_kind(path) not in RECORD_FILES:
        raise SembridgeError(f"{path} is no file of pairs: expected {', '.join(RECORD_FILES)}, also with .gz.")
    return _from_rows(str(path), read_rows(str(path), stream_records(path)))


def _from_rows(name: str, found: ReadRows) -> TrainingData:
    data = pairs_data(
        name,
        [row.query for row in found.rows],
        [row.document for row in found.rows],
        [row.negatives for row in found.rows],
    )
    data = replace(data, left_out=_sum(found.left_out, data.left_out), unused_columns=found.unused_columns)
    told = [f"{count:,} {what}" for what, count in data.left_out.items()]
    if data.unused_columns:
        told.append(f"columns not used: {', '.join(data.unused_columns)}")
    if told:
        logger.warning("%s: %d pairs are trained on; %s", name, len(data), "; ".join(told))
    return data


def pairs_data(
    name: str, queries: Sequence[str], documents: Sequence[str], negatives: Sequence[Sequence[str]] | None = None
) -> TrainingData:
    """Checked training data; empty texts are refused and very long ones cut to 20,000 characters.

    Rows may have any number of negatives. Those that are relevant to their own query are dropped, then every row gets
    as many as half of the rows have at least: others lose their last ones, or take their own a second time; a row
    without any takes the document of another row. `left_out` counts each of these.

    Raises:
        SembridgeError: no rows, or an empty text.
    """
    if not queries:
        raise SembridgeError(
            f"{name} holds no pair of a query and a relevant document; nothing can be learned from it."
        )
    relevant: dict[str, set[str]] = {}
    given = [*queries, *documents, *(text for row in negatives or () for text in row)]
    left_out = {f"texts cut at {MAX_CHARACTERS:,} characters": sum(len(text) > MAX_CHARACTERS for text in given)}
    columns = [_checked(name, texts) for texts in (queries, documents)]
    for query, document in zip(*columns, strict=True):
        relevant.setdefault(query, set()).add(document)
    data = TrainingData(
        name=name,
        queries=columns[0],
        documents=columns[1],
        negatives=[_checked(name, row) for row in negatives] if negatives else [[] for _ in queries],
        relevant={query: frozenset(texts) for query, texts in relevant.items()},
        sources=[0] * len(queries),
        left_out=_sum(left_out),
    )
    return _with_even_negatives(data)


def _with_even_negatives(data: TrainingData) -> TrainingData:
    """The data with as many negatives a row as half of its rows have, none of them relevant to the row's query."""
    true = [
        [text for text in dict.fromkeys(row) if text not in data.relevant[query]]
        for query, row in zip(data.queries, data.negatives, strict=True)
    ]
    n_given, n_true = (sum(len(set(row)) for row in rows) for rows in (data.negatives, true))
    counts = sorted(map(len, true))
    # The upper median: at least half of the rows have so many, so that no row of hundreds decides for all.
    n = max(counts[len(counts) // 2], 1 if any(counts) else 0)
    even = [_filled(data, row, negatives, n) for row, negatives in enumerate(true)]
    left_out = _sum(
        data.left_out,
        {
            "negatives that are relevant to their own query": n_given - n_true,
            f"negatives beyond the first {n} of a row": sum(max(0, count - n) for count in counts),
            "rows that take a negative of their own again": sum(0 < count < n for count in counts),
            "rows that take another row's document as a negative": sum(count < n for count in counts if not count),
        },
    )
    return replace(data, negatives=even, left_out=left_out)


def _filled(data: TrainingData, row: int, negatives: list[str], n: int) -> list[str]:
    if len(negatives) >= n:
        return negatives[:n]
    if not negatives:
        relevant = data.relevant[data.queries[row]]
        others = (data.documents[(row + step) % len(data)] for step in range(1, len(data)))
        negatives = list(islice((text for text in others if text not in relevant), n))
    if not negatives:
        raise SembridgeError(f"{data.name}: every document is relevant to {data.queries[row]!r}; give more rows.")
    return [negatives[k % len(negatives)] for k in range(n)]


def _sum(*counts: Mapping[str, int]) -> dict[str, int]:
    """The counts of all, without those that are 0."""
    found: dict[str, int] = {}
    for what, count in (item for part in counts for item in part.items()):
        if count:
            found[what] = found.get(what, 0) + count
    return found


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
    data = TrainingData(
        name=" + ".join(part.name for part in parts),
        queries=[query for part in parts for query in part.queries],
        documents=[document for part in parts for document in part.documents],
        negatives=[row for part in parts for row in part.negatives],
        relevant=relevant,
        sources=[number for number, part in enumerate(parts) for _ in range(len(part))],
        left_out=_sum(*(part.left_out for part in parts)),
        unused_columns=tuple(dict.fromkeys(column for part in parts for column in part.unused_columns)),
    )
    clash = any(
        text in relevant[query] for query, row in zip(data.queries, data.negatives, strict=True) for text in row
    )
    return _with_even_negatives(data) if clash else data


def _checked(name: str, texts: Sequence[object]) -> list[str]:
    for row, text in enumerate(texts, start=1):
        if not isinstance(text, str) or not text.strip():
            raise SembridgeError(f"{name}, row {row}: {shown(text)} instead of a text; remove the row.")
    return [str(text)[:MAX_CHARACTERS] for text in texts]
