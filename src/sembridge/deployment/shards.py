"""Shards on disk: Parquet files of sparse vectors, their manifest and their journal."""

import contextlib
import hashlib
import itertools
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from sembridge.errors import SembridgeError
from sembridge.files.atomic import PARTIAL, acquired_lock
from sembridge.files.records import parse_record


@dataclass(frozen=True)
class Job:
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


SHARDS_MANIFEST = "manifest.json"
_FORMAT = 2
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
class ShardsManifest:
    """What every shard of a folder has in common.

    Attributes:
        encoder: the name it was loaded by; of a folder its absolute path.
        fingerprint: changes whenever its vectors would.
        n_dims: of every vector.
        corpus: name of the corpus file.
        corpus_bytes: its size.
        corpus_sha256: of the file.
        settings: of the `EncodeRecipe`.
        format: of the folder.
    """

    encoder: str
    fingerprint: str
    n_dims: int
    corpus: str
    corpus_bytes: int
    corpus_sha256: str
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


Records = Callable[[Iterable[Job]], Iterator[ShardRecord]]


def read_shards_manifest(folder: Path) -> ShardsManifest:
    """What the shards of `folder` have in common.

    Raises:
        SembridgeError: it is no folder of shards, or one of another format.
    """
    path = folder / SHARDS_MANIFEST
    try:
        text = path.read_text(encoding="utf-8")
        values = json.loads(text)
    except (OSError, ValueError):
        raise SembridgeError(f"{folder} holds no shards: expected the --out of `sembridge encode`.") from None
    if not isinstance(values, dict) or values.get("format") != _FORMAT:
        raise SembridgeError(
            f"{folder}/{SHARDS_MANIFEST} has another format than this version; encode the corpus again."
        )
    return parse_record(ShardsManifest, text, place=str(path), advice="encode the corpus again")


def read_shards(folder: Path) -> Iterator[tuple[list[str], csr_array]]:
    """(ids, vectors) of every shard in the order of the corpus; vectors are (n_documents, n_dims) float32.

    Raises:
        SembridgeError: while iterating: no folder of shards, an unfinished one, or a file that does not have the size
            and checksum of its record.
    """
    manifest = read_shards_manifest(folder)
    for record in _complete_records(folder):
        yield _read_shard(folder / record.file, record, manifest.n_dims)


def one_line(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key}={entry}" for key, entry in value.items())
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


@dataclass
class Journal:
    """The finished shards of one share, read back and added to; only one process has it open."""

    path: Path
    share: Share
    finished: dict[int, ShardRecord]
    is_closed: bool

    @classmethod
    @contextlib.contextmanager
    def open(cls, folder: Path, share: Share) -> "Iterator[Journal]":
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
            for leftover in folder.glob(f"{PARTIAL}shard-*"):
                if share.holds(int(leftover.name.removeprefix(f"{PARTIAL}shard-").partition(".")[0])):
                    leftover.unlink(missing_ok=True)
            yield cls(path, share, {record.shard: record for record in records}, is_closed)
        finally:
            lock.release()

    def is_complete(self, folder: Path) -> bool:
        return self.is_closed and all(_is_there(folder, record) for record in self.finished.values())

    def keeps(self, job: Job) -> bool:
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
    records, is_closed = [], False
    for number, line in enumerate(_whole_lines(path).splitlines(), start=1):
        if line.startswith(b'{"n_shards"'):
            is_closed = True
        else:
            place, text = f"{path}, line {number}", line.decode("utf-8", "replace")
            records.append(parse_record(ShardRecord, text, place=place, advice="encode the corpus again"))
    return records, is_closed


def _whole_lines(path: Path) -> bytes:
    content = path.read_bytes() if path.is_file() else b""
    return content[: content.rfind(b"\n") + 1]


def write_parquet(path: Path, ids: Sequence[str], vectors: csr_array, manifest: ShardsManifest) -> None:
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
