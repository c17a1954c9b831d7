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
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sembridge.deployment.recipe import EncodeRecipe
from sembridge.deployment.shards import (
    SHARDS_MANIFEST,
    Job,
    Journal,
    Records,
    ShardRecord,
    ShardsManifest,
    Share,
    one_line,
    read_shards_manifest,
    write_parquet,
)
from sembridge.encoders.names import lasting_name
from sembridge.encoders.readers import Reader, reader_of
from sembridge.encoders.vectors import TextEncoder
from sembridge.errors import SembridgeError, require
from sembridge.files.atomic import replacing, write_failure, write_file
from sembridge.files.digests import file_digest
from sembridge.retrieval.corpus import Document, corpus_file, stream_corpus

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder


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


def encode_shards(
    encoder: "SparseEncoder | Reader",
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
        encoder: a loaded sparse encoder, or a pivot, whose shards are over its source's vocabulary.
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
    reader = reader_of(encoder)
    manifest = _manifest(reader, name, corpus_file(corpus), recipe)
    documents = _opened(stream_corpus(corpus))
    _begin(folder, manifest)
    with Journal.open(folder, share) as journal:
        if journal.is_complete(folder):
            return _report(folder, share, journal, 0, start)
        records = _in_process(reader, recipe, manifest, folder)
        if ray_workers is not None:
            records = _on_ray(reader, recipe, manifest, folder, ray_workers)
        n_encoded = _encode_missing(documents, recipe.shard_size, journal, records, on_progress)
        return _report(folder, share, journal, n_encoded, start)


def _opened(documents: Iterator[Document]) -> Iterator[Document]:
    """The same, begun: a corpus that cannot be read is refused before a folder is made for it."""
    return itertools.chain([next(documents)], documents)


def _manifest(reader: Reader, name: str, file: Path, recipe: EncodeRecipe) -> ShardsManifest:
    fingerprint = reader.fingerprint
    if fingerprint is None:
        raise SembridgeError(
            f"The weights of encoder {name} are not torch's, so a continued run could not tell it from another; load "
            "it with the torch backend."
        )
    return ShardsManifest(
        encoder=lasting_name(name),
        fingerprint=fingerprint,
        n_dims=reader.n_dims,
        corpus=file.name,
        corpus_bytes=file.stat().st_size,
        corpus_sha256=file_digest(file),
        settings=recipe.settings(),
    )


def _begin(folder: Path, manifest: ShardsManifest) -> None:
    """Makes the folder and its manifest, or checks that they are of this run."""
    if folder.exists() and not folder.is_dir():
        raise SembridgeError(f"Output {folder} is a file; give the name of a new folder, or of one with shards.")
    if not (folder / SHARDS_MANIFEST).is_file():
        if folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir()):
            raise SembridgeError(f"Output folder {folder} holds other files than shards; give the name of a new one.")
        with _failures(folder):
            folder.mkdir(parents=True, exist_ok=True)
            write_file(folder / SHARDS_MANIFEST, [json.dumps(asdict(manifest), indent=1, ensure_ascii=False) + "\n"])
        return
    held = read_shards_manifest(folder)
    for label, old, new in [
        ("encoder", (held.fingerprint, held.n_dims), (manifest.fingerprint, manifest.n_dims)),
        ("corpus", _corpus_facts(held), _corpus_facts(manifest)),
        ("settings", held.settings, manifest.settings),
    ]:
        if old != new:
            raise SembridgeError(
                f"{folder} holds shards of another {label} ({one_line(old)}, now {one_line(new)}); give the same "
                "one to go on, or another --out."
            )


def _corpus_facts(manifest: ShardsManifest) -> tuple[str, ...]:
    """What tells a corpus from another: its content, wherever the file lies and whatever it is called."""
    return (f"{manifest.corpus_bytes:,} bytes", f"SHA-256 {manifest.corpus_sha256[:12]}")


def _encode_missing(
    documents: Iterable[Document],
    shard_size: int,
    journal: Journal,
    records: Records,
    on_progress: Callable[[int], None] | None,
) -> int:
    """Writes the shards of the share that are not finished; the number of documents encoded."""
    totals = {"shards": 0, "documents": 0, "done": 0, "encoded": 0}

    def advance(n_documents: int) -> None:
        totals["done"] += n_documents
        if on_progress is not None:
            on_progress(totals["done"])

    def missing() -> Iterator[Job]:
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


def _jobs(documents: Iterable[Document], shard_size: int) -> Iterator[Job]:
    stream = iter(documents)
    for shard in itertools.count():
        block = list(itertools.islice(stream, shard_size))
        if not block:
            return
        yield Job(shard, [document.id for document in block], [document.content for document in block])


def _in_process(reader: Reader, recipe: EncodeRecipe, manifest: ShardsManifest, folder: Path) -> Records:
    def records(jobs: Iterable[Job]) -> Iterator[ShardRecord]:
        encode = _text_encoder(reader, recipe)
        return (_encode_shard(encode, job, manifest, folder) for job in jobs)

    return records


def _text_encoder(reader: Reader, recipe: EncodeRecipe) -> TextEncoder:
    return TextEncoder(
        reader.text_model,
        "document",
        recipe.encode_with,
        batch_size=recipe.batch_size,
        max_active_dims=recipe.max_active_dims,
    )


def _encode_shard(encode: TextEncoder, job: Job, manifest: ShardsManifest, folder: Path) -> ShardRecord:
    """The record of a shard that is in its place; what one process and every Ray worker do."""
    vectors = encode(job.texts)
    file = f"shard-{job.shard:06d}.parquet"
    with replacing(folder / file) as partial:
        write_parquet(partial, job.ids, vectors, manifest)
        n_bytes = partial.stat().st_size
        with partial.open("rb") as written:
            sha256 = hashlib.file_digest(written, "sha256").hexdigest()
    return ShardRecord(job.shard, file, len(job.ids), int(vectors.nnz), n_bytes, sha256, job.digest)


def _on_ray(reader: Reader, recipe: EncodeRecipe, manifest: ShardsManifest, folder: Path, n_workers: int) -> Records:
    """Shards by Ray workers; at most two of each are under way, so documents do not pile up."""
    if n_workers < 1:
        raise SembridgeError(f"{n_workers} Ray workers: expected 1 or more.")
    require("ray", "ray", what="--ray")
    import ray

    def records(jobs: Iterable[Job]) -> Iterator[ShardRecord]:
        import torch

        if not ray.is_initialized():
            # One processor is left to this process, which reads the corpus; a cluster has its own numbers.
            ray.init(**({} if "RAY_ADDRESS" in os.environ else {"num_cpus": n_workers + 1}), include_dashboard=False)
        on_gpu = reader.encoder.device.type == "cuda"
        worker_class = ray.remote(num_cpus=1, num_gpus=int(on_gpu))(_RayWorker)
        stored = ray.put(reader)
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


class _RayWorker:
    """A reader in a process of Ray's."""

    def __init__(
        self, reader: Reader, recipe: EncodeRecipe, manifest: ShardsManifest, folder: Path, n_threads: int
    ) -> None:
        import torch

        torch.set_num_threads(n_threads)
        self._encode = _text_encoder(reader, recipe)
        self._manifest, self._folder = manifest, folder

    def encode(self, job: Job) -> ShardRecord:
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


def _report(folder: Path, share: Share, journal: Journal, n_encoded: int, start: float) -> EncodingReport:
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
