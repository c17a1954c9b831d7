"""A BEIR folder: corpus, queries and qrels in files, read exactly or refused with file and line.

`corpus` and `queries` are .jsonl, .jsonl.gz or .parquet with `_id`, `text` and (corpus only) `title`. Qrels are
`qrels/SPLIT.tsv`: query id, corpus id, score; or `qrels/SPLIT.trec` (or .txt) as TREC writes them, separated by
spaces: query id, 0, corpus id, score.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from sembridge.errors import SembridgeError
from sembridge.files.lines import numbered_lines
from sembridge.files.rows import shown, stream_records

Qrels = dict[str, dict[str, int]]

_TEXT_SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")
_QRELS_SUFFIXES = (".tsv", ".trec", ".txt")
_LAYOUTS = {3: "query id, corpus id, score", 4: "query id, 0, corpus id, score"}
_HEADER_STARTS = ("query-id", "query_id", "qid")
_HALF_PAIR = re.compile("[\ud800-\udfff]")
_SPACES = re.compile(r"[ \t]+")
_WHOLE_NUMBER = re.compile(r"([+-]?\d{1,9})(\.0*)?", re.ASCII)
_SHOWN = 80  # characters of a value in a refusal


def read_texts(folder: Path, stem: str) -> dict[str, str]:
    """Id -> text of FOLDER/corpus or FOLDER/queries, a document's title and text joined by a space.

    Of several files .jsonl comes before .jsonl.gz before .parquet.

    Raises:
        SembridgeError: no such file, a malformed or empty text, or an id given twice.
    """
    path = texts_file(folder, stem)
    texts: dict[str, str] = {}
    place_of: dict[str, str] = {}
    for place, record in stream_records(path, columns=("_id", "title", "text")):
        where = f"{path}, {place}"
        text_id = text_id_of(record, where)
        if text_id in texts:
            raise SembridgeError(
                f"{where}: id {shown(text_id)} was given before, on {place_of[text_id]}; ids are unique."
            )
        title = [string_of(record, "title", where)] if stem == "corpus" and record.get("title") is not None else []
        text = " ".join([*title, string_of(record, "text", where)]).strip()
        if not text:
            raise SembridgeError(f"{where}: id {shown(text_id)} has an empty text; remove the {place} and its qrels.")
        texts[text_id], place_of[text_id] = text, place
    if not texts:
        raise SembridgeError(f"{path} is empty: expected one JSON object a line with _id and text.")
    return texts


def read_qrels(folder: Path, split: str, queries: Mapping[str, str], corpus: Mapping[str, str]) -> Qrels:
    """Query id -> document id -> score of one split. The first line decides between three and four fields.

    Raises:
        SembridgeError: no such split, a malformed line, an unknown id, or two scores for one pair.
    """
    path = _qrels_file(folder, split)
    qrels: Qrels = {}
    n_fields = None
    for number, line in numbered_lines(path):
        # An id is every character between two tabs, and in TREC's files between two spaces or tabs.
        fields = line.split("\t") if path.suffix == ".tsv" else _SPACES.split(line.strip(" \t"))
        fields[-1] = fields[-1].strip()
        if fields[0].casefold() in _HEADER_STARTS and not _WHOLE_NUMBER.fullmatch(fields[-1]):
            continue
        where = f"{path}, line {number}"
        _check_fields(fields, n_fields, where)
        n_fields = len(fields)
        query_id, document_id, relevance = fields[0], fields[-2], _relevance(fields[-1], where)
        _check_known(query_id, queries, "query", "queries", where)
        _check_known(document_id, corpus, "document", "corpus", where)
        if qrels.setdefault(query_id, {}).setdefault(document_id, relevance) != relevance:
            raise SembridgeError(
                f"{where}: query {query_id!r} and document {document_id!r} already have score "
                f"{qrels[query_id][document_id]}; keep one of the two lines."
            )
    if not qrels:
        raise SembridgeError(f"{path} is empty: expected lines of query id, corpus id and score.")
    return qrels


def qrels_splits(folder: Path) -> list[str]:
    """The splits that FOLDER/qrels has a file of, in alphabetical order."""
    return list(dict.fromkeys(path.stem for path in _qrels_files(folder)))


def texts_file(folder: Path, stem: str) -> Path:
    """FOLDER/corpus or FOLDER/queries, in the first of the formats that is there.

    Raises:
        SembridgeError: there is none.
    """
    return _file(folder, stem, _TEXT_SUFFIXES)


def _file(folder: Path, stem: str, suffixes: tuple[str, ...]) -> Path:
    for suffix in suffixes:
        if (path := folder / f"{stem}{suffix}").is_file():
            return path
    names = [f"{stem}{suffix}" for suffix in suffixes]
    raise SembridgeError(f"{folder} has no {', '.join(names[:-1])} or {names[-1]}: expected a folder in BEIR layout.")


def _qrels_file(folder: Path, split: str) -> Path:
    of_split = [path for path in _qrels_files(folder) if path.stem == split]
    if len(of_split) > 1:
        raise SembridgeError(
            f"{folder}/qrels has {' and '.join(path.name for path in of_split)}; keep one file a split."
        )
    if of_split:
        return of_split[0]
    available = ", ".join(qrels_splits(folder))
    raise SembridgeError(f"{folder} has no qrels/{split}.tsv; splits available: {available or 'none'}.")


def _qrels_files(folder: Path) -> list[Path]:
    listed = sorted((folder / "qrels").iterdir()) if (folder / "qrels").is_dir() else []
    return [path for path in listed if path.suffix in _QRELS_SUFFIXES]


def text_id_of(record: dict[str, object], where: str) -> str:
    """The `_id` of a record, or a refusal that says where."""
    value = record.get("_id")
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)  # home-made files often number their texts
    if isinstance(value, str) and value and not _HALF_PAIR.search(value):
        return value
    raise SembridgeError(f"{where}: _id is {shown(value)}; expected a string that is not empty.")


def string_of(record: dict[str, object], key: str, where: str) -> str:
    """The string under `key`, or a refusal that says where."""
    if key not in record:
        raise SembridgeError(f"{where}: no {key!r}; found {', '.join(map(repr, record))[:_SHOWN]}.")
    value = record[key]
    if not isinstance(value, str):
        raise SembridgeError(f"{where}: {key} is {shown(value)}; expected a string.")
    if _HALF_PAIR.search(value):
        raise SembridgeError(
            f"{where}: {key} holds half a surrogate pair, which no tokenizer reads; write it as UTF-8."
        )
    return value


def _check_fields(fields: list[str], n_expected: int | None, where: str) -> None:
    if len(fields) in _LAYOUTS and n_expected in (None, len(fields)):
        return
    advice = " Qrels separated by spaces are named SPLIT.trec." if len(fields) == 1 and " " in fields[0] else ""
    raise SembridgeError(
        f"{where}: {len(fields)} fields; expected {_LAYOUTS[n_expected or 3]}, tab-separated in a .tsv file.{advice}"
    )


def _check_known(text_id: str, texts: Mapping[str, str], what: str, stem: str, where: str) -> None:
    if text_id not in texts:
        raise SembridgeError(f"{where}: {what} {shown(text_id)} is not among the {stem}; add it or remove this line.")


def _relevance(score: str, where: str) -> int:
    if not (match := _WHOLE_NUMBER.fullmatch(score)):
        raise SembridgeError(f"{where}: score is {shown(score)}; expected a whole number such as 0, 1 or 2.")
    return int(match[1])
