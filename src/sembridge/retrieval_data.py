"""Retrieval data: a corpus, queries and qrels, read from a BEIR folder or from the data bundled with the package.

A BEIR folder holds `corpus.jsonl` (`_id`, `title`, `text`), `queries.jsonl` (`_id`, `text`), both plain or gzipped,
and `qrels/SPLIT.tsv` (query id, corpus id, score). Anything wrong in them is refused with its file and line.
"""

import gzip
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sembridge.errors import SembridgeError
from sembridge.loading import mini_folder

Qrels = dict[str, dict[str, int]]

_HALF_PAIR = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class RetrievalData:
    """A test collection.

    Attributes:
        name: what tables and saved results call it.
        language: language code such as "ko", or None where it is not known.
        corpus: document id -> document text (title and text joined by a space).
        queries: query id -> query text; every one of them is judged in `qrels`.
        qrels: query id -> document id -> relevance (0 or less: not relevant).
    """

    name: str
    language: str | None
    corpus: dict[str, str]
    queries: dict[str, str]
    qrels: Qrels

    def __post_init__(self) -> None:
        if not self.corpus or not self.queries:
            raise SembridgeError(
                f"Retrieval data {self.name!r} has {len(self.corpus)} documents and {len(self.queries)} queries: "
                "expected at least one of each."
            )
        if self.queries.keys() != self.qrels.keys():
            odd_one = min(self.queries.keys() ^ self.qrels.keys())
            raise SembridgeError(
                f"Retrieval data {self.name!r}: query {odd_one!r} is in only one of queries and qrels; give both."
            )
        for query_id, judged in self.qrels.items():
            if unknown := judged.keys() - self.corpus.keys():
                raise SembridgeError(
                    f"Retrieval data {self.name!r}: the qrels of query {query_id!r} name document {min(unknown)!r}, "
                    "which is not in the corpus; add it or drop the line."
                )
        if not any(score > 0 for judged in self.qrels.values() for score in judged.values()):
            raise SembridgeError(
                f"Retrieval data {self.name!r} has no relevant document: expected a qrel with a score above 0."
            )

    def sample(self, n_queries: int | None = None, n_documents: int | None = None, *, seed: int = 0) -> "RetrievalData":
        """A smaller collection for quick runs: random queries, their relevant documents, random other documents.

        Both numbers are caps; None or a number above the size keeps everything. Its measures are higher than those of
        the whole collection (fewer documents compete), so its name says that it is a sample.

        Raises:
            SembridgeError: a cap below 1, or fewer documents than the chosen queries have relevant ones.
        """
        for label, cap in (("n_queries", n_queries), ("n_documents", n_documents)):
            if cap is not None and cap < 1:
                raise SembridgeError(f"{label} is {cap}: expected 1 or more, or None for all.")
        generator = np.random.default_rng(seed)
        query_ids = _random_subset(sorted(self.queries), n_queries, generator)
        gold = {doc for query in query_ids for doc, score in self.qrels[query].items() if score > 0}
        document_ids = self._with_fillers(gold, n_documents, generator)
        if len(query_ids) == len(self.queries) and len(document_ids) == len(self.corpus):
            return self
        return RetrievalData(
            name=f"{self.name} ({len(query_ids)} queries, {len(document_ids)} documents, seed {seed})",
            language=self.language,
            corpus={doc: text for doc, text in self.corpus.items() if doc in document_ids},
            queries={query: text for query, text in self.queries.items() if query in query_ids},
            qrels={
                query: {doc: score for doc, score in judged.items() if doc in document_ids}
                for query, judged in self.qrels.items()
                if query in query_ids
            },
        )

    def _with_fillers(self, gold: set[str], n_documents: int | None, generator: np.random.Generator) -> set[str]:
        if n_documents is not None and n_documents < len(gold):
            raise SembridgeError(
                f"n_documents is {n_documents}, but the chosen queries have {len(gold)} relevant documents: "
                f"give n_documents={len(gold)} or more, or fewer queries."
            )
        n_fillers = None if n_documents is None else n_documents - len(gold)
        return gold | _random_subset(sorted(self.corpus.keys() - gold), n_fillers, generator)


def load_retrieval_data(name: str | Path, *, split: str = "test", language: str | None = None) -> RetrievalData:
    """The retrieval data in a BEIR folder, or bundled ones by mini/NAME.

    Documents all stay; of the queries only those judged in the split. A plain file wins over a gzipped one of the same
    name. The language of bundled data comes from its name (mini/faq-ko), that of a folder from `language`.

    Raises:
        SembridgeError: a missing file or split, and any malformed line, with file and line number.
    """
    folder = _resolve_folder(name)
    corpus = _read_texts(_jsonl_file(folder, "corpus"), with_title=True)
    all_queries = _read_texts(_jsonl_file(folder, "queries"), with_title=False)
    qrels = _read_qrels(_qrels_file(folder, split), all_queries, corpus)
    return RetrievalData(
        name=_display_name(name, folder),
        language=language or _mini_language(name),
        corpus=corpus,
        queries={query: text for query, text in all_queries.items() if query in qrels},
        qrels=qrels,
    )


def _resolve_folder(name: str | Path) -> Path:
    # Two kinds of names are an `if`; with hub datasets and mteb:TASK[:SUBSET] this becomes a table scheme -> reader.
    if str(name).startswith("mteb:"):
        raise SembridgeError(f"{str(name)!r}: mteb tasks are not read; write the task as a BEIR folder and give that.")
    if _is_mini(name):
        return mini_folder(str(name))
    folder = Path(name)
    if not folder.is_dir():
        raise SembridgeError(
            f"No retrieval data at {str(name)!r}: expected a BEIR folder (corpus.jsonl, queries.jsonl, qrels/) "
            "or a bundled set such as mini/faq-ko."
        )
    return folder


def _is_mini(name: str | Path) -> bool:
    return isinstance(name, str) and name.startswith("mini/")


def _mini_language(name: str | Path) -> str | None:
    last = str(name).rpartition("-")[2]
    return last if _is_mini(name) and len(last) == 2 else None


def _display_name(name: str | Path, folder: Path) -> str:
    return str(name) if _is_mini(name) else "/".join(folder.resolve().parts[-2:])


def _jsonl_file(folder: Path, stem: str) -> Path:
    for path in (folder / f"{stem}.jsonl", folder / f"{stem}.jsonl.gz"):
        if path.is_file():
            return path
    raise SembridgeError(f"{folder} has no {stem}.jsonl or {stem}.jsonl.gz: expected a folder in BEIR layout.")


def _qrels_file(folder: Path, split: str) -> Path:
    path = folder / "qrels" / f"{split}.tsv"
    if path.is_file():
        return path
    available = ", ".join(sorted(file.stem for file in (folder / "qrels").glob("*.tsv")))
    raise SembridgeError(f"{folder} has no qrels/{split}.tsv; splits available: {available or 'none'}.")


def _numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, numbered from 1, without byte order mark and line ends."""
    opener = gzip.open if path.suffix == ".gz" else open
    number = 0
    try:
        with opener(path, "rt", encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, line.rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise SembridgeError(f"{path}: not UTF-8 after line {number} ({error.reason}); save it as UTF-8.") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise SembridgeError(f"{path}: broken gzip file after line {number} ({error}); fetch it again.") from error


def _read_texts(path: Path, *, with_title: bool) -> dict[str, str]:
    texts: dict[str, str] = {}
    line_of: dict[str, int] = {}
    for number, line in _numbered_lines(path):
        where = f"{path}, line {number}"
        record = _json_object(line, where)
        text_id = _text_id(record, where)
        if text_id in texts:
            raise SembridgeError(
                f"{where}: id {text_id!r} was given before, on line {line_of[text_id]}; ids are unique."
            )
        parts = [_string(record, "title", where)] if with_title and record.get("title") is not None else []
        text = " ".join([*parts, _string(record, "text", where)]).strip()
        if not text:
            raise SembridgeError(f"{where}: id {text_id!r} has an empty text; remove the line and its qrels.")
        texts[text_id], line_of[text_id] = text, number
    if not texts:
        raise SembridgeError(f"{path} is empty: expected one JSON object a line with _id and text.")
    return texts


def _json_object(line: str, where: str) -> dict[str, object]:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise SembridgeError(f"{where}: not valid JSON ({error.msg}, column {error.colno}).") from error
    if not isinstance(record, dict):
        raise SembridgeError(f"{where}: a {type(record).__name__} instead of a JSON object with _id and text.")
    return record


def _text_id(record: dict[str, object], where: str) -> str:
    value = record.get("_id")
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)  # home-made files often number their texts
    if isinstance(value, str) and value:
        return value
    raise SembridgeError(f"{where}: _id is {value!r}; expected a string that is not empty.")


def _string(record: dict[str, object], key: str, where: str) -> str:
    if key not in record:
        raise SembridgeError(f"{where}: no {key!r}; found {', '.join(map(repr, record))}.")
    value = record[key]
    if not isinstance(value, str):
        raise SembridgeError(f"{where}: {key} is {json.dumps(value)[:80]}; expected a string.")
    if _HALF_PAIR.search(value):
        raise SembridgeError(
            f"{where}: {key} holds half a surrogate pair, which no tokenizer reads; write it as UTF-8."
        )
    return value


def _read_qrels(path: Path, queries: dict[str, str], corpus: dict[str, str]) -> Qrels:
    qrels: Qrels = {}
    for number, line in _numbered_lines(path):
        fields = line.split("\t")
        if fields[0].strip() == "query-id":
            continue
        where = f"{path}, line {number}"
        if len(fields) != 3:
            raise SembridgeError(f"{where}: {len(fields)} fields; expected query id, corpus id, score, tab-separated.")
        query_id, document_id, score = (field.strip() for field in fields)
        _check_known(query_id, queries, "query", where)
        _check_known(document_id, corpus, "document", where)
        relevance = _relevance(score, where)
        if qrels.setdefault(query_id, {}).setdefault(document_id, relevance) != relevance:
            raise SembridgeError(
                f"{where}: query {query_id!r} and document {document_id!r} already have score "
                f"{qrels[query_id][document_id]}; keep one of the two lines."
            )
    if not qrels:
        raise SembridgeError(f"{path} is empty: expected lines of query id, corpus id and score, tab-separated.")
    return qrels


def _check_known(text_id: str, texts: dict[str, str], what: str, where: str) -> None:
    if text_id not in texts:
        file = "queries.jsonl" if what == "query" else "corpus.jsonl"
        raise SembridgeError(f"{where}: {what} {text_id!r} is not in {file}; add it there or remove this line.")


def _relevance(score: str, where: str) -> int:
    try:
        return int(score)
    except ValueError:
        raise SembridgeError(f"{where}: score is {score!r}; expected a whole number such as 0, 1 or 2.") from None


def _random_subset(ids: list[str], size: int | None, generator: np.random.Generator) -> set[str]:
    if size is None or size >= len(ids):
        return set(ids)
    return {ids[position] for position in generator.choice(len(ids), size=size, replace=False)}
