"""Exact search without a search engine: inverted lists in memory-mapped files, documents in SQLite.

The oracle that other engines are measured against, and enough for small corpora. A segment is a folder of three arrays,
written once: `starts.npy` (n_dims + 1,) int64, and `documents.npy` (int32 rows of the segment) and `weights.npy`
(float32), both in order of dimension, then row; `numbers.npy` names the document of every row. SQLite knows which
segments count and which documents live, so a transaction is the moment at which anything becomes true: what a killed
process leaves behind is an unknown folder, swept away by the next writer. A search reads the lists of the query's
dimensions and holds one float32 a document of one segment.
"""

import json
import shutil
import sqlite3
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array, vstack

from sembridge.deployment.search.lists import add_list
from sembridge.deployment.search.protocol import Hit, SparseVector, Term, check_weights, hit_of, payload_of, ranked_hits
from sembridge.errors import SembridgeError
from sembridge.files.atomic import write_failure

if TYPE_CHECKING:
    from sembridge.retrieval.corpus import Document

_MAX_POSTINGS = 2**24  # of a segment that merging makes: 128 MiB on the disk, about three times that while merging
_BLOCK = 256  # documents whose best score is taken together: measured on segments of 80,000
_SQL_NAMES = 500  # names in one statement; SQLite's own limit is 32,766

_TABLES = """
CREATE TABLE IF NOT EXISTS documents (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, payload TEXT);
CREATE TABLE IF NOT EXISTS tags (tag TEXT, number INTEGER, PRIMARY KEY (tag, number)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS tags_of ON tags (number);
CREATE TABLE IF NOT EXISTS segments (name TEXT PRIMARY KEY, first INTEGER NOT NULL);
"""

_Name = TypeVar("_Name", str, int)


@dataclass(frozen=True, eq=False)
class _Segment:
    """A segment, open; `lists` is (n_dims, n_documents): the rows and weights of a dimension, mapped from the disk."""

    name: str
    lists: csr_array
    numbers: NDArray[np.int64]

    @classmethod
    def open(cls, folder: Path) -> "_Segment":
        numbers, starts = np.load(folder / "numbers.npy"), np.load(folder / "starts.npy").astype(np.int32)
        # Plain arrays over the mapped ones: taking a slice of a memmap costs ten times as much.
        weights, documents = (
            np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r")) for name in ("weights", "documents")
        )
        lists = csr_array((weights, documents, starts), shape=(len(starts) - 1, len(numbers)))
        return cls(folder.name, lists, numbers)

    def scores(self, query: SparseVector) -> NDArray[np.float32]:
        """(n_documents,) dot products."""
        scores, weights = np.zeros(len(self.numbers), np.float32), query.values.astype(np.float32, copy=False)
        for place, dimension in enumerate(query.indices.tolist()):
            add_list(self.lists, dimension, weights[place : place + 1], scores)
        return scores

    def terms(self, query: SparseVector, row: int) -> tuple[Term, ...]:
        terms = []
        for dimension, weight in zip(query.indices.tolist(), query.values.tolist(), strict=True):
            start, end = self.lists.indptr[dimension], self.lists.indptr[dimension + 1]
            position = start + np.searchsorted(self.lists.indices[start:end], row)
            if position < end and self.lists.indices[position] == row:
                terms.append(Term(dimension, weight, float(self.lists.data[position])))
        return tuple(sorted(terms, key=lambda term: (-term.product, term.dimension)))

    def vectors(self) -> csr_array:
        """(n_documents, n_dims), read into memory."""
        return csr_array(self.lists.T)


@dataclass(frozen=True)
class _Candidate:
    score: float
    number: int
    segment: _Segment
    row: int


class ExactEngine:
    """Inverted lists below a folder; see the module. Threads may share one: they take turns."""

    def __init__(self, folder: Path, n_dims: int) -> None:
        self._folder = folder
        self._n_dims = n_dims
        self._connection: sqlite3.Connection | None = None
        self._turn = threading.RLock()
        self._segments: list[_Segment] | None = None
        self._alive: list[NDArray[np.bool_] | None] | None = None
        self._version: int | None = None  # changes when another connection commits

    def create(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with _refusals(self._folder):
            self._database.executescript(_TABLES)
        if self.count():
            raise SembridgeError(f"{self._folder} holds {self.count():,} documents already; give a new folder.")

    def add(self, documents: "Sequence[Document]", vectors: csr_array) -> None:
        check_weights(vectors)
        payloads = [payload_of(document) for document in documents]
        with self._turn, _refusals(self._folder), self._transaction():
            self._remove([payload["id"] for payload in payloads])
            numbers = [self._insert(payload) for payload in payloads]
            self._add_segment(np.array(numbers), vectors)
            self._forget()

    def delete(self, ids: Sequence[str]) -> None:
        with self._turn, _refusals(self._folder), self._transaction():
            self._remove(ids)
            self._forget()

    def finish(self) -> None:
        """Joins small segments up to 16 million postings, without the documents that are gone."""
        with self._turn:
            for group in _groups(self._read_segments()):
                merged, numbers = _merge(group, self._living())
                with _refusals(self._folder), self._transaction():
                    for segment in group:
                        self._database.execute("DELETE FROM segments WHERE name = ?", (segment.name,))
                    if len(numbers):
                        self._add_segment(numbers, merged)
            self._forget()
            self._sweep()

    def search(
        self, query: SparseVector, *, top_k: int, tags: Sequence[str] = (), with_terms: bool = False
    ) -> list[Hit]:
        with self._turn, self._snapshot():
            segments = self._read_segments()
            masks = [*_masks(segments, self._tagged(tags))] if tags else self._living_masks()
            best: list[_Candidate] = []
            for segment, mask in zip(segments, masks, strict=True):
                best = _best([*best, *_candidates(segment, query, mask, top_k)], top_k)
            hits = self._hits(best, query, with_terms)
        return ranked_hits(hits)[:top_k]

    def count(self) -> int:
        with self._turn:
            return int(self._database.execute("SELECT count(*) FROM documents").fetchone()[0])

    def drop(self) -> None:
        self.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        self._forget()

    @property
    def _database(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = sqlite3.connect(
                self._folder / "documents.sqlite", isolation_level=None, timeout=60, check_same_thread=False
            )
        return self._connection

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        """One state of the index for several reads; another process may write between two snapshots."""
        self._database.execute("BEGIN")
        try:
            self._database.execute("SELECT 1 FROM segments LIMIT 1").fetchone()  # the state is fixed by the first read
            (version,) = self._database.execute("PRAGMA data_version").fetchone()
            if version != self._version:
                self._forget()
            self._version = version
            yield
        finally:
            self._database.execute("COMMIT")

    def _transaction(self) -> "_Transaction":
        return _Transaction(self._database)

    def _insert(self, payload: dict[str, Any]) -> int:
        text = json.dumps(payload, ensure_ascii=False)
        cursor = self._database.execute("INSERT INTO documents (id, payload) VALUES (?, ?)", (payload["id"], text))
        number = int(cursor.lastrowid or 0)
        self._database.executemany("INSERT INTO tags VALUES (?, ?)", [(tag, number) for tag in payload["tags"]])
        return number

    def _remove(self, ids: Sequence[str]) -> None:
        for part in _parts(ids):
            marks = ", ".join("?" * len(part))
            numbers = f"SELECT number FROM documents WHERE id IN ({marks})"
            self._database.execute(f"DELETE FROM tags WHERE number IN ({numbers})", part)
            self._database.execute(f"DELETE FROM documents WHERE id IN ({marks})", part)

    def _add_segment(self, numbers: NDArray[np.int64], vectors: csr_array) -> None:
        name = uuid.uuid4().hex
        _write_segment(self._folder / "segments" / name, numbers, vectors)
        self._database.execute("INSERT INTO segments VALUES (?, ?)", (name, int(numbers[0])))

    def _read_segments(self) -> list[_Segment]:
        if self._segments is None:
            found = self._database.execute("SELECT name FROM segments ORDER BY first").fetchall()
            self._segments = [_Segment.open(self._folder / "segments" / name) for (name,) in found]
        return self._segments

    def _living(self) -> NDArray[np.int64]:
        """Numbers of all documents."""
        return _numbers(self._database.execute("SELECT number FROM documents"))

    def _living_masks(self) -> "list[NDArray[np.bool_] | None]":
        """For every segment, which of its rows live; None: all, which a count tells without reading a million ids."""
        if self._alive is None:
            segments = self._read_segments()
            all_live = sum(len(segment.numbers) for segment in segments) == self.count()
            self._alive = [None] * len(segments) if all_live else [*_masks(segments, self._living())]
        return self._alive

    def _tagged(self, tags: Sequence[str]) -> NDArray[np.int64]:
        query = " INTERSECT ".join(["SELECT number FROM tags WHERE tag = ?"] * len(tags))
        return _numbers(self._database.execute(query, list(tags)))

    def _hits(self, found: Sequence[_Candidate], query: SparseVector, with_terms: bool) -> list[Hit]:
        payloads: dict[int, str] = {}
        for part in _parts([candidate.number for candidate in found]):
            marks = ", ".join("?" * len(part))
            asked = f"SELECT number, payload FROM documents WHERE number IN ({marks})"
            payloads.update(self._database.execute(asked, part))
        return [
            hit_of(
                json.loads(payloads[candidate.number]),
                candidate.score,
                candidate.segment.terms(query, candidate.row) if with_terms else (),
            )
            for candidate in found
        ]

    def _forget(self) -> None:
        self._segments = None
        self._alive = None

    def _sweep(self) -> None:
        """Removes folders that no transaction ever named, or that a merge replaced."""
        known = {name for (name,) in self._database.execute("SELECT name FROM segments")}
        for folder in (self._folder / "segments").glob("*"):
            if folder.name not in known:
                shutil.rmtree(folder, ignore_errors=True)


class _Transaction:
    """All or nothing, also under Ctrl-C."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def __enter__(self) -> None:
        self._database.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if error is None:
                self._database.execute("COMMIT")
        finally:
            if self._database.in_transaction:  # on a full disk SQLite has rolled back itself
                self._database.execute("ROLLBACK")


@contextmanager
def _refusals(folder: Path) -> Iterator[None]:
    """Says where the disk refused; what was in the index before stays."""
    try:
        yield
    except (OSError, sqlite3.OperationalError) as error:
        reason = write_failure(error)
        if reason is None:
            raise
        raise SembridgeError(f"Index {folder} could not be written: {reason}. What was in it stays.") from error


def _write_segment(folder: Path, numbers: NDArray[np.int64], vectors: csr_array) -> None:
    inverted = csc_array(vectors)
    inverted.sort_indices()
    folder.mkdir(parents=True)
    np.save(folder / "starts.npy", inverted.indptr.astype(np.int64))
    np.save(folder / "documents.npy", inverted.indices.astype(np.int32))
    np.save(folder / "weights.npy", inverted.data.astype(np.float32))
    np.save(folder / "numbers.npy", numbers.astype(np.int64))


def _groups(segments: Sequence[_Segment]) -> Iterator[list[_Segment]]:
    """Neighbours that together stay below the limit, where there are two or more."""
    group: list[_Segment] = []
    for segment in segments:
        if sum(member.lists.nnz for member in [*group, segment]) > _MAX_POSTINGS:
            if len(group) > 1:
                yield group
            group = []
        group.append(segment)
    if len(group) > 1:
        yield group


def _merge(group: Sequence[_Segment], living: NDArray[np.int64]) -> tuple[csr_array, NDArray[np.int64]]:
    """The vectors (n_documents, n_dims) of the living documents of some segments, and their numbers."""
    keep = _masks(group, living)
    vectors = vstack([segment.vectors()[kept] for segment, kept in zip(group, keep, strict=True)], format="csr")
    return vectors, np.concatenate([segment.numbers[kept] for segment, kept in zip(group, keep, strict=True)])


def _masks(segments: Sequence[_Segment], allowed: NDArray[np.int64]) -> list[NDArray[np.bool_]]:
    """For every segment (n_documents,): which of its rows are documents with these numbers."""
    return [np.isin(segment.numbers, allowed, assume_unique=True) for segment in segments]


def _candidates(
    segment: _Segment, query: SparseVector, mask: NDArray[np.bool_] | None, top_k: int
) -> Iterator[_Candidate]:
    """The `top_k` best of a segment, and those that tie with the last of them."""
    scores = segment.scores(query)
    if mask is not None:
        scores *= mask
    bound = _reached(scores, top_k)
    found = np.flatnonzero(scores >= bound if bound > 0 else scores > 0)
    if len(found) > top_k:
        least = np.partition(scores[found], len(found) - top_k)[len(found) - top_k]
        found = found[scores[found] >= least]
    for row in found.tolist():
        yield _Candidate(float(scores[row]), int(segment.numbers[row]), segment, row)


def _reached(scores: NDArray[np.float32], top_k: int) -> float:
    """A score that `top_k` documents or more reach; 0 where there are few.

    The best of a block is one document, so the k-th of the blocks' best is reached by k of them: one pass, where a
    partition of all scores costs eight times as much.
    """
    n_blocks = len(scores) // _BLOCK
    if n_blocks <= top_k:
        return 0.0
    best = (
        scores[: n_blocks * _BLOCK].reshape(_BLOCK, n_blocks).max(axis=0)
    )  # along rows, numpy takes half as long again
    return float(np.partition(best, n_blocks - top_k)[n_blocks - top_k])


def _best(candidates: list[_Candidate], top_k: int) -> list[_Candidate]:
    """The `top_k` best, and those that tie with the last of them: ids decide, and they are not known here."""
    if len(candidates) <= top_k:
        return candidates
    least = sorted((candidate.score for candidate in candidates), reverse=True)[top_k - 1]
    return [candidate for candidate in candidates if candidate.score >= least]


def _numbers(cursor: sqlite3.Cursor) -> NDArray[np.int64]:
    return np.fromiter((number for (number,) in cursor), dtype=np.int64)


def _parts(ids: Sequence[_Name]) -> Iterator[list[_Name]]:
    for start in range(0, len(ids), _SQL_NAMES):
        yield list(ids[start : start + _SQL_NAMES])
