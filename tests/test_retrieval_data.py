"""BEIR folders are read exactly or refused with file and line; samples keep what makes them measurable."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from sembridge.errors import SembridgeError
from sembridge.retrieval.data import RetrievalData
from sembridge.retrieval.sources import load_retrieval_data

CORPUS = [
    {"_id": "d1", "title": "Seoul", "text": "The capital of Korea."},
    {"_id": "d2", "title": "", "text": "한강은 서울을 흐른다."},
    {"_id": "d3", "text": "No title here."},
]
QUERIES = [
    {"_id": "q1", "text": "capital of Korea"},
    {"_id": "q2", "text": "서울의 강"},
    {"_id": "q3", "text": "asked in train only"},
]
TEST_QRELS = ["query-id\tcorpus-id\tscore", "q1\td1\t2", "q1\td2\t0", "q2\td2\t1"]
TRAIN_QRELS = ["query-id\tcorpus-id\tscore", "q3\td3\t1"]


def lines_of(records: list[dict[str, object]]) -> list[str]:
    return [json.dumps(record, ensure_ascii=False) for record in records]


def write_folder(folder: Path, *, newline: str = "\n", start: str = "", compress: bool = False) -> Path:
    """The folder of CORPUS, QUERIES and both qrels."""
    files = {
        "corpus.jsonl": lines_of(CORPUS),
        "queries.jsonl": lines_of(QUERIES),
        "qrels/test.tsv": TEST_QRELS,
        "qrels/train.tsv": TRAIN_QRELS,
    }
    (folder / "qrels").mkdir(parents=True)
    for name, lines in files.items():
        content = (start + newline.join([*lines, ""])).encode()
        if compress and name.endswith(".jsonl"):
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "set" / "ko")


def test_document_is_title_space_text_and_queries_are_those_of_the_split(folder: Path) -> None:
    data = load_retrieval_data(folder, language="ko")
    assert data.corpus == {
        "d1": "Seoul The capital of Korea.",
        "d2": "한강은 서울을 흐른다.",
        "d3": "No title here.",
    }
    assert data.queries == {"q1": "capital of Korea", "q2": "서울의 강"}
    assert data.qrels == {"q1": {"d1": 2, "d2": 0}, "q2": {"d2": 1}}  # graded and binary mixed
    assert (data.name, data.language) == ("set/ko", "ko")
    assert load_retrieval_data(str(folder), split="train").queries == {"q3": "asked in train only"}


@pytest.mark.parametrize("form", [{"newline": "\r\n"}, {"start": "\ufeff"}, {"compress": True}, {"newline": "\n\n"}])
def test_line_ends_byte_order_mark_gzip_and_blank_lines_change_nothing(
    folder: Path, tmp_path: Path, form: dict[str, str]
) -> None:
    other = load_retrieval_data(write_folder(tmp_path / "other", **form))
    plain = load_retrieval_data(folder)
    assert (other.corpus, other.queries, other.qrels) == (plain.corpus, plain.queries, plain.qrels)


def test_line_separators_inside_a_text_do_not_end_the_line(folder: Path) -> None:
    text = "first\u2028second\x85third"
    (folder / "corpus.jsonl").write_text("\n".join(lines_of([*CORPUS, {"_id": "d4", "text": text}])), encoding="utf-8")
    assert load_retrieval_data(folder).corpus["d4"] == text


def test_header_is_optional_and_number_ids_are_their_digits(tmp_path: Path) -> None:
    (tmp_path / "qrels").mkdir()
    (tmp_path / "corpus.jsonl").write_text('{"_id": 7, "text": "only one", "title": null}')
    (tmp_path / "queries.jsonl").write_text('{"_id": 1, "text": "one"}')
    (tmp_path / "qrels" / "test.tsv").write_text("1\t7\t1\n1\t7\t1\n")
    data = load_retrieval_data(tmp_path)
    assert (data.corpus, data.queries, data.qrels) == ({"7": "only one"}, {"1": "one"}, {"1": {"7": 1}})


D4 = '{"_id": "d4", "text": "x"}'
BAD_LINES = [
    ("corpus.jsonl", "{not json", r"corpus\.jsonl, line 4: not valid JSON"),
    ("corpus.jsonl", '["d4", "x"]', r"corpus\.jsonl, line 4: a list instead of a JSON object"),
    ("corpus.jsonl", '{"text": "x"}', r"corpus\.jsonl, line 4: _id is None"),
    ("corpus.jsonl", '{"_id": "", "text": "x"}', r"corpus\.jsonl, line 4: _id is ''"),
    ("corpus.jsonl", '{"_id": true, "text": "x"}', r"corpus\.jsonl, line 4: _id is True"),
    ("corpus.jsonl", '{"_id": "d4", "body": "x"}', r"corpus\.jsonl, line 4: no 'text'; found '_id', 'body'"),
    ("corpus.jsonl", '{"_id": "d4", "text": 5}', r"corpus\.jsonl, line 4: text is 5; expected a string"),
    ("corpus.jsonl", '{"_id": "d4", "text": "x", "title": [1]}', r"line 4: title is \[1\]; expected a string"),
    ("corpus.jsonl", '{"_id": "d4", "text": "\\ud83d"}', r"line 4: text holds half a surrogate pair"),
    ("corpus.jsonl", '{"_id": "d4", "text": " ", "title": ""}', r"corpus\.jsonl, line 4: id 'd4' has an empty text"),
    ("corpus.jsonl", '{"_id": "d1", "text": "x"}', r"line 4: id 'd1' was given before, on line 1"),
    ("corpus.jsonl", '{"_id": "\\udc00", "text": "x"}', r"line 4: _id is '\\udc00'; expected a string"),
    (
        "corpus.jsonl",
        '{"_id": "d4", "text": "x\0"}',
        r"line 4: not valid JSON .*holds NUL bytes, so the file is damaged",
    ),
    ("corpus.jsonl", "\0" * 4096, r"line 4: not valid JSON .*holds NUL bytes, so the file is damaged"),
    ("corpus.jsonl", "[" * 100_000, r"line 4: JSON that cannot be read \(maximum recursion depth"),
    ("corpus.jsonl", '{"_id": ' + "9" * 5000 + "}", r"line 4: JSON that cannot be read \(Exceeds the limit"),
    ("corpus.jsonl", '{"_id": ["' + "x" * 10**7 + '"]}', r"line 4: _id is \['x{78}\.\.\.; expected"),
    ("corpus.jsonl", "x" * 10**7, r"corpus\.jsonl, line 4: not valid JSON \(Expecting value, column 1\)\.$"),
    ("queries.jsonl", '{"_id": "q4", "text": ""}', r"queries\.jsonl, line 4: id 'q4' has an empty text"),
    ("queries.jsonl", '{"_id": "q2", "text": "x"}', r"queries\.jsonl, line 4: id 'q2' was given before, on line 2"),
    ("qrels/test.tsv", "q9\td1\t1", r"test\.tsv, line 5: query 'q9' is not among the queries"),
    ("qrels/test.tsv", "q1\td9\t1", r"test\.tsv, line 5: document 'd9' is not among the corpus"),
    ("qrels/test.tsv", "q1\td3\t1.5", r"test\.tsv, line 5: score is '1\.5'; expected a whole number"),
    ("qrels/test.tsv", "q1\td3\t1.50", r"score is '1\.50'"),
    ("qrels/test.tsv", "q1\td3\tnan", r"score is 'nan'"),
    ("qrels/test.tsv", "q1\td3\t1_0", r"score is '1_0'"),
    ("qrels/test.tsv", "q1\td3\t" + "9" * 5000, r"score is '9{79}\.\.\.; expected a whole number"),
    ("qrels/test.tsv", "q1\td3\t", r"score is ''"),
    ("qrels/test.tsv", "q1\0\td3\t1", r"line 5: query 'q1\\x00' is not among the queries"),
    ("qrels/test.tsv", "q" * 10**7 + "\td3\t1", r"line 5: query 'q{79}\.\.\. is not among"),
    ("qrels/test.tsv", "q1\t0\td3\t1", r"line 5: 4 fields; expected query id, corpus id, score, tab-separated"),
    ("qrels/test.tsv", "q1\td3", r"test\.tsv, line 5: 2 fields; expected query id"),
    ("qrels/test.tsv", "q1 0 d3 1", r"test\.tsv, line 5: 1 fields; .*separated by spaces are named SPLIT\.trec"),
    ("qrels/test.tsv", "q1\td1\t1", r"test\.tsv, line 5: query 'q1' and document 'd1' already have score 2"),
]


@pytest.mark.parametrize(("name", "line", "message"), BAD_LINES)
def test_bad_line_is_refused_with_file_and_number(folder: Path, name: str, line: str, message: str) -> None:
    with (folder / name).open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    with pytest.raises(SembridgeError, match=message) as refusal:
        load_retrieval_data(folder)
    assert "\n" not in str(refusal.value)


def test_a_good_line_in_the_same_place_is_accepted(folder: Path) -> None:
    with (folder / "corpus.jsonl").open("a") as file:
        file.write(D4 + "\n")
    assert load_retrieval_data(folder).corpus["d4"] == "x"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("corpus.jsonl", r"corpus\.jsonl is empty"),
        ("queries.jsonl", r"queries\.jsonl is empty"),
        ("qrels/test.tsv", r"test\.tsv is empty"),
    ],
)
def test_empty_file_is_refused(folder: Path, name: str, message: str) -> None:
    (folder / name).write_text("\n")
    with pytest.raises(SembridgeError, match=message):
        load_retrieval_data(folder)


def test_header_alone_is_an_empty_split(folder: Path) -> None:
    (folder / "qrels/test.tsv").write_text(TEST_QRELS[0])
    with pytest.raises(SembridgeError, match="is empty"):
        load_retrieval_data(folder)


GOOD_QRELS = {"q1": {"d1": 2, "d2": 0}, "q2": {"d2": 1}}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("test.tsv", "q1\td1\t2.0\nq1\td2\t+0\nq2\td2\t1.\n"),
        ("test.tsv", "qid\tdocid\trel\nq1\td1\t2\nq1\td2\t0\nq2\td2\t1"),
        ("test.tsv", "q1\t0\td1\t2\nq1\t0\td2\t0\nq2\tQ0\td2\t1"),
        ("test.trec", "q1 0 d1 2\nq1  0  d2 0\r\nq2\t0\td2\t1\n"),
        ("test.txt", "\ufeffq1 0 d1 2\nq1 0 d2 0\nq2 0 d2 1\n"),
    ],
)
def test_qrels_of_trec_headers_and_whole_decimals_are_read(folder: Path, name: str, content: str) -> None:
    (folder / "qrels/test.tsv").unlink()
    (folder / "qrels" / name).write_text(content, encoding="utf-8")
    assert load_retrieval_data(folder).qrels == GOOD_QRELS


def test_query_may_be_called_like_a_header(folder: Path) -> None:
    (folder / "queries.jsonl").write_text('{"_id": "qid", "text": "x"}')
    (folder / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\nqid\td1\t1\n")
    assert load_retrieval_data(folder).qrels == {"qid": {"d1": 1}}


def test_two_files_of_one_split_are_refused(folder: Path) -> None:
    (folder / "qrels/test.trec").write_text("q1 0 d1 1\n")
    with pytest.raises(SembridgeError, match=r"qrels has test\.trec and test\.tsv; keep one"):
        load_retrieval_data(folder)


def write_parquet(path: Path, records: list[dict[str, object]]) -> None:
    from pyarrow import Table, parquet

    parquet.write_table(Table.from_pylist(records), path, row_group_size=2)


def test_parquet_is_read_as_json_lines_are(folder: Path) -> None:
    plain = load_retrieval_data(folder)
    (folder / "corpus.jsonl").unlink()
    write_parquet(folder / "corpus.parquet", [{"url": "x", **record} for record in CORPUS])
    read = load_retrieval_data(folder)
    assert (read.corpus, read.queries, read.qrels) == (plain.corpus, plain.queries, plain.qrels)
    write_parquet(folder / "corpus.parquet", [*CORPUS, {"_id": "d1", "text": "x"}])
    with pytest.raises(SembridgeError, match=r"corpus\.parquet, row 4: id 'd1' was given before, on row 1"):
        load_retrieval_data(folder)
    (folder / "corpus.parquet").write_bytes(b"PAR1 is not enough")
    with pytest.raises(SembridgeError, match=r"corpus\.parquet: not a Parquet file") as refusal:
        load_retrieval_data(folder)
    assert "\n" not in str(refusal.value)


def test_long_line_surrogate_pair_and_escaped_nul_are_texts(folder: Path) -> None:
    """json.dumps writes an emoji as a pair of escapes; ten million characters are one document."""
    texts = ["word " * 2_000_000 + "end", "\U0001f600", "a\0b"]
    records = [{"_id": f"d{number}", "text": text} for number, text in enumerate(texts, start=1)]
    (folder / "corpus.jsonl").write_text("\n".join(json.dumps(record) for record in records))
    assert "\\ud83d\\ude00" in (folder / "corpus.jsonl").read_text()
    assert list(load_retrieval_data(folder).corpus.values()) == texts


def test_one_document_is_a_corpus_that_can_be_searched(tmp_path: Path) -> None:
    from sembridge.retrieval.bm25 import bm25_run

    (tmp_path / "qrels").mkdir()
    (tmp_path / "corpus.jsonl").write_text('{"_id": "d", "text": "the only one"}')
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "only"}')
    (tmp_path / "qrels/test.tsv").write_text("q\td\t1")
    run = bm25_run(load_retrieval_data(tmp_path))
    assert list(run["q"]) == ["d"]
    assert run["q"]["d"] > 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
@pytest.mark.parametrize("name", ["corpus.jsonl", "qrels/test.tsv", "qrels", "."])
def test_file_or_folder_without_permission_is_named(folder: Path, name: str) -> None:
    (folder / name).chmod(0)
    try:
        with pytest.raises(SembridgeError, match=r"cannot be read \(Permission denied\)"):
            load_retrieval_data(folder)
    finally:
        (folder / name).chmod(0o755)


def test_file_that_the_disk_does_not_give_is_one_line(folder: Path) -> None:
    """/proc/self/mem is a file that opens and cannot be read, for root too."""
    if not Path("/proc/self/mem").exists():
        pytest.skip("no /proc")
    (folder / "corpus.jsonl").unlink()
    (folder / "corpus.jsonl").symlink_to("/proc/self/mem")
    with pytest.raises(SembridgeError, match=r"cannot be read \(Input/output error\); check"):
        load_retrieval_data(folder)


def test_split_without_a_relevant_document_is_refused(folder: Path) -> None:
    (folder / "qrels/test.tsv").write_text("q1\td1\t0\n")
    with pytest.raises(SembridgeError, match="no relevant document"):
        load_retrieval_data(folder)


@pytest.mark.parametrize(
    ("text", "encoding"), [("café", "latin-1"), ("столица", "cp1251"), ("首都", "gbk"), ("x", "utf-16")]
)
def test_text_that_is_not_utf8_is_refused(folder: Path, text: str, encoding: str) -> None:
    (folder / "corpus.jsonl").write_bytes(f'{{"_id": "d1", "text": "{text}"}}\n'.encode(encoding))
    with pytest.raises(SembridgeError, match=r"corpus\.jsonl, line 1: not UTF-8"):
        load_retrieval_data(folder)


WHOLE = gzip.compress("\n".join(lines_of(CORPUS)).encode(), mtime=0)


@pytest.mark.parametrize(
    "content", [b"plain text", WHOLE[:-20], WHOLE[:40] + bytes(20) + WHOLE[60:]], ids=("plain", "cut", "damaged")
)
def test_broken_gzip_is_refused(folder: Path, content: bytes) -> None:
    (folder / "corpus.jsonl").unlink()
    (folder / "corpus.jsonl.gz").write_bytes(content)
    with pytest.raises(SembridgeError, match=r"corpus\.jsonl\.gz: broken gzip file"):
        load_retrieval_data(folder)


def test_missing_split_lists_those_there_are(folder: Path) -> None:
    with pytest.raises(SembridgeError, match=r"no qrels/dev\.tsv; splits available: test, train\."):
        load_retrieval_data(folder, split="dev")


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl"])
def test_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(SembridgeError, match=rf"has no {name}, {name}\.gz or {name.removesuffix('.jsonl')}\.parquet"):
        load_retrieval_data(folder)


def test_missing_qrels_folder_has_no_splits(folder: Path) -> None:
    for file in (folder / "qrels").iterdir():
        file.unlink()
    (folder / "qrels").rmdir()
    with pytest.raises(SembridgeError, match="splits available: none"):
        load_retrieval_data(folder)


def test_missing_folder_says_what_is_possible(tmp_path: Path) -> None:
    with pytest.raises(SembridgeError, match=r"expected a BEIR folder .*, a bundled set .*, or mteb:TASK\[:SUBSET\]"):
        load_retrieval_data(tmp_path / "nowhere")


@pytest.mark.parametrize("split", ["test", "dev"])
def test_bundled_data_have_the_language_of_their_name(split: str) -> None:
    data = load_retrieval_data("mini/faq-ko", split=split)
    assert (data.name, data.language) == ("mini/faq-ko", "ko")
    assert any("가" <= character <= "힣" for character in next(iter(data.corpus.values())))
    with pytest.raises(SembridgeError, match="mini/faq-ko"):
        load_retrieval_data("mini/nothing")


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"corpus": {}}, "has 0 documents and 1 queries"),
        ({"queries": {}, "qrels": {}}, "has 1 documents and 0 queries"),
        ({"qrels": {}}, "query 'q' is in only one of queries and qrels"),
        ({"qrels": {"q": {"other": 1}}}, "name document 'other', which is not in the corpus"),
        ({"qrels": {"q": {"d": -1}}}, "no relevant document"),
    ],
)
def test_data_built_in_memory_are_checked_too(parts: dict[str, dict[str, object]], message: str) -> None:
    good = {"corpus": {"d": "text"}, "queries": {"q": "text"}, "qrels": {"q": {"d": 1}}}
    RetrievalData(name="good", language=None, **good)  # type: ignore[arg-type]
    with pytest.raises(SembridgeError, match=message):
        RetrievalData(name="bad", language=None, **(good | parts))  # type: ignore[arg-type]


@pytest.fixture
def numbered() -> RetrievalData:
    """20 queries with two relevant documents each, one judged not relevant, among 100 documents."""
    return RetrievalData(
        name="numbered",
        language="en",
        corpus={f"d{n}": f"document {n}" for n in range(100)},
        queries={f"q{n}": f"query {n}" for n in range(20)},
        qrels={f"q{n}": {f"d{2 * n}": 1, f"d{2 * n + 1}": 2, f"d{99 - n}": 0} for n in range(20)},
    )


@pytest.mark.parametrize("seed", range(5))
def test_sample_keeps_every_relevant_document_of_its_queries(numbered: RetrievalData, seed: int) -> None:
    sample = numbered.sample(5, 30, seed=seed)
    assert (len(sample.queries), len(sample.corpus)) == (5, 30)
    assert sample.corpus.items() <= numbered.corpus.items()
    for query_id, judged in sample.qrels.items():
        kept = {doc: score for doc, score in numbered.qrels[query_id].items() if doc in sample.corpus}
        assert judged == kept
        assert {doc for doc, score in numbered.qrels[query_id].items() if score > 0} <= judged.keys()


def test_sample_is_a_function_of_its_seed(numbered: RetrievalData) -> None:
    assert numbered.sample(5, 30, seed=1) == numbered.sample(5, 30, seed=1)
    assert numbered.sample(5, 30, seed=1) != numbered.sample(5, 30, seed=2)
    assert numbered.sample(5, 30, seed=1).name == "numbered (5 queries, 30 documents, seed 1)"


def test_sample_ignores_the_order_of_the_files(numbered: RetrievalData) -> None:
    turned = RetrievalData(
        name=numbered.name,
        language="en",
        corpus=dict(reversed(numbered.corpus.items())),
        queries=dict(reversed(numbered.queries.items())),
        qrels=numbered.qrels,
    )
    assert turned.sample(5, 30) == numbered.sample(5, 30)


def test_cap_above_the_size_or_none_keeps_everything(numbered: RetrievalData) -> None:
    assert numbered.sample() is numbered
    assert numbered.sample(500, 1000) is numbered
    assert len(numbered.sample(5).corpus) == 100


def test_sample_refuses_what_it_cannot_keep(numbered: RetrievalData) -> None:
    with pytest.raises(SembridgeError, match="n_documents=10 or more, or fewer queries"):
        numbered.sample(5, 9)
    assert len(numbered.sample(5, 10).corpus) == 10
    with pytest.raises(SembridgeError, match="n_queries is 0"):
        numbered.sample(0)
    with pytest.raises(SembridgeError, match="n_documents is -1"):
        numbered.sample(None, -1)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "split", "n_documents"),
    [("xquad/ko", "test", 0), ("xquad/hi", "test", 2000), ("korquad/ko", "dev", 2000), ("qrcd/ar", "train", 497)],
)
def test_development_data_load_with_the_sizes_of_their_readme(
    shared: Path, name: str, split: str, n_documents: int
) -> None:
    if n_documents == 0:
        with pytest.raises(SembridgeError, match="expected a BEIR folder"):
            load_retrieval_data(shared / "data" / name, split=split)
        return
    data = load_retrieval_data(shared / "data" / name, split=split)
    assert len(data.corpus) == n_documents
    assert data.name == name
