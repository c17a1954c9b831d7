"""A corpus encoded into shards: Parquet files that one machine writes, or many at once, and that a killed run keeps.

A shard holds a fixed number of documents in the order of the corpus and is encoded by itself, so its bytes do not
depend on who writes it, or when. A folder of shards holds

- `manifest.json`: encoder, corpus and settings; the same for every machine that writes here;
- `shard-000000.parquet`, ...: `_id` (string), `indices` (list of int32), `values` (list of float32), a row a document;
- `shards-1-of-1.jsonl`: a line a finished shard with its counts and checksum, and a last line when the corpus is done;
  of `--shard 2/4` it is `shards-2-of-4.jsonl`.

A shard appears under its name when it is whole, and is finished when its line is written: a run killed in between
encodes it once more, to the same bytes.
"""

import contextlib
import hashlib
import itertools
import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_array

from sembridge.corpus import Document, corpus_file, stream_corpus
from sembridge.errors import MissingExtraError, SembridgeError
from sembridge.fingerprint import sparse_encoder_fingerprint
from sembridge.output import acquired_lock, write_failure, write_file
from sembridge.recipes.encode import EncodeRecipe
from sembridge.sparse_vectors import TextEncoder

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"
_FORMAT = 1
_JOURNAL = re.compile(r"shards-(\d+)-of-(\d+)\.jsonl")
_SCHEMA_NOTE = b"sembridge"  # key of the metadata in every Parquet file


@dataclass(frozen=True)
class Share:
    """The shards that one machine of several writes: those of number `number` - 1, and every `of`-th after it."""

    number: int = 1
    of: int = 1

    @classmethod
    def parse(cls, text: str) -> "Share":
        """The share written as "2/4".

        Raises:
            SembridgeError: it is not written like that, or not among 1/n to n/n.
        """
        match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise SembridgeError(f"Shard {text!r}: expected i/n with i from 1 to n, for example 2/4.")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @property
    def journal(self) -> str:
        return f"shards-{self.number}-of-{self.of}.jsonl"

    def holds(self, shard: int) -> bool:
        return shard % self.of == self.number - 1


@dataclass(frozen=True)
class Manifest:
    """What every shard of a folder has in common.

    Attributes:
        encoder: the name it was loaded by.
        fingerprint: changes whenever its vectors would.
        n_dims: of every vector.
        corpus: name of the corpus file.
        corpus_bytes: its size.
        settings: of the `EncodeRecipe`.
        format: of the folder.
    """

    encoder: str
    fingerprint: str
    n_dims: int
    corpus: str
    corpus_bytes: int
    settings: dict[str, Any]
    format: int = _FORMAT


@dataclass(frozen=True)
class ShardRecord:
    """A finished shard: a line of a journal. `documents` is the SHA-256 of its ids and texts, `sha256` of its file."""

    shard: int
    file: str
    n_documents: int
    n_weights: int
    bytes: int
    sha256: str
    documents: str


@dataclass(frozen=True)
class EncodingReport:
    """What a run did: documents and shards of its share, how many of them it encoded itself, and the seconds it took.

    `active_dims` is the mean over all documents of the share.
    """

    folder: str
    share: str
    n_documents: int
    n_shards: int
    n_encoded: int
    active_dims: float
    seconds: float


@dataclass(frozen=True)
class _Job:
    """The documents of one shard, as they go to whoever encodes it."""

    shard: int
    ids: list[str]
    texts: list[str]

    @property
    def digest(self) -> str:
        hasher = hashlib.sha256()
        for part in itertools.chain(self.ids, self.texts):
            encoded = part.encode()
            hasher.update(len(encoded).to_bytes(8, "little") + encoded)
        return hasher.hexdigest()


_Records = Callable[[Iterable[_Job]], Iterator[ShardRecord]]


def encode_shards(
    encoder: "SparseEncoder",
    corpus: str | Path,
    folder: Path,
    *,
    name: str,
    recipe: EncodeRecipe | None = None,
    share: Share | None = None,
    ray_workers: int | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> EncodingReport:
    """Shards of the corpus in `folder`, those of `share` or all; what an earlier run finished is kept.

    Args:
        encoder: a loaded sparse encoder.
        corpus: as of `stream_corpus`; read as a stream, one shard in memory at a time.
        folder: a new folder, or one of the same encoder, corpus and settings.
        name: what the manifest calls the encoder.
        recipe: None is `EncodeRecipe()`.
        share: None is the whole corpus.
        ray_workers: None encodes in this process; a number, on so many Ray workers, which need `folder` on a file
            system of their own. Their shards are the same, byte for byte, at the same number of threads a worker.
        on_progress: is told how many documents of the share are done.

    Raises:
        MissingExtraError: Ray is asked for and not installed.
        SembridgeError: a corpus that `stream_corpus` refuses, a folder of another encoder, corpus or settings, one that
            another process writes, or a full disk; finished shards stay.
    """
    recipe, share, start = recipe or EncodeRecipe(), share or Share(), time.perf_counter()
    manifest = _manifest(encoder, name, corpus_file(corpus), recipe)
    _begin(folder, manifest)
    with _Journal.open(folder, share) as journal:
        if journal.is_complete(folder):
            return _report(folder, share, journal, 0, start)
        records = _in_process(encoder, recipe, manifest, folder)
        if ray_workers is not None:
            records = _on_ray(encoder, recipe, manifest, folder, ray_workers)
        n_encoded = _encode_missing(stream_corpus(corpus), recipe.shard_size, journal, records, on_progress)
        return _report(folder, share, journal, n_encoded, start)


def read_manifest(folder: Path) -> Manifest:
    """What the shards of `folder` have in common.

    Raises:
        SembridgeError: it is no folder of shards, or one of another format.
    """
    try:
        values = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise SembridgeError(f"{folder} holds no shards: expected the --out of `sembridge encode`.") from None
    if not isinstance(values, dict) or values.get("format") != _FORMAT:
        raise SembridgeError(f"{folder}/{MANIFEST} has another format than this version; encode the corpus again.")
    return Manifest(**values)


def read_shards(folder: Path) -> Iterator[tuple[list[str], csr_array]]:
    """(ids, vectors) of every shard in the order of the corpus; vectors are (n_documents, n_dims) float32.

    Raises:
        SembridgeError: while iterating: no folder of shards, an unfinished one, or a file that does not have the size
            and checksum of its record.
    """
    manifest = read_manifest(folder)
    for record in _complete_records(folder):
        yield _read_shard(folder / record.file, record, manifest.n_dims)


def _manifest(encoder: "SparseEncoder", name: str, file: Path, recipe: EncodeRecipe) -> Manifest:
    fingerprint = sparse_encoder_fingerprint(encoder)
    if fingerprint is None:
        raise SembridgeError(
            f"The weights of encoder {name} are not torch's, so a continued run could not tell it from another; load "
            "it with the torch backend."
        )
    return Manifest(
        encoder=name,
        fingerprint=fingerprint,
        n_dims=_text_encoder(encoder, recipe)(["a"]).shape[1],  # a loaded SpladePooling does not know it before
        corpus=file.name,
        corpus_bytes=file.stat().st_size,
        settings=recipe.settings(),
    )


def _begin(folder: Path, manifest: Manifest) -> None:
    """Makes the folder and its manifest, or checks that they are of this run."""
    if folder.exists() and not folder.is_dir():
        raise SembridgeError(f"Output {folder} is a file; give the name of a new folder, or of one with shards.")
    if not (folder / MANIFEST).is_file():
        if folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir()):
            raise SembridgeError(f"Output folder {folder} holds other files than shards; give the name of a new one.")
        with _failures(folder):
            folder.mkdir(parents=True, exist_ok=True)
            write_file(folder / MANIFEST, [json.dumps(asdict(manifest), indent=1, ensure_ascii=False) + "\n"])
        return
    held = read_manifest(folder)
    for label, old, new in [
        ("encoder", (held.fingerprint, held.n_dims), (manifest.fingerprint, manifest.n_dims)),
        ("corpus", (held.corpus, held.corpus_bytes), (manifest.corpus, manifest.corpus_bytes)),
        ("settings", held.settings, manifest.settings),
    ]:
        if old != new:
            raise SembridgeError(
                f"{folder} holds shards of another {label} ({_one_line(old)}, now {_one_line(new)}); give the same "
                "one to go on, or another --out."
            )


def _one_line(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key}={entry}" for key, entry in value.items())
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


@dataclass
class _Journal:
    """The finished shards of one share, read back and added to; only one process has it open."""

    path: Path
    share: Share
    finished: dict[int, ShardRecord]
    is_closed: bool

    @classmethod
    @contextlib.contextmanager
    def open(cls, folder: Path, share: Share) -> "Iterator[_Journal]":
        path = folder / share.journal
        lock = acquired_lock(folder / f".{share.journal}.lock")
        if lock is None:
            raise SembridgeError(f"Another process is encoding shard {share} into {folder}; wait for it, or stop it.")
        try:
            others = sorted({other.of for other in _shares(folder)} - {share.of})
            if others:
                raise SembridgeError(
                    f"{folder} was begun as 1/{others[0]} to {others[0]}/{others[0]}, now {share}; give --shard i/"
                    f"{others[0]} to go on, or another --out."
                )
            records, is_closed = _read_journal(path)
            if path.is_file() and path.stat().st_size != (size := len(_whole_lines(path))):
                os.truncate(path, size)
            for leftover in folder.glob(".shard-*.partial"):
                if share.holds(int(leftover.name.split("-")[1].split(".")[0])):
                    leftover.unlink(missing_ok=True)
            yield cls(path, share, {record.shard: record for record in records}, is_closed)
        finally:
            lock.release()

    def is_complete(self, folder: Path) -> bool:
        return self.is_closed and all(_is_there(folder, record) for record in self.finished.values())

    def keeps(self, job: _Job) -> bool:
        """Whether the shard of these documents is finished.

        Raises:
            SembridgeError: a shard of that number is finished, but of other documents.
        """
        record = self.finished.get(job.shard)
        if record is None:
            return False
        if record.documents != job.digest:
            raise SembridgeError(
                f"{self.path.parent / record.file} was made of other documents than the corpus has there now; give the "
                "old corpus to go on, or another --out."
            )
        return _is_there(self.path.parent, record)

    def add(self, record: ShardRecord) -> None:
        self.finished[record.shard] = record
        self._write(asdict(record))

    def close(self, n_shards: int, n_documents: int) -> None:
        """Notes that the corpus is done, with the numbers of all shares together."""
        if not self.is_closed:
            self._write({"n_shards": n_shards, "n_documents": n_documents})
            self.is_closed = True

    def _write(self, line: dict[str, object]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())


def _is_there(folder: Path, record: ShardRecord) -> bool:
    path = folder / record.file
    return path.is_file() and path.stat().st_size == record.bytes


def _shares(folder: Path) -> list[Share]:
    names = (_JOURNAL.fullmatch(path.name) for path in folder.iterdir())
    return sorted((Share(int(match[1]), int(match[2])) for match in names if match), key=lambda share: share.number)


def _read_journal(path: Path) -> tuple[list[ShardRecord], bool]:
    """The records of a journal, and whether it has its last line; of a line cut short by a kill nothing is read."""
    lines = [json.loads(line) for line in _whole_lines(path).splitlines()]
    return [ShardRecord(**line) for line in lines if "file" in line], any("n_shards" in line for line in lines)


def _whole_lines(path: Path) -> bytes:
    content = path.read_bytes() if path.is_file() else b""
    return content[: content.rfind(b"\n") + 1]


def _encode_missing(
    documents: Iterable[Document],
    shard_size: int,
    journal: _Journal,
    records: _Records,
    on_progress: Callable[[int], None] | None,
) -> int:
    """Writes the shards of the share that are not finished; the number of documents encoded."""
    totals = {"shards": 0, "documents": 0, "done": 0, "encoded": 0}

    def advance(n_documents: int) -> None:
        totals["done"] += n_documents
        if on_progress is not None:
            on_progress(totals["done"])

    def missing() -> Iterator[_Job]:
        for job in _jobs(documents, shard_size):
            totals["shards"] += 1
            totals["documents"] += len(job.ids)
            if not journal.share.holds(job.shard):
                continue
            if journal.keeps(job):
                advance(len(job.ids))
            else:
                yield job

    with _failures(journal.path.parent):
        for record in records(missing()):
            journal.add(record)
            totals["encoded"] += record.n_documents
            advance(record.n_documents)
        journal.close(totals["shards"], totals["documents"])
    return totals["encoded"]


def _jobs(documents: Iterable[Document], shard_size: int) -> Iterator[_Job]:
    stream = iter(documents)
    for shard in itertools.count():
        block = list(itertools.islice(stream, shard_size))
        if not block:
            return
        yield _Job(shard, [document.id for document in block], [document.content for document in block])


def _in_process(encoder: "SparseEncoder", recipe: EncodeRecipe, manifest: Manifest, folder: Path) -> _Records:
    def records(jobs: Iterable[_Job]) -> Iterator[ShardRecord]:
        encode = _text_encoder(encoder, recipe)
        return (_encode_shard(encode, job, manifest, folder) for job in jobs)

    return records


def _text_encoder(encoder: "SparseEncoder", recipe: EncodeRecipe) -> TextEncoder:
    return TextEncoder(
        encoder,
        "document",
        recipe.engine,
        batch_size=recipe.batch_size,
        max_active_dims=recipe.max_active_dims,
    )


def _encode_shard(encode: TextEncoder, job: _Job, manifest: Manifest, folder: Path) -> ShardRecord:
    """The record of a shard that is in its place; what one process and every Ray worker do."""
    vectors = encode(job.texts)
    file = f"shard-{job.shard:06d}.parquet"
    partial = folder / f".{file}.partial"
    _write_parquet(partial, job.ids, vectors, manifest)
    with partial.open("rb+") as written:
        os.fsync(written.fileno())
        sha256 = hashlib.file_digest(written, "sha256").hexdigest()
    n_bytes = partial.stat().st_size
    partial.replace(folder / file)
    return ShardRecord(job.shard, file, len(job.ids), int(vectors.nnz), n_bytes, sha256, job.digest)


def _write_parquet(path: Path, ids: Sequence[str], vectors: csr_array, manifest: Manifest) -> None:
    import pyarrow as pa
    from pyarrow.parquet import write_table

    vectors.sort_indices()
    starts = pa.array(vectors.indptr.astype(np.int32))
    columns = {
        "_id": pa.array(ids, pa.string()),
        "indices": pa.ListArray.from_arrays(starts, pa.array(vectors.indices.astype(np.int32))),
        "values": pa.ListArray.from_arrays(starts, pa.array(vectors.data.astype(np.float32))),
    }
    note = json.dumps({"fingerprint": manifest.fingerprint, "n_dims": manifest.n_dims}).encode()
    # Weights hardly compress and indices a little: zstd takes a quarter off, in a hundredth of the encoding's time.
    write_table(pa.table(columns).replace_schema_metadata({_SCHEMA_NOTE: note}), path, compression="zstd")


def _on_ray(
    encoder: "SparseEncoder", recipe: EncodeRecipe, manifest: Manifest, folder: Path, n_workers: int
) -> _Records:
    """Shards by Ray workers; at most two of each are under way, so documents do not pile up."""
    if n_workers < 1:
        raise SembridgeError(f"{n_workers} Ray workers: expected 1 or more.")
    ray = _import_ray()

    def records(jobs: Iterable[_Job]) -> Iterator[ShardRecord]:
        import torch

        if not ray.is_initialized():
            # One processor is left to this process, which reads the corpus; a cluster has its own numbers.
            ray.init(**({} if "RAY_ADDRESS" in os.environ else {"num_cpus": n_workers + 1}), include_dashboard=False)
        on_gpu = encoder.device.type == "cuda"
        worker_class = ray.remote(num_cpus=1, num_gpus=int(on_gpu))(_RayWorker)
        stored = ray.put(encoder)
        place, n_threads = folder.absolute(), torch.get_num_threads()
        workers = [worker_class.remote(stored, recipe, manifest, place, n_threads) for _ in range(n_workers)]
        running: dict[Any, Any] = {}
        idle = workers * 2
        try:
            for job in jobs:
                if not idle:
                    yield _first_done(ray, running, idle)
                worker = idle.pop(0)
                running[worker.encode.remote(job)] = worker
            while running:
                yield _first_done(ray, running, idle)
        finally:
            for worker in workers:
                ray.kill(worker)

    return records


def _import_ray() -> Any:
    try:
        import ray
    except ImportError:
        raise MissingExtraError('Ray is not installed; install it with `pip install "sembridge[ray]"`.') from None
    return ray


class _RayWorker:
    """An encoder in a process of Ray's."""

    def __init__(
        self, encoder: "SparseEncoder", recipe: EncodeRecipe, manifest: Manifest, folder: Path, n_threads: int
    ) -> None:
        import torch

        torch.set_num_threads(n_threads)
        self._encode = _text_encoder(encoder, recipe)
        self._manifest, self._folder = manifest, folder

    def encode(self, job: _Job) -> ShardRecord:
        return _encode_shard(self._encode, job, self._manifest, self._folder)


def _first_done(ray: Any, running: dict[Any, Any], idle: list[Any]) -> ShardRecord:
    done = ray.wait(list(running), num_returns=1)[0][0]
    idle.append(running.pop(done))
    try:
        record: ShardRecord = ray.get(done)
    except ray.exceptions.RayActorError as error:
        raise SembridgeError(
            f"A Ray worker died ({_first_line(error)}); finished shards stay, run the command again to go on."
        ) from error
    return record


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@contextlib.contextmanager
def _failures(folder: Path) -> Iterator[None]:
    """Turns a full disk and its like into a refusal of one line."""
    try:
        yield
    except OSError as error:
        if (reason := write_failure(error)) is None:
            raise
        raise SembridgeError(
            f"{folder} could not be written: {reason}. Finished shards stay; run the command again to go on."
        ) from error


def _report(folder: Path, share: Share, journal: _Journal, n_encoded: int, start: float) -> EncodingReport:
    records = journal.finished.values()
    n_documents = sum(record.n_documents for record in records)
    return EncodingReport(
        folder=str(folder),
        share=str(share),
        n_documents=n_documents,
        n_shards=len(records),
        n_encoded=n_encoded,
        active_dims=sum(record.n_weights for record in records) / n_documents if n_documents else 0.0,
        seconds=time.perf_counter() - start,
    )


def _complete_records(folder: Path) -> list[ShardRecord]:
    """Records of all shards of the corpus, in its order."""
    shares = _shares(folder)
    expected = [Share(number, shares[0].of) for number in range(1, shares[0].of + 1)] if shares else [Share()]
    records: list[ShardRecord] = []
    for share in expected:
        found, is_closed = _read_journal(folder / share.journal)
        if not is_closed:
            raise SembridgeError(
                f"{folder} is not finished: run `sembridge encode` with --shard {share} and the same --out to its end."
            )
        records += found
    return sorted({record.shard: record for record in records}.values(), key=lambda record: record.shard)


def _read_shard(path: Path, record: ShardRecord, n_dims: int) -> tuple[list[str], csr_array]:
    import pyarrow as pa
    from pyarrow.parquet import read_table

    content = path.read_bytes() if path.is_file() else b""
    if len(content) != record.bytes or hashlib.sha256(content).hexdigest() != record.sha256:
        raise SembridgeError(
            f"{path} is missing or damaged: its checksum is not that of its record; delete it and run "
            "`sembridge encode` with the same --out again."
        )
    table = read_table(pa.BufferReader(content)).combine_chunks()
    indices, values = (table.column(name).chunk(0) for name in ("indices", "values"))
    shape = (record.n_documents, n_dims)
    parts = (values.values.to_numpy(), indices.values.to_numpy(), indices.offsets.to_numpy())
    vectors = csr_array(parts, shape=shape)
    vectors.check_format(full_check=True)  # scipy would write outside of its memory
    return table.column("_id").to_pylist(), vectors
