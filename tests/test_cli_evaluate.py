"""`sembridge evaluate`: rows, references, tests, health and files, end to end over folders; refusals in one line."""

from __future__ import annotations

import csv
import io
import json
import random
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ir_measures
import pytest
from commands import Done, sembridge
from huggingface_hub import ModelCard
from sentence_transformers import SparseEncoder
from test_cli import strict_json
from tiny import ENGLISH_WORDS, tiny_encoder, tiny_tokenizer
from tiny_bridge import save_tiny_bridge

from sembridge.encoders.fingerprint import weights_fingerprint
from sembridge.encoders.loading import load_bridge, load_encoder
from sembridge.errors import SembridgeError
from sembridge.retrieval.columns import KEPT_COLUMNS, EvaluationRow
from sembridge.retrieval.evaluation import evaluate, evaluate_bm25
from sembridge.retrieval.evaluation_plan import english_encoder, plan_evaluation, run_files
from sembridge.retrieval.significance import holm
from sembridge.retrieval.sources import load_retrieval_data

MEASURES = ["nDCG@10", "R@10"]
BY_MEASURES = ("--measure", "nDCG@10", "--measure", "R@10")
REFERENCES = ["bm25-tokens", "bm25-words"]


def write_data(folder: Path, *, seed: int = 0, newline: str = "\n", start: str = "") -> Path:
    """12 queries of two words, 40 documents of six; relevance 2 where both words occur, 1 for one document more."""
    generator = random.Random(seed)
    corpus = {f"d{n}": " ".join(generator.sample(ENGLISH_WORDS, 6)) for n in range(40)}
    queries = {f"q{n}": " ".join(generator.sample(ENGLISH_WORDS, 2)) for n in range(12)}
    qrels = [f"{query}\td{n}\t1" for n, query in enumerate(queries)]
    for query, words in queries.items():
        both = [d for d, text in corpus.items() if set(words.split()) <= set(text.split()) and d != f"d{query[1:]}"]
        qrels += [f"{query}\t{document}\t2" for document in both[:3]]
    files = {
        "corpus.jsonl": [json.dumps({"_id": name, "text": text}) for name, text in corpus.items()],
        "queries.jsonl": [json.dumps({"_id": name, "text": text}) for name, text in queries.items()],
        "qrels/test.tsv": ["query-id\tcorpus-id\tscore", *qrels],
    }
    (folder / "qrels").mkdir(parents=True)
    for name, lines in files.items():
        (folder / name).write_bytes((start + newline.join([*lines, ""])).encode())
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Encoders `first`, `second`, and `moved`, beside whose model a report names `second`; data `words/en`; a cache."""
    root = tmp_path_factory.mktemp("evaluate")
    for seed, name in enumerate(("first", "second")):
        encoder = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"), seed=seed)
        encoder.save_pretrained(str(root / name), create_model_card=False)
    shutil.copytree(root / "first", root / "moved")
    (root / "moved" / "report.json").write_text(json.dumps({"source_encoder": str(root / "second")}))
    write_data(root / "words" / "en")
    return root


@pytest.fixture(scope="module")
def encoder(place: Path) -> SparseEncoder:
    return SparseEncoder(str(place / "first"), device="cpu", local_files_only=True)


def evaluated(place: Path, *arguments: object) -> Done:
    return sembridge("evaluate", *arguments, "--cache", place / "cache")


def document(place: Path, *arguments: object) -> dict[str, Any]:
    done = evaluated(place, *arguments, "--format", "json")
    assert done.code == 0, done.err
    found: dict[str, Any] = strict_json(done.out)
    return found


def test_document_holds_the_figures_of_every_row(place: Path, encoder: SparseEncoder) -> None:
    found = document(place, place / "first", "--data", place / "words" / "en", *BY_MEASURES)
    assert list(found) == ["encoders", "english", "split", "measures", "data"]
    assert (found["encoders"], found["english"]) == ({"first": str(place / "first")}, None)
    assert found["measures"] == MEASURES
    (report,) = found["data"]
    assert {key: report[key] for key in ("data", "n_queries", "n_documents", "baseline")} == {
        "data": "words/en",
        "n_queries": 12,
        "n_documents": 40,
        "baseline": "bm25-tokens",
    }
    systems = {system["system"]: system for system in report["systems"]}
    assert list(systems) == ["first", *REFERENCES, "hybrid-first"]
    data = load_retrieval_data(place / "words" / "en")
    direct = evaluate(encoder, data, measures=MEASURES).to_dict(per_query=False)
    for key in ("measures", *(column.name for column in KEPT_COLUMNS)):
        assert systems["first"][key] == pytest.approx(direct[key], rel=1e-6)
    assert systems["first"]["documents_per_second"] > 0
    assert len(systems["first"]["health"]["checks"]) == 9
    assert systems["bm25-words"]["measures"] == evaluate_bm25(data, measures=MEASURES).measures
    assert "per_query" not in systems["first"]
    assert [(c["system"], c["measure"]) for c in report["comparisons"]] == [
        (system, measure) for system in ("first", "hybrid-first") for measure in MEASURES
    ]


def test_changes_come_with_query_and_best_relevant_document(place: Path) -> None:
    (report,) = document(place, place / "first", "--data", place / "words" / "en")["data"]
    data = load_retrieval_data(place / "words" / "en")
    comparison = report["comparisons"][0]
    assert comparison["wins"] + comparison["ties"] + comparison["losses"] == 12
    assert comparison["losses"] > 5  # random weights against BM25
    shifts = comparison["largest_gains"] + comparison["largest_losses"]
    for shift in shifts:
        assert shift["query"] == data.queries[shift["query_id"]]
        assert data.qrels[shift["query_id"]][shift["document_id"]] == max(data.qrels[shift["query_id"]].values())
        assert shift["document_start"] == data.corpus[shift["document_id"]]
    drops = [shift["baseline"] - shift["system"] for shift in comparison["largest_losses"]]
    assert len(drops) == 5
    assert drops == sorted(drops, reverse=True)
    assert drops[-1] > 0


def test_several_encoders_are_tested_against_the_first_on_all_data_together(place: Path, tmp_path: Path) -> None:
    write_data(tmp_path / "more" / "en", seed=1)
    found = document(
        place,
        place / "first",
        place / "second",
        "--data",
        place / "words" / "en",
        "--data",
        tmp_path / "more" / "en",
        "--no-references",
    )
    assert [report["data"] for report in found["data"]] == ["words/en", "more/en"]
    comparisons = [comparison for report in found["data"] for comparison in report["comparisons"]]
    assert {(c["system"], c["baseline"]) for c in comparisons} == {("second", "first")}
    assert len(comparisons) == 6
    assert [c["p_holm"] for c in comparisons] == holm([c["p_permutation"] for c in comparisons])
    assert [system["system"] for system in found["data"][0]["systems"]] == ["first", "second"]


def test_baseline_can_be_any_row(place: Path) -> None:
    arguments = (place / "first", place / "second", "--data", place / "words" / "en", "--measure", "AP")
    (report,) = document(place, *arguments, "--baseline", "bm25-words")["data"]
    assert [c["system"] for c in report["comparisons"]] == ["first", "second", "hybrid-first", "hybrid-second"]
    assert evaluated(place, *arguments, "--baseline", "bm25").line == (
        "sembridge: Baseline 'bm25' is no row of the table; expected one of first, second, bm25-tokens, bm25-words, "
        "hybrid-first, hybrid-second."
    )


def test_a_bridge_has_a_row_and_is_fused_with_every_encoder(place: Path, tmp_path: Path) -> None:
    bridge = save_tiny_bridge(tmp_path / "tiny")
    arguments = (place / "first", "--data", place / "words" / "en", "--measure", "nDCG@10", "--bridge", bridge)
    (report,) = document(place, *arguments)["data"]
    systems = {system["system"]: system for system in report["systems"]}
    assert list(systems) == ["first", *REFERENCES, "bridge", "hybrid-first", "hybrid-bridge-first"]
    assert systems["bridge"]["kind"] == "dense"
    assert systems["bridge"]["bytes_per_document"] == 4 * load_bridge(bridge).get_embedding_dimension()
    assert systems["bridge"]["queries_per_second"] > 0
    assert [c["system"] for c in report["comparisons"]] == ["first", "bridge", "hybrid-first", "hybrid-bridge-first"]
    (report,) = document(place, *arguments, "--bridge-weight", 0.9)["data"]
    rows = {row["system"]: row for row in report["systems"]}
    assert systems["hybrid-bridge-first"]["settings"]["fusion"] == "standard scores, 0.5 to 0.5"
    assert rows["hybrid-bridge-first"]["settings"]["fusion"] == "standard scores, 0.9 to 0.1"
    shown = evaluated(place, *arguments, "--baseline", "bridge", "--details").out
    assert "Against bridge" in shown
    assert "hybrid-bridge-first" in shown
    assert [row["system"] for row in document(place, *arguments, "--no-references")["data"][0]["systems"]] == ["first"]


def test_source_encoder_of_a_transferred_one_has_a_row(place: Path) -> None:
    found = document(place, place / "moved", "--data", place / "words" / "en", "--measure", "nDCG@10")
    assert found["english"] == str(place / "second")
    systems = {system["system"]: system for system in found["data"][0]["systems"]}
    alone = document(
        place, place / "second", "--data", place / "words" / "en", "--measure", "nDCG@10", "--no-references"
    )["data"][0]
    assert systems["english"]["measures"] == alone["systems"][0]["measures"]
    given = document(place, place / "first", "--data", place / "words" / "en", "--english", place / "second")
    assert "english" in {system["system"] for system in given["data"][0]["systems"]}


def test_a_source_encoder_out_of_reach_is_left_out_with_a_line(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "moved", tmp_path / "moved")
    (tmp_path / "moved" / "report.json").write_text('{"source_encoder": "nobody/has-this"}')
    done = evaluated(place, tmp_path / "moved", "--data", place / "words" / "en", "--format", "csv")
    assert done.code == 0
    line = "no row of the untouched English encoder: the source encoder nobody/has-this is not on this machine."
    assert done.err == f"sembridge: {line}\n"
    assert "english" not in done.out
    assert english_encoder([str(place / "moved"), str(place / "second")]).name is None  # it has its own row
    assert english_encoder([str(place / "moved"), str(place / "second")]).why_not is None


def transferred(place: Path, folder: Path, **facts: str) -> Path:
    """A copy of `moved` whose report says these things of its source encoder."""
    shutil.copytree(place / "moved", folder)
    (folder / "report.json").write_text(json.dumps(facts))
    return folder


def test_the_untouched_encoder_is_found_from_any_directory_and_recognised(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report names `source`; from another directory the same name leads to another model."""
    second, first = (load_encoder(place / name) for name in ("second", "first"))
    made = weights_fingerprint(second)
    shutil.copytree(place / "first", tmp_path / "source")  # another model of that name
    monkeypatch.chdir(tmp_path)
    facts = {"source_encoder": "source", "source_fingerprint": made}
    known = transferred(place, tmp_path / "known", **facts, source_folder=str(place / "second"))
    found = english_encoder([str(known)])
    assert (found.name, found.folder) == ("source", str(place / "second"))
    assert found.refusal(second) is None
    wrong = english_encoder([str(transferred(place, tmp_path / "unknown", **facts))])
    assert wrong.folder == "source"
    assert "another model than the one that was transferred; give that one by --english" in (wrong.refusal(first) or "")
    old = english_encoder([str(transferred(place, tmp_path / "old", source_encoder="source"))])
    assert old.why_not == "report.json names source, which may be another folder here; give it by --english"
    gone = transferred(place, tmp_path / "gone", source_encoder="elsewhere", source_folder=str(tmp_path / "elsewhere"))
    assert "elsewhere is not on this machine" in (english_encoder([str(gone)]).why_not or "")


def test_another_model_is_never_measured_as_the_untouched_one(place: Path, tmp_path: Path) -> None:
    facts = {"source_encoder": str(place / "second"), "source_fingerprint": "0" * 32}
    done = evaluated(place, transferred(place, tmp_path / "ko", **facts), "--data", place / "words" / "en", "--json")
    assert "second holds another model than the one that was transferred" in done.err
    assert "english" not in {system["system"] for system in json.loads(done.out)["data"][0]["systems"]}


def test_a_card_that_cannot_be_written_is_refused_before_the_work(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "first", tmp_path / "first")
    (tmp_path / "first" / "README.md").write_text("---\nlanguage: [ko\n---\n\n# Mine\n")
    done = evaluated(place, tmp_path / "first", "--data", place / "words" / "en", "--card")
    assert done.code == 1
    assert "README.md cannot be read (" in done.err
    assert done.err.count("\n") == 1


def test_table_names_the_data_and_says_everything(place: Path) -> None:
    done = evaluated(place, place / "moved", "--data", place / "words" / "en", "--details")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0].startswith("words/en: 12 queries, 40 documents ─")
    assert max(map(len, lines)) <= 100
    firsts = [line.split()[0] for line in lines if line.strip()]
    for row in ("moved", *REFERENCES, "english", "hybrid-moved", "dead"):
        assert row in firsts
    for part in ("nDCG@10", "R@100", "RR@10", "FLOPS", "a document", "a second", "Against bm25-tokens", "corrected",
                 "Largest losses of moved over bm25-tokens, nDCG@10", "Health", "warned above", "Verdict"):  # fmt: skip
        assert part in done.out


def test_a_short_table_with_the_verdict_comes_first_and_the_rest_on_demand(place: Path) -> None:
    done = evaluated(place, place / "moved", "--data", place / "words" / "en")
    (report,) = document(place, place / "moved", "--data", place / "words" / "en")["data"]
    (verdict,) = report["verdicts"]
    assert " ".join(verdict["sentence"].split()) in " ".join(done.out.split())
    assert [contest["baseline"] for contest in verdict["contests"]][1] == "english"
    rows = ["moved", *REFERENCES, "english", "hybrid-moved"]
    firsts = [line.split()[0] for line in done.out.splitlines() if line.strip()]
    assert [name for name in firsts if name in rows] == rows
    assert len(done.out.splitlines()) < 20
    assert not any(part in done.out for part in ("postings", "Largest losses", "warned above"))
    assert "--details" in done.out


def test_csv_has_a_line_a_row_and_a_query(place: Path) -> None:
    arguments = (place / "first", "--data", place / "words" / "en", *BY_MEASURES, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(evaluated(place, *arguments).out)))
    assert [row["system"] for row in rows] == ["first", *REFERENCES, "hybrid-first"]
    assert {row["query_id"] for row in rows} == {""}
    assert list(rows[0])[-len(EvaluationRow.COLUMNS) :] == [column.name for column in EvaluationRow.COLUMNS]
    assert rows[1]["flops"] == ""
    every = list(csv.DictReader(io.StringIO(evaluated(place, *arguments, "--per-query").out)))
    assert len(every) == 4 * 13
    of_first = [float(row["nDCG@10"]) for row in every if row["system"] == "first" and row["query_id"]]
    assert sum(of_first) / 12 == pytest.approx(float(rows[0]["nDCG@10"]), abs=1e-12)
    (report,) = document(place, *arguments[:-2], "--per-query")["data"]
    assert list(report["systems"][0]["per_query"]["nDCG@10"].values()) == of_first


def test_values_per_query_need_a_format_that_holds_them(place: Path) -> None:
    done = evaluated(place, place / "first", "--data", place / "words" / "en", "--per-query")
    assert done.code == 2
    assert "--format" in done.err


def test_run_file_reproduces_the_measures(place: Path, tmp_path: Path) -> None:
    found = document(
        place, place / "first", "--data", place / "words" / "en", *BY_MEASURES, "--run", tmp_path / "run.trec"
    )
    system = found["data"][0]["systems"][0]
    assert system["run"] == str(tmp_path / "run.trec")
    qrels = load_retrieval_data(place / "words" / "en").qrels
    measures = [ir_measures.parse_measure(name) for name in MEASURES]
    theirs = ir_measures.calc_aggregate(measures, qrels, list(ir_measures.read_trec_run(system["run"])))
    assert system["measures"] == pytest.approx({str(measure): value for measure, value in theirs.items()}, abs=1e-6)


def test_runs_of_several_encoders_go_to_a_file_each(place: Path, tmp_path: Path) -> None:
    encoders = (place / "first", place / "second")
    done = evaluated(
        place, *encoders, "--data", place / "words" / "en", "--run", tmp_path / "run.trec", "--format", "csv"
    )
    assert done.code == 0, done.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.first.trec", "run.second.trec"]
    assert run_files(tmp_path / "r.trec", ["a"], ["x/ko", "mini/b"])["x/ko"]["a"].name == "r.x-ko.trec"
    with pytest.raises(SembridgeError, match=r"r\.a-b\.trec was given twice"):
        run_files(tmp_path / "r.trec", ["a b", "a-b"], ["x"])


def test_second_run_reads_the_cache_and_no_cache_writes_none(place: Path, tmp_path: Path) -> None:
    arguments = ("evaluate", place / "first", "--data", place / "words" / "en", "--json", "--no-references")
    assert sembridge(*arguments, "--no-cache", "--cache", tmp_path / "cache").code == 0
    assert not (tmp_path / "cache").exists()
    first = strict_json(sembridge(*arguments, "--cache", tmp_path / "cache").out)
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.safetensors")}
    second = strict_json(sembridge(*arguments, "--cache", tmp_path / "cache").out)
    assert len(files) == 2
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.safetensors")} == files
    vectors = [found["data"][0]["systems"][0]["settings"].pop("vectors") for found in (first, second)]
    assert vectors == ["encoded", "cached"]
    assert first == second


def test_sample_says_so_in_its_name(place: Path) -> None:
    (report,) = document(place, place / "first", "--data", place / "words" / "en", "--queries", 5, "--documents", 30)[
        "data"
    ]
    assert report["data"] == "words/en (5 queries, 30 documents, seed 0)"


def test_byte_order_mark_line_ends_and_graded_relevance(place: Path, tmp_path: Path) -> None:
    """Relevance 1 and 2 are mixed in one file, and nDCG sees them."""
    write_data(tmp_path / "words" / "en", newline="\r\n", start="\ufeff")
    arguments = ("--measure", "nDCG@10", "--no-references")
    plain = document(place, place / "first", "--data", place / "words" / "en", *arguments)["data"][0]["systems"][0][
        "measures"
    ]
    other = document(place, place / "first", "--data", tmp_path / "words" / "en", *arguments)["data"][0]["systems"][0][
        "measures"
    ]
    assert plain == other
    binary = (tmp_path / "words" / "en" / "qrels" / "test.tsv").read_text().replace("\t2", "\t1")
    (tmp_path / "words" / "en" / "qrels" / "test.tsv").write_text(binary)
    graded = document(place, place / "first", "--data", tmp_path / "words" / "en", *arguments)["data"][0]["systems"][0][
        "measures"
    ]
    assert graded != plain


def test_one_document_and_one_query_are_evaluated(place: Path, tmp_path: Path) -> None:
    folder = write_data(tmp_path / "one")
    (folder / "corpus.jsonl").write_text('{"_id": "d", "text": "home river"}')
    (folder / "queries.jsonl").write_text('{"_id": "q", "text": "home"}')
    (folder / "qrels" / "test.tsv").write_text("q\td\t1\n")
    done = evaluated(place, place / "first", "--data", folder)
    assert done.code == 0, done.err
    assert "1 query, 1 document " in done.out
    (report,) = document(place, place / "first", "--data", folder)["data"]
    assert {system["measures"]["nDCG@10"] for system in report["systems"]} == {1.0}
    assert {comparison["verdict"] for comparison in report["comparisons"]} == {"no difference shown"}


BAD_FILES = [
    ("qrels/test.tsv", "q99\td1\t1", "query 'q99' is not among"),
    ("qrels/test.tsv", "q1\td99\t1", "document 'd99' is not among"),
    ("corpus.jsonl", '{"_id": "d1", "text": "x"}', "id 'd1' was given before, on line 2"),
    ("queries.jsonl", '{"_id": "q50", "text": "  "}', "id 'q50' has an empty text"),
]


@pytest.mark.parametrize(("name", "line", "message"), BAD_FILES)
def test_bad_data_is_refused_in_one_line(place: Path, tmp_path: Path, name: str, line: str, message: str) -> None:
    folder = write_data(tmp_path / "bad")
    with (folder / name).open("a") as file:
        file.write(line + "\n")
    done = evaluated(place, place / "first", "--data", folder)
    assert done.code == 1
    assert message in done.line
    assert str(folder / name) in done.line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["./none", "--data", "DATA"], "The folder ./none does not exist; expected a folder, a hub id or mini/NAME."),
        (["FIRST", "--data", "./none"], "No retrieval data at './none': expected a BEIR folder"),
        (["FIRST", "--data", "DATA", "--measure", "nDGC@10"], "Unknown measure 'nDGC@10'"),
        (["FIRST", "--data", "DATA", "--measure", "ndcg@10"], "Did you mean nDCG@10?"),
        (["DATA", "--data", "FIRST"], "--data FIRST is an encoder; write `sembridge evaluate FIRST --data "),
        (["FIRST", "--data", "DATA", "--measure", "ndcg"], "Unknown measure 'ndcg'"),
        (["FIRST", "--data", "DATA", "--split", "dev"], "splits available: test"),
        (["FIRST", "--data", "DATA", "--run", "none/run.trec"], "none is not a folder you can write to; make it first"),
        (["FIRST", "FIRST", "--data", "DATA"], "was given twice; give it once"),
        (["FIRST"], "No retrieval data given; name it with --data: `sembridge evaluate FIRST --data mini/faq-ko`."),
        (["FIRST", "--data", "FIRST"], "FIRST is an encoder; write `sembridge evaluate FIRST --data DATA`."),
        (["FIRST", "--data", "DATA", "--english", "./none"], "The folder ./none does not exist"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused_in_one_line(place: Path, arguments: list[str], message: str) -> None:
    names = {"FIRST": str(place / "first"), "DATA": str(place / "words" / "en")}
    done = evaluated(place, *(names.get(argument, argument) for argument in arguments))
    assert done.code == 1
    assert message.replace("FIRST", names["FIRST"]) in done.line


@pytest.fixture
def small_disk() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("small_disk")
def test_a_full_disk_costs_the_cache_but_not_the_results(place: Path, tmp_path: Path) -> None:
    arguments = (
        "evaluate",
        place / "first",
        "--data",
        place / "words" / "en",
        "--format",
        "csv",
        "--cache",
        tmp_path / "cache",
    )
    done = sembridge(*arguments)
    assert done.code == 0
    assert len(done.out.splitlines()) == 5
    assert not list(tmp_path.rglob("*.*"))
    (tmp_path / "run.trec").write_text("old")
    refused = sembridge(*arguments, "--run", tmp_path / "run.trec")
    assert refused.code == 1
    assert "run.trec could not be written: file too large" in refused.err.splitlines()[-1]
    assert (tmp_path / "run.trec").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["run.trec"]


@pytest.mark.parametrize(
    ("line", "said", "meant"),
    [
        ("a/b mini/faq-ko", "mini/faq-ko is retrieval data", "a/b --data mini/faq-ko"),
        (
            "a/b mteb:X:ko mini/faq-ko AP nDCG@5",
            "mteb:X:ko, mini/faq-ko are retrieval data and AP, nDCG@5 are measures",
            "a/b --data mteb:X:ko --data mini/faq-ko --measure AP --measure nDCG@5",
        ),
        ("a/b nDCG@10 --data mini/faq-ko", "nDCG@10 is a measure", "a/b --data mini/faq-ko --measure nDCG@10"),
        ("mini/faq-ko --data x", "mini/faq-ko is retrieval data", "ENCODER --data x --data mini/faq-ko"),
        ("a/b nDGC@10", "nDGC@10 is a measure", "a/b --data DATA --measure nDGC@10"),
    ],
)  # fmt: skip
def test_data_and_measures_among_the_encoders_are_refused_with_the_line_to_write(
    line: str, said: str, meant: str
) -> None:
    encoders, _, data = line.partition(" --data ")
    with pytest.raises(SembridgeError) as refused:
        plan_evaluation(encoders.split(), data=data.split())
    assert str(refused.value) == f"Expected encoders, but {said}; write `sembridge evaluate {meant}`."


def test_what_lies_on_the_disk_changes_the_meaning_of_no_name(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(place / "first", "AP")
    write_data(tmp_path / "AP" / "data")
    plan = plan_evaluation(["AP"], data=["AP/data"], measures=["AP"])
    assert (plan.encoders, plan.data, plan.measures) == ({"AP": "AP"}, ("AP/data",), ("AP",))
    (tmp_path / "AP" / "corpus.jsonl").touch()  # an encoder's folder that holds its corpus, too
    assert list(plan_evaluation(["AP"], data=["AP/data"]).encoders) == ["AP"]


def test_encoders_that_end_alike_keep_their_whole_names_and_measures_make_the_run_deep() -> None:
    plan = plan_evaluation(["a/b", "a2/b", "mini/tokenizer-ko"], data=["x"], measures=["R@2000"])
    assert list(plan.encoders) == ["a/b", "a2/b", "mini/tokenizer-ko"]
    assert (plan.top_k, plan_evaluation(["a/b"], data=["x"]).measures) == (2000, ("nDCG@10", "R@100", "RR@10"))


def test_queries_and_documents_that_changed_take_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.cells import cell_len

    from sembridge.cli.evaluation_tables import PIPE_WIDTH, _print_cut

    for text in ("a word " * 50, "학교 선생님 " * 50, "short"):
        _print_cut("0.00 to 1.00  ", text)
    *cut, short = capsys.readouterr().out.splitlines()
    assert len(cut) == 2
    assert all(line.endswith("…") and PIPE_WIDTH - 2 <= cell_len(line) <= PIPE_WIDTH for line in cut)
    assert short == "0.00 to 1.00  short"


# --- the model card --------------------------------------------------------------------------------------------------


def test_card_keeps_the_measures_in_the_model_card_of_a_folder(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "first", tmp_path / "first")
    (tmp_path / "first" / "README.md").write_text("---\nlicense: mit\n---\n\n# 학교\n\nText.\n", encoding="utf-8")
    arguments = [tmp_path / "first", "--data", place / "words" / "en", *BY_MEASURES, "--card", "--no-references"]
    (row,) = document(place, *arguments)["data"][0]["systems"]
    assert evaluated(place, *arguments).code == 0  # a second time changes nothing
    text = (tmp_path / "first" / "README.md").read_text(encoding="utf-8")
    card = ModelCard(text)
    found = {result.metric_type: result.metric_value for result in card.data.eval_results}
    figures = {column.name: row[column.name] for column in KEPT_COLUMNS}
    assert found == pytest.approx({name: row["measures"][name] for name in MEASURES} | figures, abs=1e-4)
    for column in KEPT_COLUMNS:
        assert f"| {column.heading} |" in text
    assert (card.data.license, card.data.model_name) == ("mit", "학교")
    assert text.count("## Quality") == 1
    assert "- **words/en**" not in text  # no row beside it, nothing to say
    assert evaluated(place, *arguments[:-1]).code == 0
    (report,) = document(place, *arguments[:-2])["data"]
    said = report["verdicts"][0]["sentence"].removeprefix("first: ")
    assert f"- **words/en**: by nDCG@10, {said}\n" in (tmp_path / "first" / "README.md").read_text(encoding="utf-8")
    assert "Text." in text


def test_card_without_a_folder_is_wrong_usage(place: Path) -> None:
    done = evaluated(place, "mini/splade-en", "--data", place / "words" / "en", "--card")
    assert done.code == 2
    assert "no encoder is a folder" in " ".join(done.err.replace("│", " ").split())
