"""Postgres with the extension pgvector: a table with a `sparsevec` column, for small sites that have a Postgres anyway.

Weights are float32. A search is exact: it computes `<#>`, the negative inner product, of every row that carries the
tags. pgvector's only index on `sparsevec`, HNSW, is approximate and takes 1,000 active dimensions at most, so none is
made; a vector may have 16,000 active dimensions.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from scipy.sparse import csr_array

from sembridge.deployment.search.bulk import Patience
from sembridge.deployment.search.protocol import (
    Hit,
    SparseVector,
    Term,
    hit_of,
    payload_of,
    ranked_hits,
    rows,
    shared_terms,
)
from sembridge.errors import SembridgeError, require

if TYPE_CHECKING:
    import psycopg
    from psycopg import Connection, Cursor
    from psycopg.sql import Composed

    from sembridge.retrieval.corpus import Document

MAX_ACTIVE_DIMS = 16_000
_CONNECT_SECONDS = 10

# Classes of SQLSTATE: connection, rolled back, resources, operator intervention (a restart). None has no answer at all.
_TRANSIENT = ("08", "40", "53", "57")

_Answer = TypeVar("_Answer")


class _LostError(Exception):
    pass


class PgvectorEngine:
    """A table of a database; the connection is opened at the first call, and again after it was lost."""

    def __init__(self, url: str, table: str, n_dims: int, *, key: str | None, patience: Patience) -> None:
        self._url = url
        self._table = table
        self._n_dims = n_dims
        self._key = key
        self._patience = patience
        self._connection: Connection[Any] | None = None

    @classmethod
    def connect(cls, url: str, table: str, n_dims: int, *, key: str | None, patience: Patience) -> "PgvectorEngine":
        """The engine of a table.

        Args:
            url: `postgresql://user@host:port/database`.
            key: the password, if it does not stand in the address; libpq's own variables and files work too.
        """
        require("pgvector", "psycopg", "pgvector.psycopg", what="Engine pgvector")
        return cls(url, table, n_dims, key=key, patience=patience)

    def create(self) -> None:
        def make(cursor: "Cursor[Any]") -> None:
            cursor.execute(
                self._sql(
                    'CREATE TABLE IF NOT EXISTS {table} (id text COLLATE "C" PRIMARY KEY, payload jsonb NOT NULL, '
                    "tags text[] NOT NULL, vector sparsevec({n_dims}) NOT NULL)"
                )
            )
            cursor.execute(self._sql("CREATE INDEX IF NOT EXISTS {tags_index} ON {table} USING gin (tags)"))

        self._run(make)
        if n_documents := self.count():
            raise SembridgeError(
                f"Table {self._table} holds {n_documents:,} documents already; give another --collection."
            )

    def add(self, documents: "Sequence[Document]", vectors: csr_array) -> None:
        from pgvector import SparseVector as PgVector
        from psycopg.types.json import Jsonb

        values = []
        for document, row in zip(documents, rows(vectors), strict=True):
            self._check_size(document.id, row)
            payload = payload_of(document)
            weights = dict(zip(row.indices.tolist(), row.values.tolist(), strict=True))
            values.append((document.id, Jsonb(payload), payload["tags"], PgVector(weights, self._n_dims)))
        statement = self._sql(
            "INSERT INTO {table} VALUES (%s, %s, %s, %s) ON CONFLICT (id) DO UPDATE "
            "SET payload = excluded.payload, tags = excluded.tags, vector = excluded.vector"
        )
        self._run(lambda cursor: cursor.executemany(statement, values))

    def delete(self, ids: Sequence[str]) -> None:
        self._run(lambda cursor: cursor.execute(self._sql("DELETE FROM {table} WHERE id = ANY(%s)"), (list(ids),)))

    def finish(self) -> None:
        self._run(lambda cursor: cursor.execute(self._sql("ANALYZE {table}")))

    def search(
        self, query: SparseVector, *, top_k: int, tags: Sequence[str] = (), with_terms: bool = False
    ) -> list[Hit]:
        from pgvector import SparseVector as PgVector

        weights = PgVector(dict(zip(query.indices.tolist(), query.values.tolist(), strict=True)), self._n_dims)
        statement = self._sql(
            "SELECT payload, -(vector <#> %(query)s) AS score, CASE WHEN %(terms)s THEN vector END FROM {table} "
            "WHERE tags @> %(tags)s ORDER BY score DESC, id LIMIT %(top_k)s"
        )
        values = {"query": weights, "terms": with_terms, "tags": list(tags), "top_k": top_k}
        found = self._run(lambda cursor: cursor.execute(statement, values).fetchall())
        return ranked_hits([_hit(payload, score, vector, query) for payload, score, vector in found])

    def count(self) -> int:
        found = self._run(lambda cursor: cursor.execute(self._sql("SELECT count(*) FROM {table}")).fetchone())
        return 0 if found is None else int(found[0])

    def drop(self) -> None:
        self._run(lambda cursor: cursor.execute(self._sql("DROP TABLE IF EXISTS {table}")))

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _run(self, work: "Callable[[Cursor[Any]], _Answer]") -> _Answer:
        """The answer of `work` in a transaction of its own; a lost connection is opened again."""
        import psycopg

        def attempt() -> _Answer:
            try:
                connection = self._opened()
                with connection.transaction(), connection.cursor() as cursor:
                    return work(cursor)
            except psycopg.Error as error:
                if not _is_transient(error):
                    raise SembridgeError(f"Postgres refuses: {' '.join(str(error).split())[:300]}") from error
                self.close()
                raise _LostError(str(error)) from error

        return self._patience.call(attempt, place="Postgres", transient=(_LostError,))

    def _opened(self) -> "Connection[Any]":
        if self._connection is None:
            import psycopg
            from pgvector.psycopg import register_vector

            password = {} if self._key is None else {"password": self._key}
            connection = psycopg.connect(
                self._url,
                connect_timeout=_CONNECT_SECONDS,
                autocommit=True,
                **password,
            )
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
            register_vector(connection)
            self._connection = connection
        return self._connection

    def _sql(self, text: str) -> "Composed":
        from psycopg import sql

        return sql.SQL(text).format(
            table=sql.Identifier(self._table),
            tags_index=sql.Identifier(f"{self._table}_tags"),
            n_dims=sql.Literal(self._n_dims),
        )

    def _check_size(self, document_id: str, row: SparseVector) -> None:
        if len(row.indices) > MAX_ACTIVE_DIMS:
            raise SembridgeError(
                f"Document {document_id!r} has {len(row.indices):,} active dims, but pgvector keeps "
                f"{MAX_ACTIVE_DIMS:,} at most; index with --max-active-dims."
            )


def _is_transient(error: "psycopg.Error") -> bool:
    import psycopg

    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return bool(error.sqlstate.startswith(_TRANSIENT))


def _hit(payload: dict[str, Any], score: float, vector: Any, query: SparseVector) -> Hit:
    terms: tuple[Term, ...] = ()
    if vector is not None:
        stored = SparseVector(np.array(vector.indices(), np.int32), np.array(vector.values(), np.float32))
        terms = shared_terms(query, stored)
    return hit_of(payload, score, terms)
