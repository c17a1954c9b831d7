"""`sembridge index` and `sembridge search`: end to end over folders, interruptions, refusals."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import signal
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Done, sembridge
from processes import exit_code, kill_this_process, start_talking
from sentence_transformers import SparseEncoder
from test_cli import transfer
from tiny import TARGET_TEXTS, tiny_encoder, tiny_tokenizer
from tiny_bridge import save_tiny_bridge

from sembridge.deployment.recipe import IndexRecipe
from sembridge.deployment.search.index import SearchIndex
from sembridge.deployment.search.indexing import index_corpus, resolve_recipe
from sembridge.deployment.search.manifest import IndexManifest, read_index_manifest
from sembridge.encoders.loading import load_encoder
from sembridge.encoders.vectors import encode_corpus, encode_queries
from sembridge.errors import SembridgeError

ENGINES = ("qdrant-edge", "exact")
WORDS = ("학교", "집", "강", "나무", "책", "도시", "선생님", "школа", "дом", "река", "книга", "город", "seoul", "2024")


def record(number: int, text: str | None = None) -> dict[str, Any]:
    words = [WORDS[(number * step) % len(WORDS)] for step in (1, 3, 5)]
    return {
        "_id": f"d{number}",
        "title": words[0],
        "text": text or " ".join(words[1:]),
        "kind": f"k{number % 2}",
        "n": number,
    }


def write_corpus(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder `ko`, transferred from a tiny encoder, and `other`, of the same width with other weights."""
    root = tmp_path_factory.mktemp("models")
    source = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"), seed=1)
    source.save_pretrained(str(root / "source"), create_model_card=False)
    tiny_tokenizer("wordpiece", language="target").save_pretrained(root / "target")
    save_tiny_bridge(root / "bridge")
    done = sembridge(*transfer(root, root / "ko"))
    assert done.code == 0, done.err
    other = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece", language="target"), seed=2)
    other.save_pretrained(str(root / "other"), create_model_card=False)
    return root


@pytest.fixture(scope="module")
def encoder(models: Path) -> SparseEncoder:
    return load_encoder(models / "ko")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_corpus(tmp_path / "corpus.jsonl", [record(n) for n in range(30)])


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def done_well(*arguments: object) -> Any:
    """The JSON that a verb prints."""
    done = sembridge(*arguments, "--json")
    assert (done.code, done.err) == (0, ""), done.err
    return json.loads(done.out)


def found(folder: Path, query: str, *more: object) -> list[dict[str, Any]]:
    (answer,) = done_well("search", folder, query, *more)
    assert answer["query"] == query
    hits: list[dict[str, Any]] = answer["hits"]
    return hits


def test_an_index_answers_as_the_encoder_scores(
    models: Path, encoder: SparseEncoder, corpus: Path, engine: str, tmp_path: Path
) -> None:
    report = done_well("index", models / "ko", corpus, "--out", tmp_path / "index", "--engine", engine)
    assert (report["n_added"], report["n_documents"], report["engine"]) == (30, 30, engine)
    texts = [f"{r['title']} {r['text']}" for r in map(record, range(30))]
    scores = (encode_queries(encoder, ["학교 도시"]) @ encode_corpus(encoder, texts).T).toarray()[0]
    best = sorted(range(30), key=lambda n: (-round(float(scores[n]), 3), f"d{n}"))[:7]
    hits = found(tmp_path / "index", "학교 도시", "--top-k", 7)
    np.testing.assert_allclose([hit["score"] for hit in hits], sorted(scores, reverse=True)[:7], rtol=1e-4)
    assert {hit["id"] for hit in hits[:3]} <= {f"d{n}" for n in best}
    first = hits[0]
    number = int(first["id"][1:])
    kept = record(number)
    assert (first["title"], first["text"], first["fields"]) == (
        kept["title"], kept["text"], {"kind": kept["kind"], "n": number},
    )  # fmt: skip


def test_an_index_may_be_encoded_the_fast_way(models: Path, corpus: Path, tmp_path: Path) -> None:
    for way in ("stock", "fast"):
        done_well("index", models / "ko", corpus, "--out", tmp_path / way, "--engine", "exact", "--encode-with", way)
    stock, fast = (found(tmp_path / way, "학교 도시", "--top-k", 7) for way in ("stock", "fast"))
    assert [hit["id"] for hit in fast] == [hit["id"] for hit in stock]
    np.testing.assert_allclose([hit["score"] for hit in fast], [hit["score"] for hit in stock], rtol=1e-4)
    done = sembridge("index", models / "ko", corpus, "--out", tmp_path / "warp", "--encode-with", "warp")
    assert done.code != 0
    assert "encode_with: Input should be 'auto', 'stock', 'fast' or 'fast-bf16'" in done.line


def test_terms_add_up_to_the_score_and_name_english_tokens(
    models: Path, corpus: Path, engine: str, tmp_path: Path
) -> None:
    done_well("index", models / "ko", corpus, "--out", tmp_path / "index", "--engine", engine)
    (hit,) = found(tmp_path / "index", "학교", "--explain", "--top-k", 1)
    assert sum(term["product"] for term in hit["terms"]) == pytest.approx(hit["score"], rel=1e-5)
    school = [term for term in hit["terms"] if term["token"] == "학교"]
    assert not school or any(part["token"] == "school" for part in school[0]["parts"])
    assert any(part["weight"] > 0 for term in hit["terms"] for part in term["parts"])
    done = sembridge("search", tmp_path / "index", "학교", "--explain", "--top-k", 1)
    assert done.code == 0
    assert hit["id"] in done.out
    assert "made of" in done.out


def test_filters_keep_the_documents_that_carry_them(models: Path, corpus: Path, engine: str, tmp_path: Path) -> None:
    done_well("index", models / "ko", corpus, "--out", tmp_path / "index", "--engine", engine)
    odd = found(tmp_path / "index", "학교", "--filter", "kind=k1", "--top-k", 30)
    assert {hit["id"] for hit in odd} == {f"d{n}" for n in range(1, 30, 2)}
    assert [hit["id"] for hit in found(tmp_path / "index", "학교", "--filter", "n=4")] == ["d4"]
    assert found(tmp_path / "index", "학교", "--filter", "n=4", "--filter", "kind=k1") == []
    done = sembridge("search", tmp_path / "index", "학교", "--filter", "kind")
    assert (done.code, done.line) == (1, "sembridge: Filter 'kind' is not FIELD=VALUE; expected e.g. year=2020.")


def test_documents_are_added_updated_and_deleted(models: Path, corpus: Path, engine: str, tmp_path: Path) -> None:
    out = tmp_path / "index"
    done_well("index", models / "ko", corpus, "--out", out, "--engine", engine)
    more = write_corpus(tmp_path / "more.jsonl", [record(29, "책 책 강"), record(30)])
    report = done_well("index", models / "ko", more, "--out", out, "--add")
    assert (report["n_added"], report["n_documents"]) == (2, 31)
    (updated,) = found(out, "책", "--filter", "n=29")
    assert updated["text"] == "책 책 강"
    gone = done_well("index", "--out", out, "--delete", "d29", "--delete", "d0", "--delete", "nobody")
    assert (gone["n_deleted"], gone["n_documents"]) == (2, 29)
    assert not {"d29", "d0"} & {hit["id"] for hit in found(out, "책 학교", "--top-k", 40)}
    assert read_index_manifest(out).n_documents == 29


def test_queries_and_documents_of_another_encoder_are_refused(models: Path, corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "index"
    done_well("index", models / "ko", corpus, "--out", out)
    for arguments in (
        ("search", out, "학교", "--encoder", models / "other"),
        ("index", models / "other", corpus, "--out", out, "--add"),
    ):
        done = sembridge(*arguments)
        assert done.code == 1
        assert f"was made with the encoder {models / 'ko'}" in done.line
        assert "Give that encoder, or build the index again" in done.line
    moved = shutil.copytree(models / "ko", tmp_path / "moved")
    assert found(out, "학교", "--encoder", moved) == found(out, "학교")


def test_pruning_at_index_time_leaves_fewer_postings(models: Path, corpus: Path, engine: str, tmp_path: Path) -> None:
    whole = done_well("index", models / "ko", corpus, "--out", tmp_path / "whole", "--engine", engine)
    options = ("--engine", engine, "--max-active-dims", 5)
    few = done_well("index", models / "ko", corpus, "--out", tmp_path / "few", *options)
    texts = [f"{line['title']} {line['text']}" for line in map(record, range(30))]
    n_dims = np.diff(encode_corpus(load_encoder(str(models / "ko")), texts).indptr)
    assert few["n_postings"] == np.minimum(n_dims, 5).sum() < whole["n_postings"] == n_dims.sum()
    hits = found(tmp_path / "few", "학교", "--explain")
    assert all(len(hit["terms"]) <= 5 for hit in hits)
    heavy = done_well(
        "index", models / "ko", corpus, "--out", tmp_path / "heavy", "--engine", engine, "--min-weight", 1
    )
    hits = found(tmp_path / "heavy", "학교", "--explain")
    assert heavy["n_postings"] < whole["n_postings"]
    assert all(term["document_weight"] >= 1 for hit in hits for term in hit["terms"])
    done = sembridge("index", models / "ko", corpus, "--out", tmp_path / "few", "--add", "--max-active-dims", 6)
    assert "was made with max_active_dims 5, not 6" in done.line


def test_shards_and_their_corpus_give_the_same_index_as_the_corpus(models: Path, corpus: Path, tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    done_well("encode", models / "ko", corpus, "--out", shards)
    done_well("index", models / "ko", corpus, "--out", tmp_path / "direct")
    done_well("index", models / "ko", shards, "--out", tmp_path / "both", "--texts", corpus)
    done_well("index", models / "ko", shards, "--out", tmp_path / "ids")
    direct = found(tmp_path / "direct", "학교 도시", "--top-k", 30)
    both = {hit["id"]: hit for hit in found(tmp_path / "both", "학교 도시", "--top-k", 30)}
    assert len(direct) == len(both) == 30
    for hit in direct:
        same = both[hit["id"]]
        assert {**same, "score": None} == {**hit, "score": None}
        assert same["score"] == pytest.approx(hit["score"], rel=1e-4)  # encoded in batches of other texts
    assert {(hit["title"], hit["text"]) for hit in found(tmp_path / "ids", "학교")} == {("", "")}
    other = write_corpus(tmp_path / "other.jsonl", [record(n) for n in range(1, 30)])
    wrong = sembridge("index", models / "ko", shards, "--out", tmp_path / "x", "--texts", other)
    assert f"has document 'd0' where {other} has 'd1'; give the corpus that the shards were encoded from" in wrong.line
    wrong = sembridge("index", models / "other", shards, "--out", tmp_path / "x")
    assert f"was encoded by {models / 'ko'}" in wrong.line
    assert not (tmp_path / "x").exists()


def killed_run(encoder: Path, corpus: Path, out: Path, engine: str) -> None:
    from sembridge.deployment.search import indexing

    class Killed(indexing._Run):
        def _record(self, manifest: IndexManifest) -> None:
            if manifest.unfinished is not None and manifest.unfinished.done >= 21:
                kill_this_process()  # the third batch is in the engine, and not yet in the manifest
            super()._record(manifest)

    indexing._Run = Killed  # type: ignore[misc]
    recipe = IndexRecipe.build({"engine": engine, "bulk_size": 7})
    indexing.index_corpus(load_encoder(encoder), corpus, out, name=str(encoder), recipe=recipe)


def test_a_killed_run_goes_on_and_loses_or_duplicates_nothing(
    models: Path, encoder: SparseEncoder, corpus: Path, engine: str, tmp_path: Path
) -> None:
    out = tmp_path / "index"
    assert exit_code(killed_run, models / "ko", corpus, out, engine) == -signal.SIGKILL
    done = sembridge("search", out, "학교")
    assert "is unfinished (14 documents are in); run the same `sembridge index` again first" in done.line
    report = done_well("index", models / "ko", corpus, "--out", out)
    assert (report["n_added"], report["n_continued"], report["n_documents"]) == (16, 14, 30)
    whole = index_corpus(
        encoder, corpus, tmp_path / "whole", name="ko", recipe=IndexRecipe.build({"engine": engine, "bulk_size": 7})
    )
    assert whole.n_added == 30
    with SearchIndex.open(out) as continued, SearchIndex.open(tmp_path / "whole") as at_once:
        queries = list(TARGET_TEXTS)
        assert continued.count() == 30
        answers = continued.search(encoder, queries, top_k=40)
        assert {len(hits) for hits in answers} == {30}
        for hits, expected in zip(answers, at_once.search(encoder, queries, top_k=40), strict=True):
            scores = {hit.id: hit.score for hit in hits}  # batches of other texts, so equal but for rounding
            assert scores == pytest.approx({hit.id: hit.score for hit in expected}, rel=1e-5)


class Stopped(Exception):
    pass


def stop_after(done: int) -> Any:
    def stop(n_documents: int) -> None:
        if n_documents >= done:
            raise Stopped

    return stop


def test_a_corpus_that_changed_since_the_interruption_is_refused(
    encoder: SparseEncoder, corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "index"
    recipe = IndexRecipe.build({"engine": "exact", "bulk_size": 10})
    with pytest.raises(Stopped):
        index_corpus(encoder, corpus, out, name="ko", recipe=recipe, on_progress=stop_after(20))
    write_corpus(corpus, [record(n, "강" if n == 3 else None) for n in range(30)])
    with pytest.raises(SembridgeError, match="has changed since the run that was interrupted after 20 documents"):
        index_corpus(encoder, corpus, out, name="ko", recipe=recipe)
    assert index_corpus(encoder, corpus, out, name="ko", recipe=recipe, overwrite=True).n_added == 30


def test_an_interrupted_build_goes_on_with_the_same_way_of_encoding_only(
    encoder: SparseEncoder, corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "index"
    recipe = IndexRecipe.build({"engine": "exact", "bulk_size": 10})
    with pytest.raises(Stopped):
        index_corpus(encoder, corpus, out, name="ko", recipe=recipe, on_progress=stop_after(20))
    other = IndexRecipe.build({"engine": "exact", "bulk_size": 10, "encode_with": "fast-bf16"})
    with pytest.raises(SembridgeError, match=r"has 20 documents encoded with auto, .* with fast-bf16; leave"):
        index_corpus(encoder, corpus, out, name="ko", recipe=other)
    assert index_corpus(encoder, corpus, out, name="ko", recipe=recipe).n_continued == 20


def test_an_interrupted_addition_leaves_an_index_that_answers_and_goes_on(
    encoder: SparseEncoder, corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "index"
    recipe = IndexRecipe.build({"engine": "exact", "bulk_size": 5})
    index_corpus(encoder, corpus, out, name="ko", recipe=recipe)
    more = write_corpus(tmp_path / "more.jsonl", [record(n) for n in range(25, 45)])
    with pytest.raises(Stopped):
        index_corpus(encoder, more, out, name="ko", add=True, recipe=recipe, on_progress=stop_after(10))
    with SearchIndex.open(out) as opened:
        assert opened.count() == 35
        assert opened.search(encoder, ["학교"], top_k=50)
    report = index_corpus(encoder, more, out, name="ko", add=True, recipe=recipe)
    assert (report.n_added, report.n_continued, report.n_documents) == (10, 10, 45)


def test_a_first_run_that_fails_leaves_nothing(encoder: SparseEncoder, engine: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"_id": "1", "text": "학교"}\n{"_id": "2"}\n')
    with pytest.raises(SembridgeError, match="line 2"):
        index_corpus(encoder, broken, tmp_path / "index", name="ko", recipe=IndexRecipe.build({"engine": engine}))
    assert not (tmp_path / "index").exists()
    with pytest.raises(SembridgeError, match="No corpus at"):
        index_corpus(encoder, tmp_path / "nowhere.jsonl", tmp_path / "index", name="ko")
    assert not (tmp_path / "index").exists()


def own(pipe: Connection, folder: Path) -> None:
    with SearchIndex.open(folder) as index:
        pipe.send(index.count())
        pipe.recv()


def test_a_second_process_is_refused_with_a_sentence(models: Path, corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "index"
    done_well("index", models / "ko", corpus, "--out", out)
    owner, pipe = start_talking(own, out)
    assert pipe.recv() == 30
    line = (
        f"sembridge: Index {out} is open in another process, and one process at a time may own it; wait until it ends."
    )
    assert sembridge("search", out, "학교").line == line
    assert sembridge("index", models / "ko", corpus, "--out", out, "--add").line == line
    assert sembridge("index", "--out", out, "--delete", "d1").line == line
    pipe.send("end")
    owner.join()
    assert owner.exitcode == 0
    assert len(found(out, "학교", "--top-k", 3)) == 3


def test_places_that_are_no_index_and_finished_ones_are_refused(models: Path, corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "index"
    assert "holds no index to add to" in sembridge("index", models / "ko", corpus, "--out", out, "--add").line
    assert "holds no index.json" in sembridge("search", tmp_path, "x").line
    assert "is not empty" in sembridge("index", models / "ko", corpus, "--out", tmp_path).line
    assert "holds no index.json" in sembridge("index", models / "ko", corpus, "--out", tmp_path, "--overwrite").line
    assert corpus.exists()
    done_well("index", models / "ko", corpus, "--out", out)
    again = sembridge("index", models / "ko", corpus, "--out", out).line
    assert "is finished (30 documents); --add adds to it, --overwrite builds it again" in again
    assert (
        done_well("index", models / "ko", corpus, "--out", out, "--overwrite", "--engine", "exact")["engine"] == "exact"
    )
    assert not (out / "qdrant-edge").exists()
    (out / "index.json").write_text("{}")
    assert "cannot be read" in sembridge("search", out, "x").line


@pytest.mark.parametrize(
    "arguments", [("--delete", "x", "--add"), (), ("ko", "corpus", "--add", "--overwrite")], ids=str
)
def test_wrong_usage_ends_with_2(arguments: tuple[str, ...], tmp_path: Path) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        done: Done = sembridge("index", *arguments, "--out", tmp_path / "index")
    assert done.code == 2
    assert not (tmp_path / "index").exists()


def test_a_password_in_an_address_is_not_written_down(tmp_path: Path) -> None:
    from dataclasses import replace

    from sembridge.deployment.search.manifest import EncoderFacts, IndexManifest

    recipe = IndexRecipe.build({"engine": "pgvector", "url": "postgresql://me:secret@host:5432/db"})
    IndexManifest(EncoderFacts("e", "f", 3), recipe).write(tmp_path)
    assert "secret" not in (tmp_path / "index.json").read_text()
    assert read_index_manifest(tmp_path).recipe.url == "postgresql://me@host:5432/db"
    assert replace(read_index_manifest(tmp_path), recipe=recipe) == IndexManifest(EncoderFacts("e", "f", 3), recipe)
    assert resolve_recipe(tmp_path, {"url": "postgresql://me:new@host/db"}).url == "postgresql://me:new@host/db"


def test_without_the_client_of_a_server_nothing_is_left(
    models: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "qdrant_client", None)
    server = ("--engine", "qdrant", "--url", "http://127.0.0.1:9")
    done = sembridge("index", models / "ko", corpus, "--out", tmp_path / "index", *server)
    assert done.code == 1
    assert 'pip install "sembridge[qdrant]"' in done.line
    assert not (tmp_path / "index").exists()
