"""Documents on their way into an index: from a corpus, or from shards with their vectors."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array

from sembridge.deployment.shards import SHARDS_MANIFEST, read_shards
from sembridge.errors import SembridgeError
from sembridge.retrieval.corpus import Document, stream_corpus


@dataclass(frozen=True, eq=False)
class Item:
    """A document on its way in, with its vector (1, n_dims) if a shard brings one."""

    document: Document
    vector: csr_array | None = None

    def tagged(self, language: str | None) -> "Item":
        """The same under an id and with a field that tell its language."""
        if language is None:
            return self
        document = self.document
        fields = {"language": language, **document.fields}
        return replace(self, document=replace(document, id=f"{language}:{document.id}", fields=fields))

    def digest(self) -> bytes:
        """Of all that goes into an index."""
        hasher = blake2b(digest_size=16)
        document = self.document
        parts = [document.id, document.title, document.text, json.dumps(dict(document.fields), default=str)]
        hasher.update(json.dumps(parts).encode())
        if self.vector is not None:
            hasher.update(self.vector.indices.astype(np.int32).tobytes())
            hasher.update(self.vector.data.astype(np.float32).tobytes())
        return hasher.digest()


def read_items(source: str, texts: str | None) -> Iterator[Item]:
    """The documents of a corpus, or of shards with what their corpus says of them."""
    if is_shard_folder(Path(source)):
        yield from _shard_items(Path(source), texts)
    else:
        yield from (Item(document) for document in stream_corpus(source))


def is_shard_folder(source: Path) -> bool:
    """Whether `sembridge encode` wrote it."""
    return (source / SHARDS_MANIFEST).is_file()


def _shard_items(source: Path, texts: str | None) -> Iterator[Item]:
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
            yield Item(document, vectors[[row]])
