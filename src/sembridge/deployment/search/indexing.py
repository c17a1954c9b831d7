"""Documents into an index, in blocks that can be taken up again after a kill."""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scipy.sparse import csr_array, vstack

from sembridge.deployment.recipe import EMBEDDED, IndexRecipe
from sembridge.deployment.search.engines import open_engine
from sembridge.deployment.search.items import Item, is_shard_folder, read_items
from sembridge.deployment.search.light import keep_light_way
from sembridge.deployment.search.manifest import (
    INDEX_MANIFEST,
    EncoderFacts,
    IndexManifest,
    Unfinished,
    read_index_manifest,
)
from sembridge.deployment.search.protocol import Engine, EngineUnavailableError
from sembridge.deployment.search.pruning import prune
from sembridge.deployment.shards import read_shards_manifest
from sembridge.encoders.names import lasting_name
from sembridge.encoders.readers import Reader, reader_of
from sembridge.encoders.vectors import TextEncoder
from sembridge.errors import SembridgeError, reason_of
from sembridge.files.atomic import PARTIAL, acquired_lock, check_output_folder
from sembridge.retrieval.corpus import corpus_file

if TYPE_CHECKING:
    from filelock import FileLock
    from sentence_transformers import SparseEncoder

_LOCK = ".lock"
# What the documents in an index already depend on; the rest of a recipe may change from run to run.
_FIXED = ("engine", "collection", "max_active_dims", "min_weight")


@dataclass(frozen=True)
class IndexReport:
    """What a run of `index_corpus` did.

    Attributes:
        n_added: documents that were added or updated now.
        n_continued: documents that an earlier, interrupted run had added.
        n_documents: documents in the index.
        n_postings: active dimensions of the documents added now, after pruning.
        encoded_with: the way that their texts were encoded; None where none was.
    """

    folder: str
    engine: str
    n_added: int
    n_continued: int
    n_documents: int
    n_postings: int
    seconds: float
    encoded_with: str | None = None


def resolve_recipe(folder: Path, flags: dict[str, Any]) -> IndexRecipe:
    """The recipe of an index folder with flags (those that are not None) over it; of a new folder, the flags'.

    Raises:
        SembridgeError: a flag contradicts what the documents in the folder were made with.
    """
    given = {key: value for key, value in flags.items() if value is not None}
    if not (folder / INDEX_MANIFEST).is_file():
        return IndexRecipe.build(given, origin="options")
    made = read_index_manifest(folder).recipe
    recipe = IndexRecipe.build({**made.model_dump(), **given}, origin="options")
    for key in _FIXED:
        if getattr(recipe, key) != getattr(made, key):
            raise SembridgeError(
                f"Index {folder} was made with {key} {getattr(made, key)}, not {getattr(recipe, key)}; leave the "
                "option away, or build it again with --overwrite."
            )
    return recipe


def index_corpus(
    encoder: "SparseEncoder | Reader",
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
        encoder: a pivot adds documents of its language to an index of its source encoder: their ids begin with the
            language (`ko:17`), which is also their field `language`.
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
    reader = reader_of(encoder)
    facts = EncoderFacts.of(reader, name)
    recipe = recipe or resolve_recipe(folder, {})
    _check_source(str(corpus), None if texts is None else str(texts), facts)
    started = time.monotonic()
    if overwrite:
        _drop(folder, recipe)
    _check_place(folder, add=add)
    engine = open_engine(recipe, folder, n_dims=facts.n_dims)  # before a folder is made: its client may be missing
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        manifest = _prepared(folder, facts, recipe, lasting_name(corpus), add=add)
        run = _Run(
            reader, engine, folder, manifest, lasting_name(corpus), None if texts is None else str(texts), on_progress
        )
        try:
            n_continued = run.start()
            n_added, n_postings = run.add_all()
            n_documents = run.finish()
            keep_light_way(reader, name, folder)
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
    return IndexReport(str(folder), recipe.engine, n_added, n_continued, n_documents, n_postings, seconds, run.way)


@dataclass
class _Run:
    """One pass over a corpus, from its last safe point to its end."""

    reader: Reader
    engine: Engine
    folder: Path
    manifest: IndexManifest
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
        items = (item.tagged(self.reader.language) for item in read_items(self.source, self.texts))
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

    def _skip(self, items: Iterator[Item], hasher: "blake2b") -> int:
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

    @cached_property
    def _encode(self) -> TextEncoder:
        recipe = self.manifest.recipe
        return TextEncoder(
            self.reader.text_model,
            "document",
            recipe.encode_with,
            batch_size=recipe.batch_size,
            max_active_dims=recipe.max_active_dims,
        )

    def _vectors(self, batch: Sequence[Item]) -> csr_array:
        recipe = self.manifest.recipe
        if batch[0].vector is None:
            vectors = self._encode([item.document.content for item in batch])
        else:
            vectors = vstack([item.vector for item in batch], format="csr")
        return prune(vectors, max_active_dims=recipe.max_active_dims, min_weight=recipe.min_weight)

    @property
    def way(self) -> str | None:
        """How texts were encoded; None: there were none."""
        return self._encode.way if "_encode" in self.__dict__ else None

    def _record(self, manifest: IndexManifest) -> None:
        self.manifest = manifest
        manifest.write(self.folder)


def _check_source(source: str, texts: str | None, facts: EncoderFacts) -> None:
    """Refuses a place that holds no corpus, or another encoder's shards, before anything is made."""
    if not is_shard_folder(Path(source)):
        corpus_file(source)
        if texts is not None:
            raise SembridgeError(f"{source} is a corpus and brings its own texts; leave {texts} away.")
        return
    made_by = read_shards_manifest(Path(source))
    if (made_by.fingerprint, made_by.n_dims) != (facts.fingerprint, facts.n_dims):
        raise SembridgeError(
            f"{source} was encoded by {made_by.encoder} (fingerprint {made_by.fingerprint[:12]}), not by {facts.name} "
            f"({facts.fingerprint[:12]}); give that encoder, or encode the corpus again."
        )
    if texts is not None:
        corpus_file(texts)


def _check_place(folder: Path, *, add: bool) -> None:
    if (folder / INDEX_MANIFEST).is_file():
        return
    if add:
        raise SembridgeError(f"{folder} holds no index to add to; leave --add away to build one.")
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    if not names or not all(name == _LOCK or name.startswith(PARTIAL) for name in names):  # not of a run killed early
        check_output_folder(folder, overwrite=False)


def _prepared(folder: Path, facts: EncoderFacts, recipe: IndexRecipe, source: str, *, add: bool) -> IndexManifest:
    """The manifest to go on from: a new one, or that of an index which this run may touch."""
    if not (folder / INDEX_MANIFEST).is_file():
        manifest = IndexManifest(facts, recipe)
        manifest.write(folder)
        return manifest
    found = read_index_manifest(folder)
    if found.encoder.fingerprint != facts.fingerprint:
        raise SembridgeError(other_encoder(folder, found.encoder, f"{facts.name} has {facts.fingerprint[:12]}"))
    if found.ready and not add:
        raise SembridgeError(
            f"Index {folder} is finished ({found.n_documents:,} documents); --add adds to it, --overwrite builds it "
            "again."
        )
    # An addition that was interrupted and is not taken up again needs nothing: what came in came in whole.
    left = found.ready and found.unfinished is not None and found.unfinished.source != source
    if not left and found.unfinished is not None and found.recipe.encode_with != recipe.encode_with:
        raise SembridgeError(
            f"Index {folder} has {found.unfinished.done:,} documents encoded with {found.recipe.encode_with}, and this "
            f"run would encode the others with {recipe.encode_with}; leave --encode-with away to go on, or begin again "
            "with --overwrite."
        )
    return replace(found, recipe=recipe, unfinished=None if left else found.unfinished)


def other_encoder(folder: Path, known: EncoderFacts, given: str) -> str:
    return (
        f"Index {folder} was made with the encoder {known.name} (fingerprint {known.fingerprint[:12]}), but {given}: "
        "other weights, settings or library versions. Give that encoder, or build the index again."
    )


def _drop(folder: Path, recipe: IndexRecipe) -> None:
    """Removes an index that was made before, on its server too; a folder that is no index is refused."""
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    manifest = read_index_manifest(folder)
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


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = acquired(folder)
    try:
        yield
    finally:
        lock.release()


def acquired(folder: Path) -> "FileLock":
    try:
        lock = acquired_lock(folder / _LOCK)
    except OSError as error:
        raise SembridgeError(
            f"Index {folder} cannot be written ({reason_of(error).lower()}), which the engine qdrant-edge does even to "
            "search; copy the folder to a disk you can write to, or build it with --engine exact, which only reads."
        ) from error
    if lock is None:
        raise SembridgeError(
            f"Index {folder} is open in another process, and one process at a time may own it; wait until it ends."
        )
    return lock
