"""A corpus is streamed in its order, in memory that hardly grows, and refused with file and line."""

from __future__ import annotations

import gzip
import itertools
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sembridge.errors import SembridgeError
from sembridge.retrieval import corpus
from sembridge.retrieval.corpus import Document, count_documents, stream_corpus
from sembridge.retrieval.sources import load_retrieval_data

RECORDS: list[dict[str, object]] = [
    {"_id": "d1", "title": "Seoul", "text": "The capital.", "year": 1394, "metadata": {"url": "a"}},
    {"_id": "d2", "title": "", "text": "한강", "year": None, "metadata": {}},
    {"_id": 3, "text": "No title."},
]
DOCUMENTS = [
    Document("d1", "Seoul", "The capital.", {"year": 1394, "metadata": {"url": "a"}}),
    Document("d2", "", "한강", {}),
    Document("3", "", "No title.", {}),
]


def write_lines(path: Path, records: list[dict[str, object]]) -> Path:
    content = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("name", ["corpus.jsonl", "other.jsonl.gz"])
def test_lines_become_documents_with_their_other_fields(tmp_path: Path, name: str) -> None:
    assert list(stream_corpus(write_lines(tmp_path / name, RECORDS))) == DOCUMENTS


def test_content_is_title_space_text() -> None:
    assert [document.content for document in DOCUMENTS] == ["Seoul The capital.", "한강", "No title."]


def test_parquet_rows_become_documents(tmp_path: Path) -> None:
    table = pa.table({"_id": ["a", "b"], "text": ["x", "y"], "title": [None, "T"], "year": [1, None]})
    pq.write_table(table, tmp_path / "c.parquet", row_group_size=1)
    assert list(stream_corpus(tmp_path / "c.parquet")) == [
        Document("a", "", "x", {"year": 1}),
        Document("b", "T", "y", {}),
    ]


def test_a_folder_and_a_bundled_set_are_what_retrieval_data_reads(tmp_path: Path) -> None:
    write_lines(tmp_path / "corpus.jsonl.gz", RECORDS)
    assert list(stream_corpus(tmp_path)) == DOCUMENTS
    documents = {document.id: document.content for document in stream_corpus("mini/faq-ko")}
    assert documents == load_retrieval_data("mini/faq-ko").corpus


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"_id": "d1", "text": "again"}', "corpus.jsonl, line 4: id 'd1' was given before, on line 1"),
        ('{"_id": "d4"}', "corpus.jsonl, line 4: no 'text'"),
        ('{"_id": "d4", "text": "  "}', "corpus.jsonl, line 4: id 'd4' has an empty text"),
        ('{"_id": "", "text": "x"}', "corpus.jsonl, line 4: _id is ''"),
        ('{"_id": "d4", "text": "x", "title": 7}', "corpus.jsonl, line 4: title is 7"),
        ("{", "corpus.jsonl, line 4: not valid JSON"),
    ],
)
def test_a_malformed_line_is_refused_with_file_and_line(tmp_path: Path, line: str, message: str) -> None:
    path = write_lines(tmp_path / "corpus.jsonl", RECORDS)
    path.write_text(path.read_text(encoding="utf-8") + line, encoding="utf-8")
    with pytest.raises(SembridgeError, match=message):
        list(stream_corpus(path))


def test_what_is_no_corpus_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("a,b")
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "folder").mkdir()
    for name, message in [
        ("c.csv", "expected it to end in .jsonl, .jsonl.gz, .parquet"),
        ("nowhere", "No corpus at"),
        ("empty.jsonl", "is empty"),
        ("folder", "has no corpus.jsonl"),
    ]:
        with pytest.raises(SembridgeError, match=message):
            list(stream_corpus(tmp_path / name))


@pytest.mark.parametrize("distance", [1, 1023, 1024, 5000])
def test_a_repeated_id_is_refused_before_its_block_is_given_out(tmp_path: Path, distance: int) -> None:
    records = [{"_id": f"d{number}", "text": "x"} for number in range(6000)]
    records[700 + distance]["_id"] = "d700"
    stream = stream_corpus(write_lines(tmp_path / "c.jsonl", records))
    given: list[str] = []
    with pytest.raises(SembridgeError, match=rf"line {701 + distance}: id 'd700' was given before, on line 701;"):
        given.extend(document.id for document in stream)
    assert len(given) == len(set(given))


def test_digests_that_agree_by_chance_refuse_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "_digest", lambda document_id: len(document_id))
    assert list(stream_corpus(write_lines(tmp_path / "c.jsonl", RECORDS))) == DOCUMENTS
    with pytest.raises(SembridgeError, match="id 'd2' was given before"):
        list(stream_corpus(write_lines(tmp_path / "c.jsonl", [*RECORDS, RECORDS[1]])))


def test_digests_are_a_set() -> None:
    generator = np.random.default_rng(0)
    known: set[int] = set()
    digests = corpus._Digests()
    for size in [1, 7, 300, 2, 900, 40, 1]:
        block = generator.integers(0, 4000, size, dtype=np.uint64)
        expected = [
            position
            for position, value in enumerate(block.tolist())
            if value in known or value in block[:position].tolist()
        ]
        assert digests.add(block) == expected
        known.update(block.tolist())
    assert len(known) == sum(len(run) for run in digests._runs)


def test_memory_does_not_grow_with_the_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "_BLOCK_DOCUMENTS", 64)

    def peak(n_documents: int) -> int:
        path = write_lines(tmp_path / "c.jsonl", [{"_id": f"d{n}", "text": "x" * 2000} for n in range(n_documents)])
        tracemalloc.start()
        try:
            consume(stream_corpus(path))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(100)  # imports
    assert peak(4000) < 1.5 * peak(400)  # ten times the text, 8 MB of it


def consume(documents: Iterator[Document]) -> None:
    for _ in itertools.islice(documents, None):
        pass


def test_documents_are_counted_where_that_is_quick(tmp_path: Path) -> None:
    records = [{"_id": str(n), "text": "a"} for n in range(5)]
    text = "\n".join(map(json.dumps, records)) + "\n\n"
    (tmp_path / "corpus.jsonl").write_text(text)
    (tmp_path / "news.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "news.parquet")
    for source in (tmp_path, tmp_path / "news.jsonl.gz", tmp_path / "news.parquet"):
        assert count_documents(source) == len(list(stream_corpus(source))) == 5
    assert count_documents(tmp_path / "nowhere") is None
