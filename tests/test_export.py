"""Exports of vectors and query weights: read back, by their real readers where Python has them, and ranked the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array
from sentence_transformers import SparseEncoder
from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding
from tiny import ENGLISH_TEXTS, tiny_encoder, tiny_inference_free, tiny_tokenizer
from transformers import AutoTokenizer

from sembridge.deployment.export.collection import (
    VectorBlock,
    VectorCollection,
    encoded_collection,
    precomputed_collection,
    quantized,
    read_queries,
)
from sembridge.deployment.export.idf import export_idf
from sembridge.deployment.export.lucene import export_lucene
from sembridge.deployment.export.pisa import export_pisa
from sembridge.deployment.export.seismic import export_seismic
from sembridge.deployment.export.token_keys import MAX_KEY_LENGTH, token_keys
from sembridge.encoders.idf import UNSEEN_WEIGHT, document_frequencies
from sembridge.encoders.loading import load_encoder
from sembridge.errors import MissingExtraError, SembridgeError
from sembridge.retrieval.corpus import stream_corpus
from sembridge.retrieval.runs import Run, exact_search

SCALE = 100.0
# Spellings that one reader or another would break: white space inside, two spellings of one text, "%", nothing, length.
TOKENS = (
    "학교",
    "##ing",
    "Home",
    "home",
    "a b",
    "a%20;b",
    "Ġhome",
    "▁집",
    "%",
    "",
    "x" * 40,
    "x" * 41,
    "a\u200cb",
    "#",
)
N_DIMS = len(TOKENS)


def random_vectors(n_texts: int, n_dims: int, *, seed: int, density: float = 0.4) -> csr_array:
    generator = np.random.default_rng(seed)
    active = generator.random((n_texts, n_dims)) < density
    return csr_array((active * generator.random((n_texts, n_dims)) * 3).astype(np.float32))


def blocks(vectors: csr_array, prefix: str, size: int = 7) -> Iterator[VectorBlock]:
    for start in range(0, vectors.shape[0], size):
        part = vectors[start : start + size]
        ids = [f"{prefix}{start + row}" for row in range(part.shape[0])]
        yield VectorBlock(ids, [f"text of {text_id}" for text_id in ids], part)


DOCUMENTS = random_vectors(60, N_DIMS, seed=0)
QUERIES = random_vectors(8, N_DIMS, seed=1)
DOCUMENT_IDS = [f"d{row}" for row in range(60)]
QUERY_IDS = [f"q{row}" for row in range(8)]


def collection(documents: csr_array = DOCUMENTS, queries: csr_array = QUERIES) -> VectorCollection:
    return VectorCollection("tiny", TOKENS, blocks(documents, "d"), blocks(queries, "q"))


def integers(vectors: csr_array) -> csr_array:
    return quantized(VectorBlock([], [], vectors), SCALE).vectors


def exact_integer_run(top_k: int = 10) -> Run:
    return exact_search(
        integers(QUERIES).astype(np.float64),
        integers(DOCUMENTS).astype(np.float64),
        QUERY_IDS,
        DOCUMENT_IDS,
        top_k=top_k,
    )


def assert_same_run(found: Run, expected: Run) -> None:
    """The same scores at every rank, and the same documents where no other has the score."""
    assert found.keys() == expected.keys()
    for query_id, scores in expected.items():
        assert list(found[query_id].values()) == pytest.approx(list(scores.values()))
        for document_id, score in scores.items():
            if list(scores.values()).count(score) == 1 and score > min(scores.values()):
                assert found[query_id][document_id] == pytest.approx(score)


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# --- spelling ------------------------------------------------------------------------------------------------------


@given(
    st.lists(st.text(alphabet=st.sampled_from("aA% \t#;0200\u200c\u3000\ud800집Жжİ"), max_size=45), unique=True),
    st.booleans(),
)
def test_keys_are_distinct_short_and_without_white_space(tokens: list[str], lowercase: bool) -> None:
    keys = token_keys(tokens, lowercase=lowercase)
    assert len({key.lower() if lowercase else key for key in keys}) == len(tokens)
    for key in keys:
        assert 0 < len(key) <= MAX_KEY_LENGTH
        assert not any(char.isspace() for char in key)
        key.encode()


def test_a_safe_token_is_its_own_key() -> None:
    safe = ["학교", "##ing", "Ġhome", "▁집", "[MASK]", "#", "a.b", "'", '"']
    assert token_keys(safe) == safe
    assert token_keys(["", "a b", "%", "x" * 31]) == ["%#0", "a%20;b", "%25;", "%#3"]
    assert token_keys(["Home", "home", "\u200d"], lowercase=True) == ["%48;ome", "home", "%200d;"]


# --- collections ---------------------------------------------------------------------------------------------------


def test_quantised_weights_are_half_a_step_away_at_most() -> None:
    dense = integers(DOCUMENTS).toarray() / SCALE
    assert np.abs(dense - DOCUMENTS.toarray()).max() <= 0.5 / SCALE + 1e-9
    assert integers(DOCUMENTS).data.min() >= 1


def test_quantisation_moves_no_document_past_another_that_is_better_by_more_than_the_rounding() -> None:
    exact = (QUERIES @ DOCUMENTS.T).toarray()
    rounded = (integers(QUERIES) @ integers(DOCUMENTS).T).toarray() / SCALE**2
    q, d = QUERIES.toarray(), DOCUMENTS.toarray()
    half = 0.5 / SCALE
    bound = half * (q @ (d > 0).T + (q > 0) @ d.T) + half**2 * ((q > 0).astype(float) @ (d > 0).T)
    assert (np.abs(rounded - exact) <= bound + 1e-6).all()


def test_a_weight_beyond_31_bits_is_refused() -> None:
    vectors = csr_array(np.array([[3e7]], dtype=np.float32))
    with pytest.raises(SembridgeError, match="smaller scale"):
        quantized(VectorBlock(["d"], [""], vectors), SCALE)


@pytest.fixture(scope="module")
def encoder() -> SparseEncoder:
    return tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"))


def test_a_collection_holds_the_vectors_of_the_encoder(encoder: SparseEncoder) -> None:
    texts = {f"d{n}": text for n, text in enumerate(ENGLISH_TEXTS)}
    made = encoded_collection(encoder, texts.items(), {"q": "home"}, name="tiny")
    (documents,), (queries,) = list(made.documents), list(made.queries)
    assert (documents.ids, documents.texts) == (list(texts), list(ENGLISH_TEXTS))
    expected = encoder.encode_document(list(ENGLISH_TEXTS), convert_to_sparse_tensor=False).numpy()
    np.testing.assert_allclose(documents.vectors.toarray(), expected, atol=1e-5)
    expected = encoder.encode_query(["home"], convert_to_sparse_tensor=False).numpy()
    np.testing.assert_allclose(queries.vectors.toarray(), expected, atol=1e-5)
    vocabulary = encoder.tokenizer.get_vocab()
    assert made.tokens == tuple(sorted(vocabulary, key=vocabulary.__getitem__))


def test_a_large_corpus_is_read_block_by_block(encoder: SparseEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    def documents() -> Iterator[tuple[str, str]]:
        for number in range(10):
            read.append(number)
            yield f"d{number}", "home tree"

    monkeypatch.setattr("sembridge.deployment.export.collection._BLOCK_DOCUMENTS", 4)
    made = iter(encoded_collection(encoder, documents(), name="tiny").documents)
    assert len(next(made).ids) == 4
    assert len(read) == 4
    assert [len(block.ids) for block in made] == [4, 2]


def test_precomputed_vectors_of_another_width_are_refused(encoder: SparseEncoder) -> None:
    made = precomputed_collection(encoder, [(["d"], csr_array((1, 7), dtype=np.float32))], name="tiny")
    with pytest.raises(SembridgeError, match="7 dimensions"):
        list(made.documents)


def test_precomputed_vectors_export_as_encoded_ones(encoder: SparseEncoder, tmp_path: Path) -> None:
    texts = {f"d{n}": text for n, text in enumerate(ENGLISH_TEXTS)}
    made = encoded_collection(encoder, texts.items(), name="tiny")
    vectors = [(block.ids, block.vectors) for block in made.documents]
    export_seismic(encoded_collection(encoder, texts.items(), name="tiny"), tmp_path / "encoded")
    export_seismic(precomputed_collection(encoder, vectors, name="tiny"), tmp_path / "precomputed")
    encoded, precomputed = (read_lines(tmp_path / kind / "documents.jsonl") for kind in ("encoded", "precomputed"))
    assert [line["vector"] for line in encoded] == [line["vector"] for line in precomputed]
    assert [line["content"] for line in precomputed] == [""] * len(texts)


def test_queries_are_read_from_a_file_a_folder_and_by_name(tmp_path: Path) -> None:
    (tmp_path / "queries.jsonl").write_text('{"_id": "q1", "text": "home"}\n')
    assert read_queries(tmp_path) == read_queries(tmp_path / "queries.jsonl") == {"q1": "home"}
    assert "travel-01-a" in read_queries("mini/faq-ko")


@pytest.mark.parametrize("export", [export_lucene, export_seismic, export_pisa])
class TestEveryVectorExport:
    @pytest.fixture(autouse=True)
    def _needs(self, export: Any) -> None:
        if export is export_pisa:
            pytest.importorskip("pyterrier_pisa")

    def test_the_manifest_counts_what_was_written(self, export: Any, tmp_path: Path) -> None:
        manifest = export(collection(), tmp_path / "out")
        written = json.loads((tmp_path / "out" / "manifest.json").read_text())
        assert written == manifest
        expected = DOCUMENTS if export is export_seismic else integers(DOCUMENTS)
        assert (manifest["n_documents"], manifest["n_queries"], manifest["n_postings"]) == (60, 8, expected.nnz)
        files = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*") if p.is_file()}
        assert set(manifest["files"]) == files - {"manifest.json", "README.md"}

    def test_no_document_is_refused_and_leaves_nothing(self, export: Any, tmp_path: Path) -> None:
        with pytest.raises(SembridgeError, match="nothing to export"):
            export(VectorCollection("tiny", TOKENS, []), tmp_path / "out")
        assert list(tmp_path.iterdir()) == []

    def test_a_negative_weight_is_refused_with_its_document(self, export: Any, tmp_path: Path) -> None:
        vectors = DOCUMENTS.copy()
        vectors.data[vectors.indptr[9]] = -1
        with pytest.raises(SembridgeError, match="'d9' has a weight of -1"):
            export(collection(vectors), tmp_path / "out")
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_that_is_not_empty_stays(self, export: Any, tmp_path: Path) -> None:
        (tmp_path / "kept").touch()
        with pytest.raises(SembridgeError, match="not empty"):
            export(collection(), tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["kept"]


@pytest.mark.parametrize("export", [export_lucene, export_pisa])
@pytest.mark.parametrize("scale", [0, -1, float("nan"), float("inf")])
def test_a_scale_that_is_no_positive_number_is_refused(export: Any, scale: float, tmp_path: Path) -> None:
    with pytest.raises(SembridgeError, match="scale is"):
        export(collection(), tmp_path / "out", scale=scale)


@pytest.mark.parametrize("export", [export_lucene, export_pisa])
def test_an_id_with_white_space_is_refused(export: Any, tmp_path: Path) -> None:
    if export is export_pisa:
        pytest.importorskip("pyterrier_pisa")
    odd = VectorCollection("tiny", TOKENS, [VectorBlock(["a b"], [""], DOCUMENTS[:1])])
    with pytest.raises(SembridgeError, match="'a b' is empty or has white space"):
        export(odd, tmp_path / "out")


# --- Lucene --------------------------------------------------------------------------------------------------------


def test_lucene_files_give_the_integer_dot_products(tmp_path: Path) -> None:
    """The rule of Anserini by hand: query token count x document weight, summed over the shared tokens."""
    export_lucene(collection(), tmp_path / "out")
    documents = [line for path in sorted((tmp_path / "out/corpus").iterdir()) for line in read_lines(path)]
    assert [line["id"] for line in documents] == DOCUMENT_IDS
    assert documents[3]["contents"] == "text of d3"
    run: Run = {}
    for line in (tmp_path / "out/queries.tsv").read_text(encoding="utf-8").splitlines():
        query_id, text = line.split("\t")
        scores = {d["id"]: float(sum(d["vector"].get(token, 0) for token in text.split(" "))) for d in documents}
        found = sorted((d for d in scores if scores[d]), key=lambda d: (-scores[d], d))[:10]
        run[query_id] = {d: scores[d] for d in found}
    assert run == exact_integer_run()


def test_lucene_corpus_is_cut_into_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sembridge.deployment.export.lucene._DOCUMENTS_A_FILE", 25)
    export_lucene(collection(), tmp_path / "out")
    files = sorted((tmp_path / "out/corpus").iterdir())
    assert [len(read_lines(path)) for path in files] == [25, 25, 10]


@pytest.mark.skipif("ANSERINI_JAR" not in os.environ, reason="needs Java and $ANSERINI_JAR, an Anserini fat jar")
def test_anserini_ranks_the_export_the_same(tmp_path: Path) -> None:
    export_lucene(collection(), tmp_path / "out")
    java = ["java", "-cp", os.environ["ANSERINI_JAR"]]
    index = f"-collection JsonVectorCollection -input {tmp_path}/out/corpus -index {tmp_path}/index -threads 1"
    options = "-generator DefaultLuceneDocumentGenerator -impact -pretokenized"
    _call([*java, "io.anserini.index.IndexCollection", *index.split(), *options.split()])
    search = f"-index {tmp_path}/index -topics {tmp_path}/out/queries.tsv -topicreader TsvString -hits 10"
    _call(
        [
            *java,
            "io.anserini.search.SearchCollection",
            *search.split(),
            "-output",
            f"{tmp_path}/run",
            *options.split()[2:],
        ]
    )
    run: Run = {}
    for line in (tmp_path / "run").read_text().splitlines():
        query_id, _, document_id, _, score, _ = line.split()
        run.setdefault(query_id, {})[document_id] = float(score)
    assert_same_run(run, exact_integer_run())


def _call(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# --- Seismic -------------------------------------------------------------------------------------------------------


def seismic_run(folder: Path, top_k: int = 10) -> Run:
    """What Seismic finds with nothing pruned, by the class that the manifest names."""
    seismic = pytest.importorskip("seismic")
    manifest = json.loads((folder / "manifest.json").read_text())
    index = getattr(seismic, manifest["index_class"]).build(
        str(folder / "documents.jsonl"),
        n_postings=1000,
        max_fraction=10.0,
        doc_cut=1000,
        summary_energy=1.0,
        num_threads=1,
    )
    run: Run = {}
    for query in read_lines(folder / "queries.jsonl"):
        tokens = np.array(list(query["vector"]), dtype=seismic.get_seismic_string())
        weights = np.array(list(query["vector"].values()), dtype=np.float32)
        hits = index.search(query["id"], tokens, weights, k=top_k, query_cut=1000, heap_factor=0.0)
        run[query["id"]] = {document_id: score for _, score, document_id in hits}
    return run


def assert_same_up_to_half_precision(found: Run, expected: Run) -> None:
    """Seismic keeps document weights in 16 bits, 11 of them significant: a score moves by 1/2048 of itself at most."""
    for query_id, scores in expected.items():
        assert list(found[query_id].values()) == pytest.approx(list(scores.values()), rel=2**-11)
        gap = 2**-10 * max(scores.values())
        sure = [d for d, score in scores.items() if all(abs(score - s) > gap for o, s in scores.items() if o != d)]
        assert set(sure[:-1]) <= set(found[query_id])


def test_seismic_ranks_the_export_as_exact_search(tmp_path: Path) -> None:
    manifest = export_seismic(collection(), tmp_path / "out")
    assert manifest["index_class"] == "SeismicIndex"
    expected = exact_search(QUERIES, DOCUMENTS, QUERY_IDS, DOCUMENT_IDS, top_k=10)
    assert_same_up_to_half_precision(seismic_run(tmp_path / "out"), expected)


def test_seismic_files_read_back_as_the_same_float32(tmp_path: Path) -> None:
    export_seismic(collection(), tmp_path / "out")
    keys = token_keys(TOKENS)
    for row, line in enumerate(read_lines(tmp_path / "out/documents.jsonl")):
        dense = np.zeros(N_DIMS, dtype=np.float32)
        for key, weight in line["vector"].items():
            dense[keys.index(key)] = weight
        assert np.array_equal(dense, DOCUMENTS[[row]].toarray()[0])


def test_a_vocabulary_above_65536_tokens_gets_the_large_index(tmp_path: Path) -> None:
    n_dims = 2**16 + 1
    active = np.arange(0, n_dims, 2**10)
    documents = csr_array(
        (np.linspace(1, 2, len(active), dtype=np.float32), (np.arange(len(active)) % 9, active)), shape=(9, n_dims)
    )
    tokens = tuple(f"t{number}" for number in range(n_dims))
    large = VectorCollection("large", tokens, blocks(documents, "d"), blocks(documents[:3], "q"))
    manifest = export_seismic(large, tmp_path / "out")
    assert manifest["index_class"] == "SeismicIndexLV"
    expected = exact_search(documents[:3], documents, ["q0", "q1", "q2"], [f"d{n}" for n in range(9)], top_k=1)
    assert_same_up_to_half_precision(seismic_run(tmp_path / "out", top_k=1), expected)
    at_limit = VectorCollection("small", tokens[:-1], blocks(documents[:, : n_dims - 1], "d"))
    assert export_seismic(at_limit, tmp_path / "small")["index_class"] == "SeismicIndex"


# --- PISA ----------------------------------------------------------------------------------------------------------


def test_pisa_ranks_the_export_as_exact_search_over_the_integers(tmp_path: Path) -> None:
    pisa = pytest.importorskip("pyterrier_pisa")
    import pandas as pd

    export_pisa(collection(), tmp_path / "out")
    index = pisa.PisaIndex(str(tmp_path / "out/index"), stemmer="none", stops="none")
    queries = pd.DataFrame(read_lines(tmp_path / "out/queries.jsonl"))
    results = index.quantized(num_results=10, toks_scale=1.0).transform(queries)
    run: Run = {}
    for query_id, document_id, score in zip(results["qid"], results["docno"], results["score"], strict=True):
        run.setdefault(query_id, {})[document_id] = float(score)
    assert_same_run(run, exact_integer_run())


def test_pisa_prints_nothing_on_stdout(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pyterrier_pisa")
    export_pisa(collection(), tmp_path / "out")
    assert capfd.readouterr().out == ""


def test_a_missing_pisa_is_refused_with_the_install_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyterrier_pisa", None)
    with pytest.raises(MissingExtraError, match=r'pip install "sembridge\[pisa\]"'):
        export_pisa(collection(), tmp_path / "out")


# --- idf.json ------------------------------------------------------------------------------------------------------


def test_static_query_weights_come_back_from_idf_json(tmp_path: Path) -> None:
    encoder = tiny_inference_free("BertForMaskedLM", tiny_tokenizer("wordpiece"))
    export_idf(encoder, tmp_path / "out", name="tiny")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    read = SparseStaticEmbedding.from_json(str(tmp_path / "out/idf.json"), tokenizer=tokenizer)
    queries = SparseEncoder(modules=[read], device="cpu")
    texts = list(ENGLISH_TEXTS)
    expected = encoder.encode_query(texts, convert_to_sparse_tensor=False)
    assert (queries.encode(texts, convert_to_sparse_tensor=False) == expected).all()


def test_idf_of_a_corpus_follows_the_formula(encoder: SparseEncoder, tmp_path: Path) -> None:
    texts = ["home tree home", "home river", "night", "   "]  # the last has no token and does not count
    manifest = export_idf(encoder, tmp_path / "out", iter(texts), name="tiny")
    idf = json.loads((tmp_path / "out/idf.json").read_text(encoding="utf-8"))
    assert manifest["n_documents"] == 3
    assert idf["home"] == pytest.approx(np.log(1 + (3 - 2 + 0.5) / (2 + 0.5)))
    assert idf["tree"] == pytest.approx(np.log(1 + (3 - 1 + 0.5) / (1 + 0.5)))
    assert idf["garden"] == UNSEEN_WEIGHT
    assert not set(encoder.tokenizer.all_special_tokens) & set(idf)
    assert len(idf) == len(encoder.tokenizer.get_vocab()) - len(encoder.tokenizer.all_special_ids)


def test_idf_makes_an_inference_free_encoder_of_an_ordinary_one(encoder: SparseEncoder, tmp_path: Path) -> None:
    encoder.save_pretrained(str(tmp_path / "encoder"))
    export_idf(encoder, tmp_path / "out", ENGLISH_TEXTS, name=str(tmp_path / "encoder"))
    readme = (tmp_path / "out/README.md").read_text(encoding="utf-8")
    code = readme.split("```python\n")[1].split("```")[0]
    names: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path / "out")
        exec(code, names)
    made = names["encoder"]
    idf = json.loads((tmp_path / "out/idf.json").read_text(encoding="utf-8"))
    vector = made.encode_query(["home tree"], convert_to_sparse_tensor=False)[0]
    ids = encoder.tokenizer.convert_tokens_to_ids(["home", "tree"])
    assert vector.nonzero().flatten().tolist() == sorted(ids)
    assert vector[ids].tolist() == pytest.approx([idf["home"], idf["tree"]])
    expected = encoder.encode_document(list(ENGLISH_TEXTS), convert_to_sparse_tensor=False)
    np.testing.assert_allclose(
        made.encode_document(list(ENGLISH_TEXTS), convert_to_sparse_tensor=False), expected, atol=1e-5
    )


def test_documents_are_counted_across_batches(encoder: SparseEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sembridge.encoders.idf._BATCH_TEXTS", 2)
    n_tokens = len(encoder.tokenizer.get_vocab())
    n_documents, n_with = document_frequencies(encoder.tokenizer, ["home"] * 5 + ["tree"], n_tokens=n_tokens)
    assert (n_documents, n_with.sum()) == (6, 6)
    assert n_with[encoder.tokenizer.convert_tokens_to_ids("home")] == 5


def test_an_ordinary_encoder_without_a_corpus_is_refused(encoder: SparseEncoder, tmp_path: Path) -> None:
    with pytest.raises(SembridgeError, match="no static query weights"):
        export_idf(encoder, tmp_path / "out", name="tiny")
    with pytest.raises(SembridgeError, match="No document has a token"):
        export_idf(encoder, tmp_path / "out", ["  "], name="tiny")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("family", "warns"), [("wordpiece", False), ("bpe", True), ("unigram", True)])
def test_tokens_that_opensearch_spells_otherwise_are_told(
    family: str, warns: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    head = "BertForMaskedLM" if family == "wordpiece" else "XLMRobertaForMaskedLM"
    manifest = export_idf(tiny_encoder(head, tiny_tokenizer(family)), tmp_path / "out", ENGLISH_TEXTS, name="tiny")
    assert bool(manifest["n_tokens_opensearch_spells_otherwise"]) is warns
    assert ("OpenSearch" in caplog.text) is warns
    assert ("SPARSE_TOKENIZE" in (tmp_path / "out/README.md").read_text(encoding="utf-8")) is not warns


# --- the bundled encoder -------------------------------------------------------------------------------------------


def test_a_dense_model_has_no_export(tmp_path: Path) -> None:
    from sentence_transformers.sparse_encoder.modules import SparseAutoEncoder

    dense = SparseEncoder(modules=[SparseAutoEncoder(input_dim=8, hidden_dim=16)], device="cpu")
    with pytest.raises(SembridgeError, match="Choose a SPLADE model"):
        encoded_collection(dense, [], name="dense")


def test_bundled_questions_rank_the_same_after_rounding_and_in_seismic(tmp_path: Path) -> None:
    encoder = load_encoder("mini/splade-en")
    corpus = {document.id: document for document in islice(stream_corpus("mini/faq-en"), 40)}
    titles = {f"{document.id}-title": document.title for document in corpus.values()}
    texts = ((document.id, document.content) for document in corpus.values())
    made = encoded_collection(encoder, texts, titles, name="mini/splade-en")
    (block,), (queries,) = made.documents, made.queries
    export_seismic(VectorCollection(made.encoder, made.tokens, [block], [queries]), tmp_path / "seismic")
    expected = exact_search(queries.vectors, block.vectors, queries.ids, block.ids, top_k=10)
    assert_same_up_to_half_precision(seismic_run(tmp_path / "seismic"), expected)
    rounded = [quantized(part, SCALE).vectors.astype(np.float64) for part in (queries, block)]
    run = exact_search(*rounded, queries.ids, block.ids, top_k=10)
    for query_id, scores in expected.items():
        assert next(iter(run[query_id])) == next(iter(scores))
        assert len(scores.keys() - run[query_id].keys()) <= 1  # the last may change places with one that just fell out
