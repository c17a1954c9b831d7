"""One set of laws for every file of texts: what the standard library writes is read back, character by character."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sembridge.errors import SembridgeError
from sembridge.files.lines import numbered_lines, read_lines
from sembridge.files.rows import stream_records
from sembridge.language_transfer.initialization.wechsel import read_dictionary
from sembridge.language_transfer.initialization.word_vectors import read_word_vectors
from sembridge.language_transfer.inspection import read_text
from sembridge.retrieval.beir import read_qrels
from sembridge.retrieval.sources import load_retrieval_data

quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

# What readers elsewhere split, strip, convert or swallow, and anything else but half surrogate pairs.
TRAPS = [
    "005",
    "1.0",
    "true",
    "null",
    "NaN",
    "2024-01-01",
    "1e5",
    "-0",
    '"',
    '"a',
    'a"',
    '""',
    "'",
    "a,b",
    "=1+1",
    "#",
    "\\",
]
BREAKS = ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\0", "\xa0", "\u3000", "\ufeff"]
CHARACTERS = st.one_of(st.sampled_from(BREAKS), st.characters(exclude_categories=["Cs"]))
TEXTS = st.one_of(st.sampled_from(TRAPS), st.text(CHARACTERS, max_size=12))
FLAT = TEXTS.map(lambda text: text.replace("\t", " ").replace("\n", " ").replace("\r", " "))  # what a TSV can hold
WORDS = st.text(CHARACTERS, min_size=1, max_size=6).map(lambda word: "".join(word.split())).filter(bool)


def put(path: Path, text: str) -> Path:
    """The text in a file as UTF-8, exactly; gzipped where its name says so."""
    content = text.encode()
    path.write_bytes(gzip.compress(content, 1) if path.suffix == ".gz" else content)
    return path


def records_of(path: Path) -> list[dict[str, object]]:
    return [record for _, record in stream_records(path)]


def as_json_lines(rows: Sequence[Mapping[str, object]], *, end: str = "\n") -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + end for row in rows)


def as_csv(rows: Sequence[Mapping[str, str]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, ["a", "b"])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def as_tsv(rows: Sequence[Mapping[str, str]], *, end: str = "\n") -> str:
    return "".join("\t".join(row) + end for row in [("a", "b"), *((row["a"], row["b"]) for row in rows)])


def rows_of(texts: st.SearchStrategy[str]) -> st.SearchStrategy[list[dict[str, str]]]:
    return st.lists(st.fixed_dictionaries({"a": texts, "b": texts}), max_size=5)


@quick
@given(rows=rows_of(TEXTS), end=st.sampled_from(["\n", "\r\n"]), suffix=st.sampled_from(["", ".gz"]))
def test_json_lines_are_read_as_written(tmp_path: Path, rows: list[dict[str, str]], end: str, suffix: str) -> None:
    text = as_json_lines(rows, end=end)
    for form in (text, "\ufeff" + text, text.removesuffix(end), end.join(["", text])):
        assert records_of(put(tmp_path / f"rows.jsonl{suffix}", form)) == rows


@quick
@given(rows=rows_of(TEXTS), indent=st.sampled_from([None, 2]), ascii_only=st.booleans())
def test_a_json_array_is_read_as_written(
    tmp_path: Path, rows: list[dict[str, str]], indent: int | None, ascii_only: bool
) -> None:
    text = json.dumps(rows, indent=indent, ensure_ascii=ascii_only)
    assert records_of(put(tmp_path / "rows.json", text)) == rows
    assert records_of(put(tmp_path / "rows.json.gz", "\ufeff \n" + text)) == rows


def test_a_json_file_may_also_hold_an_object_a_line(tmp_path: Path) -> None:
    assert records_of(put(tmp_path / "rows.json", '{"a": 1}\n{"a": "x"}')) == [{"a": 1}, {"a": "x"}]


@quick
@given(rows=rows_of(TEXTS), suffix=st.sampled_from(["", ".gz"]))
def test_csv_is_read_as_written_and_every_value_is_text(
    tmp_path: Path, rows: list[dict[str, str]], suffix: str
) -> None:
    assert records_of(put(tmp_path / f"rows.csv{suffix}", as_csv(rows))) == rows
    assert records_of(put(tmp_path / f"rows.csv{suffix}", "\ufeff" + as_csv(rows).removesuffix("\r\n"))) == rows


@quick
@given(rows=rows_of(FLAT), end=st.sampled_from(["\n", "\r\n"]))
def test_tsv_has_no_quoting_and_every_value_is_text(tmp_path: Path, rows: list[dict[str, str]], end: str) -> None:
    text = as_tsv(rows, end=end)
    assert records_of(put(tmp_path / "rows.tsv", text)) == rows
    assert records_of(put(tmp_path / "rows.tsv", "\ufeff" + text.removesuffix(end))) == rows


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "tsv"])
def test_a_field_may_have_any_length(tmp_path: Path, suffix: str) -> None:
    rows = [{"a": "long " * 60_000, "b": "short"}]
    write: dict[str, Callable[[Any], str]] = {"jsonl": as_json_lines, "json": json.dumps, "csv": as_csv, "tsv": as_tsv}
    assert records_of(put(tmp_path / f"rows.{suffix}", write[suffix](rows))) == rows


def test_types_that_json_states_are_kept(tmp_path: Path) -> None:
    """A field that changes its type is nobody's business but that of who asks for it."""
    rows = [{"id": 5, "a": "x"}, {"id": "x5", "a": "2024-01-01"}, {"id": None, "a": [1, "b", {"c": True}]}]
    assert records_of(put(tmp_path / "rows.jsonl", as_json_lines(rows))) == rows


@quick
@given(
    lines=st.lists(TEXTS.map(lambda text: text.replace("\n", "").replace("\r", "")), max_size=6),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_a_line_ends_with_a_line_feed_and_nowhere_else(tmp_path: Path, lines: list[str], end: str) -> None:
    path = put(tmp_path / "text.txt.gz", "\ufeff" + end.join(lines))
    kept = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    assert list(numbered_lines(path)) == kept
    assert list(read_lines(path)) == [line.strip() for _, line in kept]
    if kept:
        assert read_text(path).split("\n") == [line.strip() for _, line in kept]


# --- the readers that stand on them --------------------------------------------------------------------------------


def identifiers() -> st.SearchStrategy[list[str]]:
    """Ids as they are: with spaces, separators, quotation marks; one TSV field each."""
    return st.lists(FLAT.filter(bool), min_size=2, max_size=5, unique=True).filter(
        lambda ids: not ids[0].startswith("\ufeff")  # the mark of a file without a header
    )


@quick
@given(ids=identifiers(), texts=st.lists(TEXTS.filter(str.strip), min_size=5, max_size=5))
def test_a_beir_folder_keeps_ids_and_texts(tmp_path: Path, ids: list[str], texts: list[str]) -> None:
    (tmp_path / "qrels").mkdir(exist_ok=True)
    corpus = dict(zip(ids, texts, strict=False))
    for stem in ("corpus", "queries"):
        put(tmp_path / f"{stem}.jsonl", as_json_lines([{"_id": i, "text": text} for i, text in corpus.items()]))
    put(tmp_path / "qrels/test.tsv", "".join(f"{i}\t{ids[0]}\t1\n" for i in ids))
    data = load_retrieval_data(tmp_path)
    assert data.corpus == {i: text.strip() for i, text in corpus.items()}
    assert data.qrels == {i: {ids[0]: 1} for i in ids}


def test_trec_files_are_cut_at_spaces_and_tabs_only(tmp_path: Path) -> None:
    (tmp_path / "qrels").mkdir()
    put(tmp_path / "qrels/test.trec", "q\u20281 0  d\xa01\t2\r\n")
    assert read_qrels(tmp_path, "test", {"q\u20281": ""}, {"d\xa01": ""}) == {"q\u20281": {"d\xa01": 2}}


@quick
@given(pairs=st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=5), separator=st.sampled_from(["\t", " ", "  "]))
def test_a_dictionary_keeps_its_words(tmp_path: Path, pairs: list[tuple[str, str]], separator: str) -> None:
    pairs = [(a.replace("\ufeff", "x"), b) for a, b in pairs]
    path = put(tmp_path / "words.tsv", "\r\n".join(separator.join(pair) for pair in pairs))
    assert read_dictionary(path) == pairs


@quick
@given(words=st.lists(WORDS, min_size=1, max_size=5, unique=True), end=st.sampled_from(["\n", " \n", "\r\n"]))
def test_word_vectors_keep_their_words(tmp_path: Path, words: list[str], end: str) -> None:
    lines = [f"{len(words)} 2", *(f"{word} {row}.5 -1" for row, word in enumerate(words))]
    for name, start in (("a.vec", ""), ("b.vec.gz", "\ufeff")):
        found = read_word_vectors(put(tmp_path / name, start + "".join(line + end for line in lines)))
        assert found.words == tuple(words)
        assert found.vectors.tolist() == [[row + 0.5, -1] for row in range(len(words))]


def test_of_a_word_that_comes_twice_the_first_vector_counts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = read_word_vectors(put(tmp_path / "a.vec", "3 1\na 1\nb 2\na 3\n"))
    assert (found.words, found.vectors.tolist()) == (("a", "b"), [[1], [2]])
    assert "1 words come twice" in caplog.text


# --- refusals: one line with file, place and remedy ----------------------------------------------------------------

REFUSED = [
    ("rows.tsv", b"a\tb\n1\t2\t3\n", r"rows\.tsv, line 2: 3 fields under 2 names .*goes into a \.csv"),
    ("rows.tsv", b"a\tb\n\n1\n", r"rows\.tsv, line 3: 1 fields under 2 names"),
    ("rows.csv", b'a,b\n1,2\n3,"never closed\n4,5\n', r"rows\.csv, line 3: not valid CSV"),
    ("rows.csv", b'a,b\n"Hello" he said,2\n', r"rows\.csv, line 2: not valid CSV .*are doubled"),
    ("rows.csv", b"a,b\n1,2,3\n", r"rows\.csv, line 2: 3 fields under 2 names"),
    ("rows.csv", b"a,a\n1,2\n", r"two columns are called 'a'"),
    ("rows.csv", "a,b\n".encode("utf-16-le"), r"line 1: NUL bytes; the file is damaged or in UTF-16"),
    ("rows.csv", "a,b\nGröße,x\n".encode("latin-1"), r"rows\.csv, line 2: not UTF-8"),
    ("rows.json", b'[{"a": 1},\n {"a": }]', r"rows\.json: not valid JSON \(Expecting value, line 2, column 8\)"),
    ("rows.json", b'[{"a": 1}, 5]', r"rows\.json, item 2: a int instead of a JSON object"),
    ("rows.json", b'{\n "a": 1\n}\n', r"line 1: not valid JSON .*an object a line, or one array of objects"),
    ("rows.jsonl", b'[{"a": 1}]', r"rows\.jsonl, line 1: a list instead of a JSON object"),
    ("rows.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 5000)[:-9], r"rows\.jsonl\.gz: broken gzip file after line \d+"),
    ("rows.parquet", b"PAR1", r"rows\.parquet: not a Parquet file"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "message"), REFUSED)
def test_a_file_that_is_not_what_its_name_says_is_refused(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SembridgeError, match=message) as refused:
        records_of(tmp_path / name)
    assert "\n" not in str(refused.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "rows.csv", "rows.tsv", "rows.parquet", "rows.csv.gz"])
def test_a_file_without_permission_is_named(tmp_path: Path, name: str) -> None:
    put(tmp_path / name, "").chmod(0)
    with pytest.raises(SembridgeError, match=rf"{name} cannot be read \(Permission denied\); check"):
        records_of(tmp_path / name)


@pytest.mark.parametrize("name", ["none.jsonl", "none.parquet"])
def test_a_file_that_is_not_there_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(SembridgeError, match=rf"{name} cannot be read \(.*No such file"):
        records_of(tmp_path / name)
