"""An index folder: an encoder's documents in an engine, and a manifest that remembers whose they are.

`index.json` names the encoder (name, fingerprint, width), the recipe, and how far an unfinished run has come. It is
replaced in one step after every batch that the engine has made durable, so a killed run goes on from its last safe
point, and adding a batch twice changes nothing. Embedded engines keep their files in the same folder.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import numpy as np
from scipy.sparse import csr_array, vstack

from sembridge.corpus import Document, corpus_file, stream_corpus
from sembridge.encoding import MANIFEST as SHARD_MANIFEST
from sembridge.encoding import read_manifest as read_shard_manifest
from sembridge.encoding import read_shards
from sembridge.errors import SembridgeError
from sembridge.fingerprint import sparse_encoder_fingerprint
from sembridge.output import acquired_lock, check_output_folder
from sembridge.recipes.index import EMBEDDED, IndexRecipe
from sembridge.search import open_engine
from sembridge.search.protocol import Engine, EngineUnavailableError, Hit, rows
from sembridge.search.pruning import prune
from sembridge.sparse_vectors import encode_corpus, encode_queries

if TYPE_CHECKING:
    from filelock import FileLock
    from sentence_transformers import SparseEncoder

MANIFEST = "index.json"
FORMAT = 1
_LOCK = ".lock"
# What the documents in an index already depend on; the rest of a recipe may change from run to run.
_FIXED = ("engine", "collection", "max_active_dims", "min_weight")


@dataclass(frozen=True)
class EncoderFacts:
    """Which encoder made the vectors."""

    name: str
    fingerprint: str
    n_dims: int

    @classmethod
    def of(cls, encoder: "SparseEncoder", name: str) -> "EncoderFacts":
        fingerprint = sparse_encoder_fingerprint(encoder)
        if fingerprint is None:
            raise SembridgeError(
                f"Encoder {name} runs on {encoder.backend}: an index knows its encoder by its torch weights."
            )
        # What it gives, not what it says: some modules learn their width from their first text.
        n_dims = encode_queries(encoder, ["a"]).shape[1]
        return cls(str(Path(name).resolve()) if Path(name).is_dir() else name, fingerprint, n_dims)


@dataclass(frozen=True)
class Unfinished:
    """How far a run has come: the first `done` documents of `source`, which have this digest, are in."""

    source: str
    done: int
    digest: str


@dataclass(frozen=True)
class Manifest:
    """What `index.json` says.

    Attributes:
        created: the engine's place was made.
        ready: a build has come to its end once; searches are answered.
        unfinished: of a run that has not come to its end.
    """

    encoder: EncoderFacts
    recipe: IndexRecipe
    created: bool = False
    ready: bool = False
    n_documents: int = 0
    unfinished: Unfinished | None = None

    def write(self, folder: Path) -> None:
        """Replaces the manifest in one step; the address is written without a password."""
        facts = {field.name: getattr(self, field.name) for field in fields(self)}
        facts["encoder"] = asdict(self.encoder)
        facts["recipe"] = {**self.recipe.model_dump(), "url": _without_password(self.recipe.url)}
        facts["unfinished"] = None if self.unfinished is None else asdict(self.unfinished)
        text = json.dumps({"format": FORMAT, **facts}, indent=1, ensure_ascii=False)
        part = folder / f".{MANIFEST}.part"
        with part.open("w", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        part.replace(folder / MANIFEST)


@dataclass(frozen=True)
class IndexReport:
    """What a run of `index_corpus` did.

    Attributes:
        n_added: documents that were added or updated now.
        n_continued: documents that an earlier, interrupted run had added.
        n_documents: documents in the index.
        n_postings: active dimensions of the documents added now, after pruning.
    """

    folder: str
    engine: str
    n_added: int
    n_continued: int
    n_documents: int
    n_postings: int
    seconds: float


def read_manifest(folder: Path) -> Manifest:
    """The manifest of an index folder.

    Raises:
        SembridgeError: the folder is no index, or its manifest cannot be read.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise SembridgeError(f"{folder} holds no {MANIFEST}; expected a folder written by `sembridge index`.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("format") != FORMAT:
            raise ValueError("made by another version of sembridge")
        unfinished = content.pop("unfinished")
        return Manifest(
            encoder=EncoderFacts(**content.pop("encoder")),
            recipe=IndexRecipe.build(content.pop("recipe"), origin=str(path)),
            unfinished=None if unfinished is None else Unfinished(**unfinished),
            **content,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SembridgeError(f"{path} cannot be read ({error}); build the index again.") from None


def resolve_recipe(folder: Path, flags: dict[str, Any]) -> IndexRecipe:
    """The recipe of an index folder with flags (those that are not None) over it; of a new folder, the flags'.

    Raises:
        SembridgeError: a flag contradicts what the documents in the folder were made with.
    """
    given = {key: value for key, value in flags.items() if value is not None}
    if not (folder / MANIFEST).is_file():
        return IndexRecipe.build(given, origin="options")
    made = read_manifest(folder).recipe
    recipe = IndexRecipe.build({**made.model_dump(), **given}, origin="options")
    for key in _FIXED:
        if getattr(recipe, key) != getattr(made, key):
            raise SembridgeError(
                f"Index {folder} was made with {key} {getattr(made, key)}, not {getattr(recipe, key)}; leave the "
                "option away, or build it again with --overwrite."
            )
    return recipe


def index_corpus(
    encoder: "SparseEncoder",
    corpus: str | Path,
    folder: Path,
    *,
    name: str,
    recipe: IndexRecipe | None = None,
    add: bool = False,
    overwrite: bool = False,
    texts: str | Path | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> IndexReport:
    """Builds an index of a corpus, goes on with one that was interrupted, or adds to one (`add`).

    Args:
        corpus: as of `stream_corpus`, or a folder of shards written by `sembridge encode`.
        name: what the manifest calls the encoder: the name it was loaded by.
        recipe: None takes the folder's, or the defaults for a new one.
        add: adds documents to a finished index; one of a known id takes the place of the old one.
        texts: for shards, which hold ids and vectors only: the corpus that they were encoded from, for titles, texts
            and fields.
        on_progress: called with the number of documents in, after every safe point.

    Raises:
        SembridgeError: the folder holds another index, another process has it open, the corpus is malformed or has
            changed since an interrupted run, a shard is another encoder's, or a server refuses or has gone.
    """
    facts = EncoderFacts.of(encoder, name)
    recipe = recipe or resolve_recipe(folder, {})
    _check_source(str(corpus), None if texts is None else str(texts), facts)
    started = time.monotonic()
    if overwrite:
        _drop(folder, recipe)
    _check_place(folder, add=add)
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        manifest = _prepared(folder, facts, recipe, str(corpus), add=add)
        engine = open_engine(recipe, folder, n_dims=facts.n_dims)
        run = _Run(encoder, engine, folder, manifest, str(corpus), None if texts is None else str(texts), on_progress)
        try:
            n_continued = run.start()
            n_added, n_postings = run.add_all()
            n_documents = run.finish()
        except EngineUnavailableError as error:
            if not run.manifest.created:
                shutil.rmtree(folder)
            raise SembridgeError(
                f"{error} {run.done:,} documents of {corpus} are safely in; run the same command again and it goes on "
                "from there."
            ) from error
        except BaseException:
            run.undo_if_empty()
            raise
        finally:
            engine.close()
    seconds = time.monotonic() - started
    return IndexReport(str(folder), recipe.engine, n_added, n_continued, n_documents, n_postings, seconds)


class SearchIndex:
    """An index folder, open. A context manager; an embedded Qdrant is this process's own until it is closed."""

    def __init__(self, folder: Path, manifest: Manifest, engine: Engine, lock: "FileLock | None") -> None:
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
        manifest = read_manifest(folder)
        if not manifest.ready:
            done = 0 if manifest.unfinished is None else manifest.unfinished.done
            raise SembridgeError(
                f"Index {folder} is unfinished ({done:,} documents are in); run the same `sembridge index` again first."
            )
        recipe = manifest.recipe if url is None else resolve_recipe(folder, {"url": url})
        lock = _acquired(folder) if writing or recipe.engine == "qdrant-edge" else None
        return cls(folder, manifest, open_engine(recipe, folder, n_dims=manifest.encoder.n_dims), lock)

    def search(
        self,
        encoder: "SparseEncoder",
        queries: Sequence[str],
        *,
        top_k: int = 10,
        filters: Iterable[str] = (),
        with_terms: bool = False,
    ) -> list[list[Hit]]:
        """The best documents of every query, by score descending, then id.

        Args:
            filters: `field=value`, all of which a document must have.
            with_terms: say which shared dimensions made each score.

        Raises:
            SembridgeError: the encoder is not the one that the index was made with, or a filter is malformed.
        """
        self.check_encoder(encoder)
        tags = [_checked_filter(text) for text in filters]
        vectors = rows(encode_queries(encoder, queries))
        return [
            self._engine.search(vector, top_k=top_k, tags=tags, with_terms=with_terms) if len(vector.indices) else []
            for vector in vectors
        ]

    def check_encoder(self, encoder: "SparseEncoder") -> None:
        """Refuses queries by an encoder whose space is another one."""
        known = self.manifest.encoder
        fingerprint = sparse_encoder_fingerprint(encoder)
        if fingerprint != known.fingerprint:
            raise SembridgeError(_other_encoder(self.folder, known, f"this one has {str(fingerprint)[:12]}"))

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


@dataclass
class _Run:
    """One pass over a corpus, from its last safe point to its end."""

    encoder: "SparseEncoder"
    engine: Engine
    folder: Path
    manifest: Manifest
    source: str
    texts: str | None
    on_progress: Callable[[int], None] | None

    def start(self) -> int:
        """Makes the engine's place if it is not there, and returns how many documents an earlier run has added."""
        if not self.manifest.created:
            if self.manifest.recipe.engine in EMBEDDED:
                self.engine.drop()  # what a run that was killed here has left
            self.engine.create()
            self._record(replace(self.manifest, created=True))
        return self.done

    @property
    def done(self) -> int:
        """Number of documents that are safely in."""
        return 0 if self.manifest.unfinished is None else self.manifest.unfinished.done

    def undo_if_empty(self) -> None:
        """Leaves nothing behind of a first run that failed before its first safe point."""
        if self.manifest.ready or self.done:
            return
        if self.manifest.created:
            with suppress(SembridgeError):  # the failure that led here is the one to report
                self.engine.drop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def add_all(self) -> "tuple[int, int]":
        """Number of documents added, and of their postings."""
        hasher = blake2b(digest_size=16)
        items = _items(self.source, self.texts)
        done = self._skip(items, hasher)
        start, n_postings = done, 0
        while batch := list(islice(items, self.manifest.recipe.bulk_size)):
            documents = [item.document for item in batch]
            vectors = self._vectors(batch)
            self.engine.add(documents, vectors)
            for item in batch:
                hasher.update(item.digest())
            done += len(batch)
            n_postings += int(vectors.nnz)
            self._record(replace(self.manifest, unfinished=Unfinished(self.source, done, hasher.hexdigest())))
            if self.on_progress is not None:
                self.on_progress(done)
        return done - start, n_postings

    def finish(self) -> int:
        """Number of documents in the finished index."""
        self.engine.finish()
        n_documents = self.engine.count()
        self._record(replace(self.manifest, ready=True, unfinished=None, n_documents=n_documents))
        return n_documents

    def _skip(self, items: "Iterator[_Item]", hasher: "blake2b") -> int:
        """Reads past what an interrupted run has added, and makes sure that it was the same."""
        unfinished = self.manifest.unfinished
        if unfinished is None:
            return 0
        for item in islice(items, unfinished.done):
            hasher.update(item.digest())
        if unfinished.done and hasher.hexdigest() != unfinished.digest:
            raise SembridgeError(
                f"{self.source} has changed since the run that was interrupted after {unfinished.done:,} documents; "
                "give the corpus as it was, or begin again with --overwrite."
            )
        return unfinished.done

    def _vectors(self, batch: "Sequence[_Item]") -> csr_array:
        recipe = self.manifest.recipe
        if batch[0].vector is None:
            texts = [item.document.content for item in batch]
            vectors = encode_corpus(
                self.encoder,
                texts,
                batch_size=recipe.batch_size,
                max_active_dims=recipe.max_active_dims,
                engine=recipe.encode_with,
            )
        else:
            vectors = vstack([item.vector for item in batch], format="csr")
        return prune(vectors, max_active_dims=recipe.max_active_dims, min_weight=recipe.min_weight)

    def _record(self, manifest: Manifest) -> None:
        self.manifest = manifest
        manifest.write(self.folder)


@dataclass(frozen=True, eq=False)
class _Item:
    """A document on its way in, with its vector (1, n_dims) if a shard brings one."""

    document: Document
    vector: csr_array | None = None

    def digest(self) -> bytes:
        hasher = blake2b(digest_size=16)
        document = self.document
        parts = [document.id, document.title, document.text, json.dumps(dict(document.fields), default=str)]
        hasher.update(json.dumps(parts).encode())
        if self.vector is not None:
            hasher.update(self.vector.indices.astype(np.int32).tobytes())
            hasher.update(self.vector.data.astype(np.float32).tobytes())
        return hasher.digest()


def _items(source: str, texts: str | None) -> "Iterator[_Item]":
    if _is_shard_folder(Path(source)):
        yield from _shard_items(Path(source), texts)
    else:
        yield from (_Item(document) for document in stream_corpus(source))


def _is_shard_folder(source: Path) -> bool:
    return (source / SHARD_MANIFEST).is_file()


def _shard_items(source: Path, texts: str | None) -> "Iterator[_Item]":
    documents = None if texts is None else stream_corpus(texts)
    for ids, vectors in read_shards(source):
        for row, id_ in enumerate(ids):
            document = Document(id_, "", "") if documents is None else next(documents, None)
            if document is None or document.id != id_:
                found = "its end" if document is None else repr(document.id)
                raise SembridgeError(
                    f"{source} has document {id_!r} where {texts} has {found}; give the corpus that the shards were "
                    "encoded from."
                )
            yield _Item(document, vectors[[row]])


def _check_source(source: str, texts: str | None, facts: EncoderFacts) -> None:
    """Refuses a place that holds no corpus, or another encoder's shards, before anything is made."""
    if not _is_shard_folder(Path(source)):
        corpus_file(source)
        if texts is not None:
            raise SembridgeError(f"{source} is a corpus and brings its own texts; leave {texts} away.")
        return
    made_by = read_shard_manifest(Path(source))
    if (made_by.fingerprint, made_by.n_dims) != (facts.fingerprint, facts.n_dims):
        raise SembridgeError(
            f"{source} was encoded by {made_by.encoder} (fingerprint {made_by.fingerprint[:12]}), not by {facts.name} "
            f"({facts.fingerprint[:12]}); give that encoder, or encode the corpus again."
        )
    if texts is not None:
        corpus_file(texts)


def _check_place(folder: Path, *, add: bool) -> None:
    if (folder / MANIFEST).is_file():
        return
    if add:
        raise SembridgeError(f"{folder} holds no index to add to; leave --add away to build one.")
    if not (folder.is_dir() and [path.name for path in folder.iterdir()] == [_LOCK]):  # of a run killed that early
        check_output_folder(folder, overwrite=False)


def _prepared(folder: Path, facts: EncoderFacts, recipe: IndexRecipe, source: str, *, add: bool) -> Manifest:
    """The manifest to go on from: a new one, or that of an index which this run may touch."""
    if not (folder / MANIFEST).is_file():
        manifest = Manifest(facts, recipe)
        manifest.write(folder)
        return manifest
    found = read_manifest(folder)
    if found.encoder.fingerprint != facts.fingerprint:
        raise SembridgeError(_other_encoder(folder, found.encoder, f"{facts.name} has {facts.fingerprint[:12]}"))
    if found.ready and not add:
        raise SembridgeError(
            f"Index {folder} is finished ({found.n_documents:,} documents); --add adds to it, --overwrite builds it "
            "again."
        )
    # An addition that was interrupted and is not taken up again needs nothing: what came in came in whole.
    left = found.ready and found.unfinished is not None and found.unfinished.source != source
    return replace(found, recipe=recipe, unfinished=None if left else found.unfinished)


def _other_encoder(folder: Path, known: EncoderFacts, given: str) -> str:
    return (
        f"Index {folder} was made with the encoder {known.name} (fingerprint {known.fingerprint[:12]}), but {given}: "
        "other weights, settings or library versions. Give that encoder, or build the index again."
    )


def _drop(folder: Path, recipe: IndexRecipe) -> None:
    """Removes an index that was made before, on its server too; a folder that is no index is refused."""
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    manifest = read_manifest(folder)
    with _locked(folder):
        if manifest.created:
            old = manifest.recipe
            if recipe.engine == old.engine:  # at an address that may hold a password
                old = old.model_copy(update={"url": recipe.url})
            engine = open_engine(old, folder, n_dims=manifest.encoder.n_dims)
            try:
                engine.drop()
            finally:
                engine.close()
        shutil.rmtree(folder)


def _checked_filter(text: str) -> str:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise SembridgeError(f"Filter {text!r} is not FIELD=VALUE; expected e.g. year=2020.")
    return text


def _without_password(url: str | None) -> str | None:
    if url is None:
        return None
    parts = urlsplit(url)
    if parts.password is None:
        return url
    return parts._replace(netloc=f"{parts.username}@{parts.netloc.rpartition('@')[2]}").geturl()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = _acquired(folder)
    try:
        yield
    finally:
        lock.release()


def _acquired(folder: Path) -> "FileLock":
    lock = acquired_lock(folder / _LOCK)
    if lock is None:
        raise SembridgeError(
            f"Index {folder} is open in another process, and one process at a time may own it; wait until it ends."
        )
    return lock
