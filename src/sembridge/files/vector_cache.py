"""Vectors of texts on disk: complete files only, safe against interruption, damage and a second process."""

import contextlib
import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sembridge.errors import SembridgeError
from sembridge.files.atomic import remove_stale, replacing

logger = logging.getLogger(__name__)

DIGEST_BYTES = 16


def assets_folder(kind: str) -> Path:
    """The folder of one kind in huggingface_hub's own cache; HF_HOME and HF_ASSETS_CACHE are obeyed."""
    from huggingface_hub import constants

    return Path(constants.HF_ASSETS_CACHE) / "sembridge" / kind


@dataclass(frozen=True)
class VectorCache:
    """A folder of shards that are only ever added: safetensors files with the digests of texts and their vectors.

    A shard appears by a rename, complete or not at all, under a name made from its texts; so a killed run leaves
    nothing half, and two processes that encode the same texts write the same file.
    """

    folder: Path
    owner: str  # the bridge's name, for people who look into the files

    def read(self, texts: Iterable[str]) -> Iterator[tuple[list[str], npt.NDArray[np.float32]]]:
        """The cached ones among `texts` with their vectors, a shard at a time, every text at most once."""
        wanted = {_digest(text): text for text in texts}
        for path in sorted(self.folder.glob("*.safetensors")):
            if not wanted:
                return
            digests, vectors = self._read_shard(path, wanted)
            hits = [row for row, digest in enumerate(digests) if digest in wanted]
            if hits:
                yield [wanted.pop(digests[row]) for row in hits], vectors[hits]

    def write(self, texts: list[str], vectors: npt.NDArray[np.float32]) -> None:
        """Adds one shard.

        Raises:
            SembridgeError: the file system refused, e.g. because it is full.
        """
        self._write(_digests(texts), vectors)

    def take_in(self, carried: "CarriedVectors") -> None:
        """Adds the vectors of a file that `carry` wrote.

        Raises:
            SembridgeError: as `write`.
        """
        self._write(carried.digests, carried.vectors)

    def _write(self, digests: npt.NDArray[np.uint8], vectors: npt.NDArray[np.float32]) -> None:
        name = hashlib.blake2b(digests.tobytes(), digest_size=DIGEST_BYTES).hexdigest()
        content = _content(digests, vectors, {"bridge": self.owner})
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with replacing(self.folder / f"{name}.safetensors") as partial:
                partial.write_bytes(content)
        except OSError as error:
            raise SembridgeError(
                f"Bridge vectors cannot be written to {self.folder}: {error.strerror or error}."
                " Free some space there, or give another folder with --cache (the variable HF_ASSETS_CACHE moves all"
                " caches); finished vectors are kept."
            ) from error

    def remove_stale(self) -> None:
        """Deletes what runs that were killed while writing left behind a day ago or earlier."""
        remove_stale(self.folder)

    def _read_shard(self, path: Path, wanted: Mapping[bytes, str]) -> tuple[list[bytes], npt.NDArray[np.float32]]:
        """Digests and vectors of a shard; empty when it holds nothing that is wanted, or is damaged."""
        from safetensors import SafetensorError, safe_open

        nothing: tuple[list[bytes], npt.NDArray[np.float32]] = ([], np.zeros((0, 0), dtype=np.float32))
        try:
            with safe_open(path, framework="np") as shard:
                digests = shard.get_tensor("digests")
                texts = [row.tobytes() for row in digests]
                if not any(text in wanted for text in texts):
                    return nothing
                vectors = shard.get_tensor("vectors")
                if (shard.metadata() or {}).get("checksum") != _checksum(digests, vectors):
                    raise ValueError("its checksum does not fit")
                return texts, vectors
        except FileNotFoundError:
            return nothing  # another process removed a damaged shard
        except (SafetensorError, ValueError) as error:
            logger.warning("Bridge vectors in %s are damaged (%s) and are encoded again", path, error)
            with contextlib.suppress(OSError):
                path.unlink()
            return nothing
        except OSError as error:
            logger.warning("Bridge vectors in %s cannot be read (%s) and are encoded again", path, error)
            return nothing


@dataclass(frozen=True, eq=False)
class CarriedVectors:
    """Vectors of texts in one file that goes from one machine's cache to another's.

    Attributes:
        owner: whose vectors they are, a name.
        fingerprint: of what computed them.
        versions: of the libraries that did.
        digests: (n_texts, 16) uint8, of the texts; the texts themselves are not kept.
        vectors: (n_texts, dim) float32.
    """

    owner: str
    fingerprint: str
    versions: str
    digests: npt.NDArray[np.uint8]
    vectors: npt.NDArray[np.float32]


def carry(
    path: Path, texts: list[str], vectors: npt.NDArray[np.float32], *, owner: str, fingerprint: str, versions: str
) -> None:
    """Writes one file of vectors, whole or not at all.

    Raises:
        SembridgeError: it cannot be written.
    """
    said = {"bridge": owner, "fingerprint": fingerprint, "versions": versions}
    content = _content(_digests(texts), vectors, said)
    try:
        with replacing(path) as partial:
            partial.write_bytes(content)
    except OSError as error:
        raise SembridgeError(f"{path} could not be written: {error.strerror or error}.") from error


def read_carried(path: Path) -> CarriedVectors:
    """What `carry` wrote.

    Raises:
        SembridgeError: it cannot be read, is no such file, or is damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            said, digests, vectors = file.metadata() or {}, file.get_tensor("digests"), file.get_tensor("vectors")
    except (OSError, SafetensorError) as error:
        raise SembridgeError(
            f"{path} cannot be read as bridge vectors: {error}; expected a file of `sembridge bridge-vectors export`."
        ) from None
    if "fingerprint" not in said or said.get("checksum") != _checksum(digests, vectors):
        raise SembridgeError(f"{path} is damaged, or no file of `sembridge bridge-vectors export`; export it again.")
    return CarriedVectors(
        said.get("bridge", ""), said["fingerprint"], said.get("versions", "unknown versions"), digests, vectors
    )


def _content(digests: npt.NDArray[np.uint8], vectors: npt.NDArray[np.float32], said: Mapping[str, str]) -> bytes:
    from safetensors.numpy import save

    metadata = {**said, "checksum": _checksum(digests, vectors)}
    content: bytes = save({"digests": digests, "vectors": np.ascontiguousarray(vectors)}, metadata)
    return content


def _digests(texts: Iterable[str]) -> npt.NDArray[np.uint8]:
    return np.frombuffer(b"".join(map(_digest, texts)), dtype=np.uint8).reshape(-1, DIGEST_BYTES)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=DIGEST_BYTES).digest()


def _checksum(digests: npt.NDArray[Any], vectors: npt.NDArray[Any]) -> str:
    hasher = hashlib.blake2b(digest_size=DIGEST_BYTES)
    hasher.update(f"{vectors.dtype.str} {vectors.shape}".encode())
    hasher.update(np.ascontiguousarray(digests).data)
    hasher.update(np.ascontiguousarray(vectors).data)
    return hasher.hexdigest()
