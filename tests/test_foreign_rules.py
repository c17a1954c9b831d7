"""Neighbours' rules are followed: own documents (BEIR, mteb), negative grades (trec_eval), queries without weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array

from sembridge.deployment.export.collection import VectorBlock, VectorCollection
from sembridge.deployment.export.lucene import export_lucene
from sembridge.deployment.export.pisa import export_pisa
from sembridge.deployment.export.seismic import export_seismic
from sembridge.errors import SembridgeError
from sembridge.retrieval.data import RetrievalData
from sembridge.retrieval.evaluation import evaluate_bm25, evaluate_vectors, measure_run
from sembridge.retrieval.sources import load_retrieval_data

TEXTS = {
    "a-1": "The library opens at nine in the morning.",
    "a-2": "From nine o'clock the library is open.",
    "a-3": "The bank closes at four.",
    "a-4": "At four the bank shuts its doors.",
}
PARTNER = {"a-1": "a-2", "a-2": "a-1", "a-3": "a-4", "a-4": "a-3"}
BEST = {"nDCG@10": 1.0, "RR@10": 1.0}


def arguments(**changes: object) -> RetrievalData:
    qrels = {query: {partner: 1} for query, partner in PARTNER.items()}
    settings = {"corpus": TEXTS, "queries": TEXTS, "qrels": qrels, **changes}
    return RetrievalData(name="arguments", language="en", **settings)  # type: ignore[arg-type]


def means(found: dict[str, dict[str, float]]) -> dict[str, float]:
    return {measure: sum(values.values()) / len(values) for measure, values in found.items()}


def test_a_query_that_is_a_document_does_not_find_itself() -> None:
    data = arguments()
    assert data.own_documents == set(TEXTS)
    found = evaluate_bm25(data, measures=["nDCG@10", "RR@10"])
    assert found.measures == BEST
    assert all(query not in scores for query, scores in found.run.items())
    assert found.settings["own_documents_left_out"] == 4
    vectors = csr_array(np.array([[3, 1], [1, 0.5], [0, 3], [0, 1]], np.float32))
    shallow = evaluate_vectors(vectors, vectors, data, measures=["RR@1"], top_k=1)
    assert {query: list(scores) for query, scores in shallow.run.items()} == {
        "a-1": ["a-2"], "a-2": ["a-1"], "a-3": ["a-1"], "a-4": ["a-3"],  # the next best, as deep as asked for
    }  # fmt: skip
    given = {query: {query: 9.0, PARTNER[query]: 1.0} for query in TEXTS}
    assert means(measure_run(given, data, ["nDCG@10", "RR@10"])) == BEST


def test_a_sample_leaves_own_documents_out_too() -> None:
    data = arguments(same_ids_are_own=True).sample(2, seed=1)
    assert data.own_documents == data.queries.keys() & data.corpus.keys()
    assert data.same_ids_are_own


def test_an_id_alone_makes_no_own_document_and_neither_does_a_relevant_one() -> None:
    """Home-made sets call queries and documents 1, 2, 3."""
    numbered = arguments(queries={query: f"Question {n}?" for n, query in enumerate(TEXTS)})
    assert not numbered.own_documents
    assert arguments(queries=numbered.queries, same_ids_are_own=True).own_documents == set(TEXTS)
    judged = arguments(qrels={query: {query: 1} for query in TEXTS})
    assert not judged.own_documents


def test_a_title_and_other_spacing_do_not_hide_an_own_document() -> None:
    titled = {doc: f"Opening hours  {text}" for doc, text in TEXTS.items()}
    queries = {query: text.upper().replace(" ", "\n") for query, text in TEXTS.items()}
    assert arguments(corpus=titled, queries=queries).own_documents == set(TEXTS)


def test_own_documents_are_said_once_when_data_are_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "qrels").mkdir()
    for stem in ("corpus", "queries"):
        lines = (json.dumps({"_id": i, "text": text}) + "\n" for i, text in TEXTS.items())
        (tmp_path / f"{stem}.jsonl").write_text("".join(lines))
    (tmp_path / "qrels/test.tsv").write_text("".join(f"{q}\t{d}\t1\n" for q, d in PARTNER.items()))
    data = load_retrieval_data(tmp_path)
    (line,) = [record.getMessage() for record in caplog.records]
    assert "4 of 4 queries are documents of the corpus too" in line
    assert data.own_documents == set(TEXTS)


def test_a_grade_below_zero_counts_as_not_relevant_as_in_trec_eval() -> None:
    run = {"q": {"bad": 3.0, "good": 2.0, "off": 1.0}}
    measures = ["nDCG@10", "RR@10", "AP", "R@2", "P@1"]
    graded, plain = (
        RetrievalData(
            "n", None, dict.fromkeys(("bad", "good", "off"), "x"), {"q": "y"}, {"q": {"good": 2, "bad": grade}}
        )
        for grade in (-2, 0)
    )
    assert measure_run(run, graded, measures) == measure_run(run, plain, measures)


# --- exports -------------------------------------------------------------------------------------------------------


def collection(*, queries: int) -> VectorCollection:
    """Two documents; of the queries the second has no weight, and the third one that rounding at scale 1 loses."""
    vectors = csr_array(np.array([[2, 0], [0, 0], [0, 0.3]], np.float32))
    blocks = [VectorBlock(["q1", "q2", "q3"][:queries], [""] * queries, vectors[:queries])] if queries else []
    if queries == 1:
        blocks = [VectorBlock(["q2"], [""], vectors[[1]])]
    documents = [VectorBlock(["d1", "d2"], ["x", "y"], csr_array(np.eye(2, dtype=np.float32) * 3))]
    return VectorCollection("tiny", ("sky", "sea"), documents, blocks)


def test_a_query_without_weights_is_left_out_of_topics_and_counted(tmp_path: Path) -> None:
    """Anserini's TsvString reader trims a line and takes its second field: a line without one ends the whole search."""
    lucene = export_lucene(collection(queries=3), tmp_path / "lucene", scale=1)
    assert (lucene["n_queries"], lucene["n_queries_without_postings"]) == (1, 2)
    fields = [line.strip().split("\t") for line in (tmp_path / "lucene/queries.tsv").read_text().splitlines()]
    assert fields == [["q1", "sky sky"]]
    seismic = export_seismic(collection(queries=3), tmp_path / "seismic")
    assert (seismic["n_queries"], seismic["n_queries_without_postings"]) == (2, 1)
    ids = [json.loads(line)["id"] for line in (tmp_path / "seismic/queries.jsonl").read_text().splitlines()]
    assert ids == ["q1", "q3"]


@pytest.mark.parametrize("name", ["pisa", "seismic"])
def test_documents_without_weights_shift_no_others(name: str, tmp_path: Path) -> None:
    """The builders of these two number documents themselves; the empty ones stand first, between and last."""
    weights = np.array([[0, 0], [3, 0], [0, 0], [0, 0], [1, 5], [0, 0]], np.float32)
    ids = [f"d{row}" for row in range(6)]
    blocks = [VectorBlock(ids[a:b], [""] * (b - a), csr_array(weights[a:b])) for a, b in ((0, 3), (3, 6))]
    queries = VectorBlock(["sky", "sea"], ["", ""], csr_array(np.eye(2, dtype=np.float32)))
    manifest = EXPORTS[name](VectorCollection("tiny", ("sky", "sea"), blocks, [queries]), tmp_path / "out")
    assert (manifest["n_documents"], manifest["n_documents_without_postings"]) == (6, 4)
    assert FOUND_BY[name](tmp_path / "out") == {"sky": ["d1", "d4"], "sea": ["d4"]}


def found_by_pisa(folder: Path) -> dict[str, list[str]]:
    import pandas as pd

    pisa = pytest.importorskip("pyterrier_pisa", reason="needs pyterrier_pisa")
    search = pisa.PisaIndex(str(folder / "index"), stemmer="none", stops="none").quantized(toks_scale=1.0)
    lines = (folder / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    hits = search.transform(pd.DataFrame([json.loads(line) for line in lines]))
    return {str(query): list(rows["docno"]) for query, rows in hits.groupby("qid")}


def found_by_seismic(folder: Path) -> dict[str, list[str]]:
    seismic = pytest.importorskip("seismic", reason="needs pyseismic-lsr")
    index = seismic.SeismicIndex.build(str(folder / "documents.jsonl"))
    found = {}
    for line in (folder / "queries.jsonl").read_text(encoding="utf-8").splitlines():
        query = json.loads(line)
        tokens = np.array(list(query["vector"]), dtype=seismic.get_seismic_string())
        weights = np.array(list(query["vector"].values()), dtype=np.float32)
        hits = index.search(query["id"], tokens, weights, k=10, query_cut=10, heap_factor=0.7)
        found[query["id"]] = [document for _, _, document in hits]
    return found


def export_for_pisa(collection: VectorCollection, out: Path) -> dict[str, object]:
    pytest.importorskip("pyterrier_pisa", reason="needs pyterrier_pisa")
    return export_pisa(collection, out)


EXPORTS = {"pisa": export_for_pisa, "seismic": export_seismic, "lucene": export_lucene}
FOUND_BY = {"pisa": found_by_pisa, "seismic": found_by_seismic}


@pytest.mark.parametrize("name", EXPORTS)
def test_a_corpus_without_any_weight_is_no_export(name: str, tmp_path: Path) -> None:
    """An index in which every search finds nothing; rounding at a small scale can make one."""
    nothing = VectorBlock(["d1", "d2"], ["x", "y"], csr_array((2, 2), dtype=np.float32))
    with pytest.raises(SembridgeError, match="None of the 2 documents has a weight above 0"):
        EXPORTS[name](VectorCollection("tiny", ("sky", "sea"), [nothing]), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_scale_that_rounds_every_weight_away_is_named(tmp_path: Path) -> None:
    with pytest.raises(SembridgeError, match=r"rounding at scale 0\.1; nothing to export: give a larger --scale"):
        export_lucene(collection(queries=0), tmp_path / "out", scale=0.1)


def test_without_any_query_that_has_weights_there_are_no_topics(tmp_path: Path) -> None:
    for name, export in (("lucene", export_lucene), ("seismic", export_seismic)):
        for queries in (0, 1):
            manifest = export(collection(queries=queries), tmp_path / f"{name}-{queries}")
            assert (manifest["n_queries"], manifest["n_queries_without_postings"]) == (0, queries)
            assert not list((tmp_path / f"{name}-{queries}").glob("queries.*"))
