"""Shards hold every document once with its vector, whoever writes them and however often a run is killed."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from processes import exit_code, kill_this_process
from sentence_transformers import SparseEncoder
from tiny import ENGLISH_WORDS, tiny_encoder, tiny_tokenizer

from sembridge.deployment import encoding
from sembridge.deployment.encoding import encode_shards
from sembridge.deployment.recipe import EncodeRecipe
from sembridge.deployment.shards import SHARDS_MANIFEST, Share, read_shards, read_shards_manifest
from sembridge.encoders.vectors import encode_corpus
from sembridge.errors import MissingExtraError, SembridgeError
from sembridge.files.atomic import PARTIAL

N_DOCUMENTS = 23
RECIPE = EncodeRecipe(shard_size=4, batch_size=3)


@pytest.fixture(scope="module")
def encoder() -> SparseEncoder:
    return tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_corpus(tmp_path / "corpus.jsonl", N_DOCUMENTS)


def write_corpus(path: Path, n_documents: int) -> Path:
    lines = (json.dumps({"_id": f"d{n}", "text": text_of(n)}) + "\n" for n in range(n_documents))
    path.write_text("".join(lines), encoding="utf-8")
    return path


def text_of(number: int) -> str:
    words = ENGLISH_WORDS
    return " ".join(words[(number * 7 + step) % len(words)] for step in range(1 + number % 9))


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.parquet"))}


@pytest.fixture
def plain(encoder: SparseEncoder, corpus: Path, tmp_path: Path) -> Path:
    encode_shards(encoder, corpus, tmp_path / "plain", name="tiny", recipe=RECIPE)
    return tmp_path / "plain"


@pytest.mark.numerics
def test_every_document_is_there_once_in_its_order_with_its_vector(plain: Path, encoder: SparseEncoder) -> None:
    blocks = list(read_shards(plain))
    ids = [document_id for block_ids, _ in blocks for document_id in block_ids]
    assert ids == [f"d{number}" for number in range(N_DOCUMENTS)]
    assert [len(block_ids) for block_ids, _ in blocks] == [4, 4, 4, 4, 4, 3]
    expected = encode_corpus(encoder, [text_of(number) for number in range(N_DOCUMENTS)]).toarray()
    found = np.vstack([vectors.toarray() for _, vectors in blocks])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)  # other batches: float32 rounding


def test_the_columns_are_those_of_the_format(plain: Path, encoder: SparseEncoder) -> None:
    table = pq.read_table(plain / "shard-000000.parquet")
    types = {field.name: str(field.type) for field in table.schema}
    assert types == {"_id": "string", "indices": "list<element: int32>", "values": "list<element: float>"}
    assert json.loads(table.schema.metadata[b"sembridge"])["n_dims"] == encoder.get_embedding_dimension()
    assert all(row == sorted(row) for row in table.column("indices").to_pylist())


def test_the_manifest_and_the_report_count(plain: Path, encoder: SparseEncoder, corpus: Path) -> None:
    manifest = read_shards_manifest(plain)
    assert (manifest.encoder, manifest.corpus, manifest.corpus_bytes) == ("tiny", "corpus.jsonl", corpus.stat().st_size)
    assert manifest.settings == {"encode_with": "auto", "batch_size": 3, "shard_size": 4}
    report = encode_shards(encoder, corpus, plain, name="tiny", recipe=RECIPE)
    assert (report.n_documents, report.n_shards, report.n_encoded, report.share) == (N_DOCUMENTS, 6, 0, "1/1")
    n_weights = sum(vectors.nnz for _, vectors in read_shards(plain))
    assert report.active_dims == pytest.approx(n_weights / N_DOCUMENTS)


def test_a_second_run_changes_no_byte(plain: Path, encoder: SparseEncoder, corpus: Path) -> None:
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in plain.glob("[!.]*")}
    encode_shards(encoder, corpus, plain, name="tiny", recipe=RECIPE)
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in plain.glob("[!.]*")} == before


@pytest.mark.numerics
@pytest.mark.parametrize("n_machines", [2, 3, 7])
def test_machines_together_write_what_one_writes(
    plain: Path, encoder: SparseEncoder, corpus: Path, tmp_path: Path, n_machines: int
) -> None:
    folder = tmp_path / "together"
    for number in reversed(range(1, n_machines + 1)):
        encode_shards(encoder, corpus, folder, name="tiny", recipe=RECIPE, share=Share(number, n_machines))
        if number > 1:
            with pytest.raises(SembridgeError, match=rf"with --shard 1/{n_machines} and the same --out"):
                list(read_shards(folder))
    assert files_of(folder) == files_of(plain)
    assert [ids for ids, _ in read_shards(folder)] == [ids for ids, _ in read_shards(plain)]


class Stopped(Exception):
    """The machine goes away between two steps."""


@pytest.mark.parametrize("step", ["write_parquet", "Journal.add", "Journal.close"])
@pytest.mark.parametrize("at_call", [0, 2])
def test_a_run_that_stops_anywhere_is_continued_to_the_same_bytes(
    plain: Path, encoder: SparseEncoder, corpus: Path, tmp_path: Path, step: str, at_call: int
) -> None:
    folder = tmp_path / "stopped"
    owner, name = (encoding.Journal, step.split(".")[1]) if "." in step else (encoding, step)
    real, calls = getattr(owner, name), iter(range(100))

    def stop(*arguments: object) -> None:
        if next(calls) >= at_call:
            raise Stopped
        real(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, stop)
        if step != "Journal.close" or at_call == 0:
            with pytest.raises(Stopped):
                encode_shards(encoder, corpus, folder, name="tiny", recipe=RECIPE)
            with pytest.raises(SembridgeError, match="is not finished"):
                list(read_shards(folder))
    encode_shards(encoder, corpus, folder, name="tiny", recipe=RECIPE)
    assert files_of(folder) == files_of(plain)
    assert (folder / Share().journal).read_text() == (plain / Share().journal).read_text()


def test_a_line_cut_short_is_written_again(plain: Path, encoder: SparseEncoder, corpus: Path) -> None:
    journal = plain / Share().journal
    whole = journal.read_text()
    lines = whole.splitlines(keepends=True)
    journal.write_text("".join(lines[:3]) + lines[3][:40])
    (plain / f"{PARTIAL}shard-000003.parquet-1-ab").write_text("half")
    report = encode_shards(encoder, corpus, plain, name="tiny", recipe=RECIPE)
    assert report.n_encoded == N_DOCUMENTS - 12
    assert journal.read_text() == whole
    assert list(plain.glob(f"{PARTIAL}*")) == []


def encode_tiny(corpus: Path, folder: Path, killed_at: int = 0) -> None:
    """Writes how many documents were encoded beside `folder`; is killed when so many are done, if at all."""
    encoder = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"))
    report = encode_shards(
        encoder, corpus, folder, name="tiny", recipe=EncodeRecipe(shard_size=20),
        on_progress=lambda done: kill_this_process() if done == killed_at else None,
    )  # fmt: skip
    folder.with_suffix(".count").write_text(str(report.n_encoded))


def test_a_killed_process_is_continued_and_loses_or_doubles_nothing(tmp_path: Path) -> None:
    n_documents = 110
    corpus = write_corpus(tmp_path / "corpus.jsonl", n_documents)
    folder = tmp_path / "killed"
    assert exit_code(encode_tiny, corpus, folder, 60) == -signal.SIGKILL
    kept = {path: path.stat().st_mtime_ns for path in sorted(folder.glob("*.parquet"))}
    assert len(kept) == 3
    assert exit_code(encode_tiny, corpus, folder) == 0
    assert folder.with_suffix(".count").read_text() == "50"
    assert kept == {path: path.stat().st_mtime_ns for path in kept}
    assert exit_code(encode_tiny, corpus, tmp_path / "whole") == 0
    assert files_of(folder) == files_of(tmp_path / "whole")
    assert [i for ids, _ in read_shards(folder) for i in ids] == [f"d{number}" for number in range(n_documents)]


def test_another_encoder_settings_or_corpus_are_refused(
    plain: Path, encoder: SparseEncoder, corpus: Path, tmp_path: Path
) -> None:
    other = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"), seed=1)
    longer = write_corpus(tmp_path / "longer.jsonl", N_DOCUMENTS + 1)
    before = files_of(plain)
    with pytest.raises(SembridgeError, match="shards of another encoder"):
        encode_shards(other, corpus, plain, name="tiny", recipe=RECIPE)
    with pytest.raises(
        SembridgeError, match=r"shards of another settings .encode_with=auto batch_size=3 shard_size=4, now"
    ):
        encode_shards(encoder, corpus, plain, name="tiny", recipe=EncodeRecipe(shard_size=4))
    with pytest.raises(SembridgeError, match="shards of another corpus"):
        encode_shards(encoder, longer, plain, name="tiny", recipe=RECIPE)
    same_size = tmp_path / "other.jsonl"
    same_size.write_bytes(corpus.read_bytes().replace(text_of(0).encode(), text_of(0)[::-1].encode(), 1))
    assert same_size.stat().st_size == corpus.stat().st_size
    with pytest.raises(SembridgeError, match=r"shards of another corpus .*SHA-256"):
        encode_shards(encoder, same_size, plain, name="tiny", recipe=RECIPE)
    moved = tmp_path / "moved.jsonl"
    moved.write_bytes(corpus.read_bytes())
    assert encode_shards(encoder, moved, plain, name="tiny", recipe=RECIPE).n_encoded == 0
    with pytest.raises(SembridgeError, match="was begun as 1/1 to 1/1, now 1/2"):
        encode_shards(encoder, corpus, plain, name="tiny", recipe=RECIPE, share=Share(1, 2))
    assert files_of(plain) == before


def test_a_run_of_a_fresh_encoder_is_continued_by_one_that_has_encoded(corpus: Path, tmp_path: Path) -> None:
    fresh = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"))  # its SpladePooling learns its size later
    encode_shards(fresh, corpus, tmp_path / "out", name="tiny", recipe=RECIPE)
    assert encode_shards(fresh, corpus, tmp_path / "out", name="tiny", recipe=RECIPE).n_encoded == 0


def test_a_corpus_of_the_same_size_and_other_texts_is_refused(
    plain: Path, encoder: SparseEncoder, corpus: Path
) -> None:
    (plain / "shard-000004.parquet").unlink()
    corpus.write_text(corpus.read_text().replace("home", "emoh"), encoding="utf-8")
    with pytest.raises(SembridgeError, match="shards of another corpus"):
        encode_shards(encoder, corpus, plain, name="tiny", recipe=RECIPE)


def test_a_damaged_shard_is_refused_and_made_again_when_deleted(
    plain: Path, encoder: SparseEncoder, corpus: Path
) -> None:
    path = plain / "shard-000002.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[:-9] + b"x" + whole[-8:])
    with pytest.raises(SembridgeError, match=r"shard-000002.parquet is missing or damaged"):
        list(read_shards(plain))
    path.unlink()
    with pytest.raises(SembridgeError, match=r"shard-000002.parquet is missing or damaged"):
        list(read_shards(plain))
    assert encode_shards(encoder, corpus, plain, name="tiny", recipe=RECIPE).n_encoded == 4
    assert path.read_bytes() == whole


def test_a_second_process_is_refused_while_the_first_writes(plain: Path, encoder: SparseEncoder, corpus: Path) -> None:
    with (
        encoding.Journal.open(plain, Share()),
        pytest.raises(SembridgeError, match="Another process is encoding shard 1/1"),
    ):
        encode_shards(encoder, corpus, plain, name="tiny", recipe=RECIPE)


def test_foreign_folders_are_refused(encoder: SparseEncoder, corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(SembridgeError, match="holds other files than shards"):
        encode_shards(encoder, corpus, tmp_path / "full", name="tiny")
    with pytest.raises(SembridgeError, match="is a file"):
        encode_shards(encoder, corpus, corpus, name="tiny")
    with pytest.raises(SembridgeError, match="holds no shards"):
        list(read_shards(tmp_path / "full"))
    (tmp_path / "full" / SHARDS_MANIFEST).write_text('{"format": 99}')
    with pytest.raises(SembridgeError, match="another format"):
        read_shards_manifest(tmp_path / "full")


def test_a_full_disk_is_one_line_and_finished_shards_stay(
    encoder: SparseEncoder, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = encoding.write_parquet, iter(range(100))

    def fill(*arguments: object) -> None:
        if next(calls) == 2:
            raise OSError(28, "No space left on device")
        real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(encoding, "write_parquet", fill)
    with pytest.raises(SembridgeError, match=r"no space left on device; .* Finished shards stay"):
        encode_shards(encoder, corpus, tmp_path / "out", name="tiny", recipe=RECIPE)
    assert len(files_of(tmp_path / "out")) == 2


@pytest.mark.parametrize("text", ["0/4", "5/4", "2", "a/b", "1/0", "-1/2"])
def test_a_share_is_i_of_n(text: str) -> None:
    with pytest.raises(SembridgeError, match="expected i/n with i from 1 to n"):
        Share.parse(text)


def test_shares_part_the_shards() -> None:
    shares = [Share.parse(f"{number}/5") for number in range(1, 6)]
    assert all(sum(share.holds(shard) for share in shares) == 1 for shard in range(23))


def test_max_active_dims_and_the_fast_engine_are_those_of_encode_corpus(
    encoder: SparseEncoder, corpus: Path, tmp_path: Path
) -> None:
    recipe = EncodeRecipe(shard_size=100, encode_with="fast", max_active_dims=5)
    encode_shards(encoder, corpus, tmp_path / "out", name="tiny", recipe=recipe)
    ((_, vectors),) = read_shards(tmp_path / "out")
    texts = [text_of(number) for number in range(N_DOCUMENTS)]
    assert (vectors.toarray() == encode_corpus(encoder, texts, encode_with="fast", max_active_dims=5).toarray()).all()


def test_missing_ray_says_what_to_install(
    encoder: SparseEncoder, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r'pip install "sembridge\[ray\]"'):
        encode_shards(encoder, corpus, tmp_path / "out", name="tiny", ray_workers=2)


@pytest.fixture
def ray_session() -> Iterator[None]:
    ray = pytest.importorskip("ray")
    yield
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_two_ray_workers_write_the_same_bytes(
    plain: Path, encoder: SparseEncoder, corpus: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "ray"
    report = encode_shards(encoder, corpus, folder, name="tiny", recipe=RECIPE, ray_workers=2)
    assert files_of(folder) == files_of(plain)
    assert (report.n_documents, report.n_shards) == (N_DOCUMENTS, 6)
