"""An index folder: an encoder's documents in an engine, and a manifest that remembers whose they are.

`index.json` names the encoder (name, fingerprint, width), the recipe, and how far an unfinished run has come. It is
replaced in one step after every batch that the engine has made durable, so a killed run goes on from its last safe
point, and adding a batch twice changes nothing. Embedded engines keep their files in the same folder.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from scipy.sparse import csr_array

from sembridge.deployment.search.engines import open_engine
from sembridge.deployment.search.indexing import acquired, other_encoder, resolve_recipe
from sembridge.deployment.search.manifest import IndexManifest, read_index_manifest
from sembridge.deployment.search.protocol import Engine, Hit, rows
from sembridge.encoders.readers import Reader, reader_of
from sembridge.encoders.vectors import TextEncoder
from sembridge.errors import SembridgeError

if TYPE_CHECKING:
    from filelock import FileLock
    from sentence_transformers import SparseEncoder


def search(
    folder: str | Path,
    encoder: "SparseEncoder",
    queries: Sequence[str],
    *,
    top_k: int = 10,
    filters: Iterable[str] = (),
    url: str | None = None,
) -> list[list[Hit]]:
    """The best documents of every query in an index folder, by score descending, then id.

    Args:
        encoder: the one that the index was made with.
        filters: `field=value`, all of which a document must have.
        url: where the server is now, with a password if it needs one.

    Raises:
        SembridgeError: as `SearchIndex.open` and `SearchIndex.search`; for many calls, open the index once.
    """
    with SearchIndex.open(folder, url=url) as opened:
        return opened.search(encoder, queries, top_k=top_k, filters=filters)


class SearchIndex:
    """An index folder, open. A context manager; an embedded Qdrant is this process's own until it is closed."""

    def __init__(self, folder: Path, manifest: IndexManifest, engine: Engine, lock: "FileLock | None") -> None:
        self.folder = folder
        self.manifest = manifest
        self._engine = engine
        self._lock = lock

    @classmethod
    def open(cls, folder: str | Path, *, url: str | None = None, writing: bool = False) -> "SearchIndex":
        """The index in `folder`.

        Args:
            url: where the server is now, with a password if it needs one; None is the address in the manifest.
            writing: documents will be deleted.

        Raises:
            SembridgeError: no index, an unfinished one, or one that another process has open.
        """
        folder = Path(folder)
        manifest = read_index_manifest(folder)
        if not manifest.ready:
            done = 0 if manifest.unfinished is None else manifest.unfinished.done
            raise SembridgeError(
                f"Index {folder} is unfinished ({done:,} documents are in); run the same `sembridge index` again first."
            )
        recipe = manifest.recipe if url is None else resolve_recipe(folder, {"url": url})
        lock = acquired(folder) if writing or recipe.engine == "qdrant-edge" else None
        return cls(folder, manifest, open_engine(recipe, folder, n_dims=manifest.encoder.n_dims), lock)

    def search(
        self,
        encoder: "SparseEncoder | Reader",
        queries: Sequence[str],
        *,
        top_k: int = 10,
        filters: Iterable[str] = (),
        with_terms: bool = False,
    ) -> list[list[Hit]]:
        """The best documents of every query, by score descending, then id.

        Args:
            encoder: the one that the index was made with, or a pivot of another language through it.
            filters: `field=value`, all of which a document must have.
            with_terms: say which shared dimensions made each score.

        Raises:
            SembridgeError: the encoder is not the one that the index was made with, or a filter is malformed.
        """
        reader = reader_of(encoder)
        self.check_encoder(reader)
        tags = [_checked_filter(text) for text in filters]  # before anything is encoded
        vectors = TextEncoder(reader.text_model, "query", "auto")(queries)
        return self._found(vectors, top_k=top_k, tags=tags, with_terms=with_terms)

    def find(
        self, vectors: csr_array, *, top_k: int = 10, filters: Iterable[str] = (), with_terms: bool = False
    ) -> list[list[Hit]]:
        """The same for (n_queries, n_dims) vectors of queries, made by the index's encoder.

        Raises:
            SembridgeError: a filter is malformed, or vectors are of another width.
        """
        if vectors.shape[1] != self.manifest.encoder.n_dims:
            raise SembridgeError(
                f"Query vectors have {vectors.shape[1]:,} dimensions, but index {self.folder} "
                f"{self.manifest.encoder.n_dims:,}; encode the queries with its encoder."
            )
        return self._found(vectors, top_k=top_k, tags=[_checked_filter(f) for f in filters], with_terms=with_terms)

    def _found(self, vectors: csr_array, *, top_k: int, tags: list[str], with_terms: bool) -> list[list[Hit]]:
        return [
            self._engine.search(vector, top_k=top_k, tags=tags, with_terms=with_terms) if len(vector.indices) else []
            for vector in rows(vectors)
        ]

    def check_encoder(self, encoder: "SparseEncoder | Reader") -> None:
        """Refuses queries by an encoder whose space is another one."""
        known = self.manifest.encoder
        fingerprint = reader_of(encoder).fingerprint
        if fingerprint != known.fingerprint:
            raise SembridgeError(other_encoder(self.folder, known, f"this one has {str(fingerprint)[:12]}"))

    def delete(self, ids: Sequence[str]) -> int:
        """Number of documents that were removed; ids that are not there are no error."""
        before = self._engine.count()
        self._engine.delete(ids)
        self._engine.finish()
        after = self._engine.count()
        self.manifest = replace(self.manifest, n_documents=after)
        self.manifest.write(self.folder)
        return before - after

    def count(self) -> int:
        return self._engine.count()

    def close(self) -> None:
        self._engine.close()
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _checked_filter(text: str) -> str:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise SembridgeError(f"Filter {text!r} is not FIELD=VALUE; expected e.g. year=2020.")
    return text
