"""A corpus as a stream: documents of any number, one after the other, in memory that hardly grows.

`data` holds a test collection in memory and judges it; here is what indexing and encoding read.
"""

import itertools
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sembridge.encoders.names import is_model_folder, mini_folder
from sembridge.errors import SembridgeError
from sembridge.files.lines import open_file, read_lines
from sembridge.files.rows import shown, stream_records
from sembridge.retrieval.beir import string_of, text_id_of, texts_file

_SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")
_BLOCK_DOCUMENTS = 1024  # are read ahead, and their ids looked up together


@dataclass(frozen=True)
class Document:
    """A document of a corpus.

    Attributes:
        id: its `_id`.
        title: empty where the corpus has none.
        text: what follows the title.
        fields: all other keys of its record, without nulls and empty objects.
    """

    id: str
    title: str
    text: str
    fields: Mapping[str, object] = field(default_factory=dict)

    @property
    def content(self) -> str:
        """Title and text joined by a space: what an encoder reads."""
        return f"{self.title} {self.text}".strip()


def stream_corpus(source: str | Path) -> Iterator[Document]:
    """The documents of a corpus in their order, read 1,024 at a time.

    `source` is a .jsonl, .jsonl.gz or .parquet file with `_id`, `text` and perhaps `title` and other fields, a folder
    in BEIR layout with such a file named corpus, or a bundled set by mini/NAME. Memory is one block of documents and 8
    bytes an id, kept to refuse an id that comes twice; that is found before its block is given out.

    Raises:
        SembridgeError: no such corpus, an empty one, or, with file and line, a malformed record, an empty document or
            an id given twice. Raised while iterating.
    """
    path = corpus_file(source)
    seen = _Digests()
    placed = _placed_documents(path)
    n_documents = 0
    while block := list(itertools.islice(placed, _BLOCK_DOCUMENTS)):
        _refuse_repeats(path, block, seen)
        n_documents += len(block)
        yield from (document for _, document in block)
    if not n_documents:
        raise SembridgeError(f"{path} is empty: expected one JSON object a line with _id and text.")


def stream_passages(place: str | Path) -> Iterator[Document]:
    """The documents of a corpus (`stream_corpus`), or the lines of a .txt or .txt.gz file, a passage a line."""
    if str(place).endswith((".txt", ".txt.gz")):
        lines = enumerate(read_lines(Path(place).expanduser()), start=1)
        return (Document(id=str(number), title="", text=line) for number, line in lines)
    return stream_corpus(place)


@dataclass(frozen=True)
class Passages:
    """The texts of several corpora (`stream_passages`), one after the other, as often as they are asked for."""

    places: Sequence[str | Path]

    def __iter__(self) -> Iterator[str]:
        for place in self.places:
            yield from (passage.content for passage in stream_passages(place))

    def check(self) -> None:
        """Nothing, if every corpus is there and begins with a passage.

        Raises:
            SembridgeError: as `stream_passages`, or a text file is empty.
        """
        for place in self.places:
            if next(stream_passages(place), None) is None:
                raise SembridgeError(f"{place} is empty; expected text, a passage a line.")


def corpus_file(source: str | Path) -> Path:
    """The file that `stream_corpus` reads.

    Raises:
        SembridgeError: there is none, or it has another format.
    """
    path = mini_folder(str(source)) if str(source).startswith("mini/") else Path(source).expanduser()
    if path.is_dir():
        if is_model_folder(path) and not any(path.glob("corpus.*")):
            raise SembridgeError(f"{source} is a model, and a corpus was expected here: the encoder comes first.")
        return texts_file(path, "corpus")
    if not path.is_file():
        raise SembridgeError(
            f"No corpus at {str(source)!r}: expected a {', '.join(_SUFFIXES)} file, a folder in BEIR layout or a "
            "bundled set such as mini/faq-ko."
        )
    if not path.name.endswith(_SUFFIXES):
        raise SembridgeError(f"{path} is not a corpus by its name: expected it to end in {', '.join(_SUFFIXES)}.")
    return path


_MOST_BYTES_COUNTED = 2**30  # a second or two; of what is larger the pass would be felt


def count_documents(source: str | Path) -> int | None:
    """How many documents `stream_corpus` will give, for showing how far a run is; None where that takes long to count,
    or where `source` is no corpus, such as a folder of shards.
    """
    try:
        path = corpus_file(source)
        if path.suffix == ".parquet":
            from pyarrow.parquet import read_metadata

            return int(read_metadata(path).num_rows)
        if path.stat().st_size > _MOST_BYTES_COUNTED:
            return None
        with open_file(path) as lines:
            return sum(not line.isspace() for line in lines)
    except (SembridgeError, OSError, EOFError, zlib.error, ValueError):  # what reads it will say what is wrong
        return None


def _placed_documents(path: Path) -> Iterator[tuple[str, Document]]:
    for place, record in stream_records(path):
        yield place, _document(record, f"{path}, {place}")


def _document(record: dict[str, object], where: str) -> Document:
    document = Document(
        id=text_id_of(record, where),
        title="" if record.get("title") is None else string_of(record, "title", where),
        text=string_of(record, "text", where),
        fields={
            name: value
            for name, value in record.items()
            if name not in ("_id", "title", "text") and value is not None and value != {}
        },
    )
    if not document.content:
        raise SembridgeError(f"{where}: id {shown(document.id)} has an empty text; remove it.")
    return document


def _refuse_repeats(path: Path, block: Sequence[tuple[str, Document]], seen: "_Digests") -> None:
    digests = np.array([_digest(document.id) for _, document in block], dtype=np.uint64)
    for position in seen.add(digests):
        place, document = block[position]
        # 8 bytes of digest can agree by chance (once in 40 corpora of a billion ids): the file itself decides.
        first = next(earlier for earlier, other in _placed_documents(path) if other.id == document.id)
        if first != place:
            raise SembridgeError(
                f"{path}, {place}: id {shown(document.id)} was given before, on {first}; ids are unique."
            )


def _digest(document_id: str) -> int:
    return int.from_bytes(blake2b(document_id.encode(), digest_size=8).digest(), "little")


class _Digests:
    """A set of 64-bit digests in 8 bytes each; a Python set of the same would take ten times as much.

    Sorted arrays, each at least twice as long as the next, so a digest is moved about log2(n) times.
    """

    def __init__(self) -> None:
        self._runs: list[NDArray[np.uint64]] = []

    def add(self, digests: NDArray[np.uint64]) -> list[int]:
        """Positions of those that were there already, or stand earlier in the same array; then all are there."""
        is_repeat = np.ones(len(digests), dtype=bool)
        is_repeat[np.unique(digests, return_index=True)[1]] = False
        for run in self._runs:
            found = np.searchsorted(run, digests)
            is_repeat |= run[np.minimum(found, len(run) - 1)] == digests
        repeats: list[int] = np.flatnonzero(is_repeat).tolist()
        if len(repeats) < len(digests):
            self._runs.append(np.sort(digests[~is_repeat]))
        while len(self._runs) > 1 and len(self._runs[-2]) < 2 * len(self._runs[-1]):
            self._runs[-2:] = [np.union1d(self._runs[-2], self._runs[-1])]
        return repeats
