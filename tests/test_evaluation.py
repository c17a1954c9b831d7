"""Measures agree with sentence-transformers' evaluator and with hand calculation, ties and missing queries included."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from sentence_transformers import SparseEncoder
from sentence_transformers.sparse_encoder.evaluation import SparseInformationRetrievalEvaluator
from tiny import ENGLISH_WORDS, tiny_encoder, tiny_inference_free, tiny_tokenizer
from tiny_bridge import save_tiny_bridge

from sembridge.encoders.loading import load_bridge
from sembridge.errors import SembridgeError
from sembridge.retrieval.data import RetrievalData
from sembridge.retrieval.dense import evaluate_dense
from sembridge.retrieval.evaluation import (
    Evaluation,
    evaluate,
    evaluate_bm25,
    evaluate_run,
    evaluate_vectors,
    measure_run,
)
from sembridge.retrieval.measures import depth, is_measure, parse_measures
from sembridge.retrieval.runs import hybrid, write_run
from sembridge.retrieval.significance import compare
from sembridge.retrieval.sources import load_retrieval_data

pytestmark = pytest.mark.numerics


@pytest.fixture(scope="module")
def data() -> RetrievalData:
    """12 queries of two words, 40 documents of six; relevant: up to three documents with both words, else the first."""
    generator = random.Random(0)
    corpus = {f"d{n}": " ".join(generator.sample(ENGLISH_WORDS, 6)) for n in range(40)}
    queries = {f"q{n}": " ".join(generator.sample(ENGLISH_WORDS, 2)) for n in range(12)}
    qrels = {}
    for query_id, query in queries.items():
        both = [doc for doc, text in corpus.items() if set(query.split()) <= set(text.split())]
        qrels[query_id] = dict.fromkeys(both[:3] or ["d0"], 1)
    return RetrievalData("words", "en", corpus, queries, qrels)


@pytest.fixture(scope="module")
def encoder() -> SparseEncoder:
    return tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"))


def their_figures(data: RetrievalData, encoder: SparseEncoder, max_active_dims: int | None) -> dict[str, float]:
    evaluator = SparseInformationRetrievalEvaluator(
        queries=data.queries,
        corpus=data.corpus,
        relevant_docs={query: set(judged) for query, judged in data.qrels.items()},
        max_active_dims=max_active_dims,
        write_csv=False,
    )
    return evaluator(encoder)


@pytest.mark.parametrize("max_active_dims", [None, 25])
def test_figures_equal_those_of_sentence_transformers(
    data: RetrievalData, encoder: SparseEncoder, max_active_dims: int | None
) -> None:
    theirs = their_figures(data, encoder, max_active_dims)
    ours = evaluate(encoder, data, measures=["nDCG@10", "RR@10", "R@10"], max_active_dims=max_active_dims)
    figures = {
        "dot_ndcg@10": ours.measures["nDCG@10"],
        "dot_mrr@10": ours.measures["RR@10"],
        "dot_recall@10": ours.measures["R@10"],
        "avg_flops": ours.flops,
        "query_active_dims": ours.query_active_dims,
        "corpus_active_dims": ours.document_active_dims,
    }
    # relative: theirs are float32
    assert figures == pytest.approx({name: theirs[name] for name in figures}, rel=1e-6)
    assert 0 < ours.measures["nDCG@10"] < 1


def test_vector_figures_of_an_inference_free_encoder_equal_those_of_sentence_transformers(data: RetrievalData) -> None:
    encoder = tiny_inference_free("BertForMaskedLM", tiny_tokenizer("wordpiece"))
    theirs, ours = their_figures(data, encoder, None), evaluate(encoder, data)
    figures = (ours.flops, ours.query_active_dims, ours.document_active_dims)
    names = ("avg_flops", "query_active_dims", "corpus_active_dims")
    assert figures == pytest.approx([theirs[name] for name in names], rel=1e-6)


def test_document_that_shares_no_dimension_is_not_found() -> None:
    """sentence-transformers fills up its ten results with such documents, lowest id first, and counts them."""
    data = RetrievalData("apart", None, {"a": "x", "b": "y"}, {"q": "x"}, {"q": {"a": 1}})
    queries, documents = csr_array(np.array([[1.0, 0, 0]])), csr_array(np.array([[0, 1.0, 0], [0, 0, 1.0]]))
    evaluation = evaluate_vectors(queries, documents, data)
    assert evaluation.run == {"q": {}}
    assert set(evaluation.measures.values()) == {0.0}


def test_graded_relevance_counts_in_ndcg() -> None:
    data = RetrievalData("graded", None, {"a": "x", "b": "x", "c": "x"}, {"q": "x"}, {"q": {"a": 1, "b": 3, "c": 0}})
    value = measure_run({"q": {"a": 2.0, "b": 1.0}}, data, ["nDCG@10"])["nDCG@10"]["q"]
    assert value == pytest.approx((1 + 3 / math.log2(3)) / (3 + 1 / math.log2(3)))


def test_all_measures_see_ties_in_the_same_order() -> None:
    """ir-measures alone gives .63 and 1 here: trec_eval puts b first, the MS MARCO script a."""
    data = RetrievalData("tie", None, {"a": "x", "b": "x"}, {"q": "x"}, {"q": {"a": 1}})
    values = measure_run({"q": {"b": 1.0, "a": 1.0}}, data, ["nDCG@10", "RR@10", "RR", "P@1"])
    assert {measure: by_query["q"] for measure, by_query in values.items()} == {
        "nDCG@10": 1.0,
        "RR@10": 1.0,
        "RR": 1.0,
        "P@1": 1.0,
    }


def test_differences_below_single_precision_still_rank() -> None:
    data = RetrievalData("close", None, {"a": "x", "b": "x"}, {"q": "x"}, {"q": {"b": 1}})
    assert measure_run({"q": {"a": 1.0, "b": 1.0 + 1e-12}}, data, ["nDCG@10"])["nDCG@10"]["q"] == 1.0


def test_query_without_results_counts_as_zero_and_foreign_queries_do_not_count() -> None:
    data = RetrievalData(
        "gaps", None, {"a": "x"}, {"q1": "x", "q2": "x", "q3": "x"}, {q: {"a": 1} for q in ("q1", "q2", "q3")}
    )
    evaluation = evaluate_run({"q1": {"a": 1.0}, "q2": {}, "other": {"a": 1.0}}, data, measures=["nDCG@10", "RR@10"])
    assert evaluation.per_query == {measure: {"q1": 1.0, "q2": 0.0, "q3": 0.0} for measure in ("nDCG@10", "RR@10")}
    assert evaluation.measures == {"nDCG@10": pytest.approx(1 / 3), "RR@10": pytest.approx(1 / 3)}


def test_query_judged_only_irrelevant_counts_as_zero() -> None:
    data = RetrievalData("zero", None, {"a": "x"}, {"q1": "x", "q2": "x"}, {"q1": {"a": 1}, "q2": {"a": 0}})
    evaluation = evaluate_run({"q1": {"a": 1.0}, "q2": {"a": 1.0}}, data, measures=["nDCG@10", "RR@10", "R@100"])
    assert set(evaluation.measures.values()) == {0.5}


@pytest.mark.parametrize("name", ["ndcg@10", "nDCG@", "", "nDCG@ten", "import os", "nDCG(depth=3)@10", "nDCG@10.5"])
def test_unknown_measure_is_refused(data: RetrievalData, name: str) -> None:
    with pytest.raises(SembridgeError, match="expected ir-measures notation, such as nDCG@10"):
        evaluate_bm25(data, measures=[name])


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("ndcg@10", "nDCG@10"), ("ndcg10", "nDCG@10"), ("ndcg_cut_5", "nDCG@5"), ("ndcg", "nDCG@10"),
        ("recall_100", "R@100"), ("mrr@20", "RR@20"), ("map", "AP"), ("precison@5", "P@5"), ("nDGC@10", "nDCG@10"),
    ],
)  # fmt: skip
def test_a_measure_in_another_notation_is_recognised(name: str, meant: str) -> None:
    with pytest.raises(SembridgeError, match=rf" Did you mean {meant}\?$"):
        parse_measures([name], None)


def test_nothing_is_suggested_for_what_is_like_no_measure() -> None:
    with pytest.raises(SembridgeError) as refused:
        parse_measures(["wavelength"], None)
    assert "Did you mean" not in str(refused.value)


def test_no_measure_and_measures_deeper_than_the_run_are_refused(data: RetrievalData, encoder: SparseEncoder) -> None:
    with pytest.raises(SembridgeError, match="No measure given"):
        evaluate_bm25(data, measures=[])
    with pytest.raises(SembridgeError, match=r"R@100 looks at 100 documents but top_k is 10: raise top_k to 100"):
        evaluate(encoder, data, measures=["R@100"], top_k=10)


def test_measure_names_are_written_one_way(data: RetrievalData) -> None:
    assert list(evaluate_bm25(data, measures=["MRR@10", "RR@10", "NDCG@10"]).measures) == ["RR@10", "nDCG@10"]


def test_evaluation_is_a_row_with_all_its_figures(data: RetrievalData, encoder: SparseEncoder) -> None:
    evaluation = evaluate(encoder, data)
    assert list(evaluation.measures) == ["nDCG@10", "R@100", "RR@10"]
    assert all(list(values) == list(data.queries) for values in evaluation.per_query.values())
    assert (evaluation.data, evaluation.language, evaluation.system) == ("words", "en", "sparse encoder")
    assert (evaluation.n_queries, evaluation.n_documents) == (12, 40)
    assert evaluation.postings == pytest.approx(evaluation.document_active_dims * 40)
    assert evaluation.bytes_per_document == pytest.approx(8 * evaluation.document_active_dims)
    assert evaluation.queries_per_second > 0
    assert evaluation.documents_per_second > 0
    assert evaluation.settings.keys() >= {"batch_size", "max_active_dims", "top_k", "device", "dtype", "torch"}
    assert evaluation.health is not None
    assert {check.name: check.value for check in evaluation.health.checks}["weight on special tokens"] is not None
    assert list(evaluation.run) == list(data.queries)


def test_dictionary_survives_json_and_can_leave_queries_out(data: RetrievalData, encoder: SparseEncoder) -> None:
    evaluation = evaluate(encoder, data)
    written = json.loads(json.dumps(evaluation.to_dict()))
    assert written == evaluation.to_dict() | {"health": json.loads(json.dumps(evaluation.health.to_dict()))}
    assert "run" not in written
    assert written["per_query"] == evaluation.per_query
    assert "per_query" not in evaluation.to_dict(per_query=False)
    json.dumps(evaluate_bm25(data).to_dict(), allow_nan=False)


def test_evaluation_does_not_depend_on_the_batch_size(data: RetrievalData, encoder: SparseEncoder) -> None:
    few, many = evaluate(encoder, data, batch_size=7), evaluate(encoder, data, batch_size=64)
    assert few.measures == pytest.approx(many.measures, abs=1e-6)


def test_bm25_row_records_its_settings(data: RetrievalData) -> None:
    words = evaluate_bm25(data)
    assert words.measures["R@100"] > 0.9  # relevant documents hold both words
    assert (words.system, words.flops, words.health) == ("bm25", None, None)
    settings = {name: words.settings[name] for name in ("terms", "method", "k1", "b", "top_k")}
    assert settings == {"terms": "words", "method": "lucene", "k1": 1.5, "b": 0.75, "top_k": 1000}
    assert str(evaluate_bm25(data, tiny_tokenizer("bpe")).settings["terms"]).startswith("tokenizer")


def test_a_dense_encoder_is_a_row_with_its_cost(tmp_path: Path) -> None:
    bridge = load_bridge(save_tiny_bridge(tmp_path / "bridge"))
    corpus = {"home": "집 дом", "school": "학교 школа", "river": "강 река"}
    data = RetrievalData("meanings", None, corpus, {q: q for q in corpus}, {q: {q: 1} for q in corpus})
    evaluation = evaluate_dense(bridge, data, measures=["RR@10"])
    assert evaluation.measures == {"RR@10": 1.0}
    assert (evaluation.system, evaluation.flops, evaluation.health) == ("dense encoder", None, None)
    assert evaluation.bytes_per_document == 4 * bridge.get_embedding_dimension()
    assert evaluation.queries_per_second > 0
    assert max(evaluation.run["home"].values()) == pytest.approx(1, abs=0.1)  # a cosine
    with pytest.raises(SembridgeError, match="R@100 looks at 100 documents"):
        evaluate_dense(bridge, data, measures=["R@100"], top_k=10)


def test_fusion_can_be_evaluated_and_compared(data: RetrievalData, encoder: SparseEncoder) -> None:
    sparse, lexical = evaluate(encoder, data), evaluate_bm25(data)
    fused = evaluate_run(hybrid([sparse.run, lexical.run], [0.3, 0.7], n_documents=40), data, system="hybrid")
    comparison = compare(sparse.per_query, fused.per_query)["nDCG@10"]
    assert comparison.difference == pytest.approx(fused.measures["nDCG@10"] - sparse.measures["nDCG@10"])
    assert comparison.n_queries == 12


def test_vectors_encoded_before_can_be_evaluated() -> None:
    data = RetrievalData("two", None, {"a": "x", "b": "y"}, {"q": "x"}, {"q": {"a": 1}})
    evaluation = evaluate_vectors(csr_array(np.array([[1.0, 0]])), csr_array(np.array([[2.0, 0], [0, 1.0]])), data)
    assert evaluation.measures["nDCG@10"] == 1.0
    assert (evaluation.flops, evaluation.postings, evaluation.queries_per_second) == (0.5, 2, None)


def test_one_document_is_a_corpus(encoder: SparseEncoder) -> None:
    data = RetrievalData("one", None, {"d": "home river"}, {"q": "home"}, {"q": {"d": 1}})
    assert evaluate(encoder, data).measures["nDCG@10"] == 1.0


def test_measures_equal_those_of_ir_measures_on_the_run_file(
    data: RetrievalData, encoder: SparseEncoder, tmp_path: Path
) -> None:
    """Half of the queries tie throughout: the file alone has to tell every reader the order."""
    evaluation = evaluate(encoder, data, measures=["nDCG@10", "R@10", "RR@10", "AP", "P@5"])
    run = {
        query: dict.fromkeys(scores, 1.0) if number % 2 else scores
        for number, (query, scores) in enumerate(evaluation.run.items())
    }
    write_run(run, tmp_path / "run.trec")
    measures = [ir_measures.parse_measure(name) for name in evaluation.measures]
    read = list(ir_measures.read_trec_run(str(tmp_path / "run.trec")))
    theirs = ir_measures.calc_aggregate(measures, data.qrels, read)
    ours = evaluate_run(run, data, measures=list(evaluation.measures)).measures
    assert ours == pytest.approx({str(measure): value for measure, value in theirs.items()}, abs=1e-6)
    assert ours != evaluation.measures


class CountingEncoder(SparseEncoder):
    """Counts the texts it encodes."""

    n_encoded = 0

    def encode(self, inputs: list[str], *arguments: object, **options: object) -> object:  # type: ignore[override]
        self.n_encoded += len(inputs)
        return super().encode(inputs, *arguments, **options)


def test_a_second_evaluation_encodes_nothing_and_whatever_changes_the_vectors_encodes_again(
    data: RetrievalData, tmp_path: Path
) -> None:
    stock = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"))
    encoder = CountingEncoder(modules=list(stock), device="cpu", similarity_fn_name="dot").eval()
    figures: list[Evaluation] = []

    def encoded(data: RetrievalData = data, **options: object) -> int:
        before = encoder.n_encoded
        given: dict[str, Any] = {"encode_with": "stock", "cache_folder": tmp_path, **options}  # the way that counts
        figures.append(evaluate(encoder, data, **given))
        n_encoded = encoder.n_encoded - before
        assert figures[-1].settings["vectors"] == ("encoded" if n_encoded >= len(data.corpus) else "cached")
        return n_encoded

    n_texts = len(data.corpus) + len(data.queries)
    assert encoded() == n_texts
    assert encoded(batch_size=3) == 0
    assert figures[0].per_query == figures[1].per_query
    assert figures[0].health == figures[1].health
    assert figures[0].documents_per_second == figures[1].documents_per_second
    assert encoded(max_active_dims=20) == n_texts
    assert encoded(max_active_dims=20) == 0
    longer = RetrievalData(data.name, "en", data.corpus | {"new": "home river"}, data.queries, data.qrels)
    assert encoded(longer) == len(longer.corpus)  # its queries are the same
    with torch.no_grad():
        encoder[0].model.cls.predictions.bias[40] += 0.25
    assert encoded() == n_texts
    encoder.prompts = {"query": "find "}
    assert encoded() == n_texts
    encoder.max_seq_length = 5
    assert encoded() == n_texts


def test_damaged_cache_is_encoded_again(
    data: RetrievalData, encoder: SparseEncoder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = evaluate(encoder, data, cache_folder=tmp_path)
    files = sorted(tmp_path.rglob("*.safetensors"))
    assert [path.name.split("-")[0] for path in files] == ["documents", "queries"]
    for damage in (lambda raw: raw[:-40], lambda raw: raw[:-5] + bytes([raw[-5] ^ 1]) + raw[-4:], lambda raw: b""):
        files[0].write_bytes(damage(files[0].read_bytes()))
        again = evaluate(encoder, data, cache_folder=tmp_path)
        assert again.settings["vectors"] == "encoded"
        assert again.per_query == first.per_query
    assert caplog.text.count("are damaged") == 3
    assert evaluate(encoder, data, cache_folder=tmp_path).settings["vectors"] == "cached"
    assert len(list(tmp_path.rglob("*"))) == 3  # the encoder's folder and two files


def test_a_cache_that_cannot_be_written_costs_no_evaluation(
    data: RetrievalData, encoder: SparseEncoder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    evaluation = evaluate(encoder, data, cache_folder=tmp_path / "file")
    assert evaluation.measures == evaluate(encoder, data).measures
    assert "Encoded texts are not kept in" in caplog.text


def test_depth_is_the_deepest_cutoff() -> None:
    assert depth(["nDCG@10", "R@100", "AP"]) == 100
    assert depth(["AP"]) == 0
    assert [is_measure(name) for name in ("nDCG@10", "AP", "nDGC@10", "mini")] == [True, True, False, False]


@pytest.mark.shared
def test_bm25_on_xquad_reaches_its_known_figures(shared: Path) -> None:
    measures = evaluate_bm25(load_retrieval_data(shared / "data" / "xquad" / "en"), measures=["RR@10"]).measures
    assert measures["RR@10"] == pytest.approx(0.92, abs=0.01)
