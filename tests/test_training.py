"""Training: stock folders that retrieve better than before, resumed runs equal to whole ones, guards that speak."""

from __future__ import annotations

import gzip
import json
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from bundle import small_bundle_installed
from processes import exit_code, kill_after_checkpoint
from processes import start as start_process
from sentence_transformers import SparseEncoder
from tiny import TARGET_WORDS, WORDS, encode_without_sembridge, tiny_encoder, tiny_tokenizer
from transferred import transferred

from sembridge import load_encoder, load_retrieval_data
from sembridge.errors import SembridgeError
from sembridge.retrieval.data import RetrievalData
from sembridge.retrieval.evaluation import evaluate
from sembridge.training.checkpoints import has_checkpoint
from sembridge.training.data import TrainingData, load_training_data, pairs_data
from sembridge.training.fine_tuning import train
from sembridge.training.negatives import mine_hard_negatives
from sembridge.training.recipe import TrainRecipe
from sembridge.training.trainer import RunOptions

pytest.importorskip("datasets")

pytestmark = pytest.mark.usefixtures("one_thread")
WORD_LIST = [*WORDS["en"][:20], *TARGET_WORDS[:9]]
FAST = {"batch_size": 8, "learning_rate": 3e-4, "document_weight": 1e-3, "query_weight": 1e-3, "bf16": "no"}


def toy_pairs(count: int = 48) -> TrainingData:
    """Query: one word; document: that word among others. A task that a tiny encoder learns in a few steps."""
    queries = [WORD_LIST[i % len(WORD_LIST)] for i in range(count)]
    documents = [
        f"{WORD_LIST[(i * 7) % 29]} {query} {WORD_LIST[(i * 3 + i // 29) % 29]}" for i, query in enumerate(queries)
    ]
    return pairs_data("toy", queries, documents)


def toy_dev() -> RetrievalData:
    corpus = {f"d{i}": f"{word} {WORD_LIST[(i + 5) % 29]}" for i, word in enumerate(WORD_LIST)}
    return RetrievalData(
        name="toy-dev", language=None, corpus=corpus, queries={f"q{i}": word for i, word in enumerate(WORD_LIST)},
        qrels={f"q{i}": {f"d{i}": 1} for i in range(len(WORD_LIST))},
    )  # fmt: skip


def encoder(*, dropout: bool = True) -> SparseEncoder:
    """Without dropout where two ways of computing one batch are compared: they draw differently."""
    made = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"))
    for module in made.modules():
        if isinstance(module, torch.nn.Dropout) and not dropout:
            module.p = 0.0
    return made


def recipe(**settings: object) -> TrainRecipe:
    return TrainRecipe.build({**FAST, "steps": 12, **settings})


def weights(model: SparseEncoder) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.slow
def test_training_makes_retrieval_better_and_writes_a_stock_folder(tmp_path: Path) -> None:
    """On the real thing, the bundled encoder moved to Korean: it learns the FAQ's dev questions in a few steps."""
    with small_bundle_installed():
        start_folder = transferred("ko")
    start, dev = load_encoder(start_folder), load_retrieval_data("mini/faq-ko", split="dev").sample(None, 64)
    before = evaluate(start, dev, measures=["nDCG@10"]).measures["nDCG@10"]
    settings = {"steps": 8, "batch_size": 8, "learning_rate": 3e-4, "eval_steps": 4, "max_length": 48}
    result = train(
        start, load_training_data("mini/faq-ko", split="dev"), tmp_path / "out", dev=dev,
        recipe=TrainRecipe.build({**settings, "combined_rows_factor": 2.0}), start_folder=start_folder,
    )  # fmt: skip
    trained = SparseEncoder(str(tmp_path / "out"), device="cpu")
    trained.max_seq_length = 48  # as while it was trained
    after = evaluate(trained, dev, measures=["nDCG@10"])
    assert after.measures["nDCG@10"] > before + 0.05
    best = max(row["nDCG@10"] for row in result.curve if "nDCG@10" in row)
    assert after.measures["nDCG@10"] == pytest.approx(best, abs=0.01)
    written = [json.loads(line) for line in (tmp_path / "out" / "curve.jsonl").read_text().splitlines()]
    assert written == result.curve
    assert "trained in the target language" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert (tmp_path / "out" / "alignment.safetensors").is_file()
    assert not (tmp_path / "out.checkpoints").exists()
    encode_without_sembridge([tmp_path / "out"], ["학교"])


@pytest.mark.numerics
def test_the_same_training_twice_gives_the_same_weights(tmp_path: Path) -> None:
    found = []
    for name in ("a", "b"):
        train(start := encoder(), toy_pairs(), tmp_path / name, recipe=recipe())
        found.append(weights(start))
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


LONG = {"steps": 20, "eval_steps": 5, "learning_rate": 3e-5}


def killed_training(out: Path) -> None:
    kill_after_checkpoint(10)
    train(encoder(), toy_pairs(), out, recipe=recipe(**LONG))


@pytest.mark.numerics
def test_a_killed_training_resumes_to_the_weights_of_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = encoder()
    train(whole, toy_pairs(), tmp_path / "whole", recipe=recipe(**LONG))
    out = tmp_path / "killed"
    assert exit_code(killed_training, out) == -signal.SIGKILL
    assert has_checkpoint(out)
    assert not out.exists()
    cut_short = tmp_path / "killed.checkpoints" / "checkpoint-15"  # what a kill leaves while a checkpoint is written
    cut_short.mkdir()
    (cut_short / "trainer_state.json").write_text("")
    with pytest.raises(SembridgeError, match="--resume"):
        train(encoder(), toy_pairs(), out, recipe=recipe(**LONG))
    resumed = encoder()
    result = train(resumed, toy_pairs(), out, recipe=recipe(**LONG), run=RunOptions(resume=True))
    assert result.steps == 20
    assert [row["step"] for row in result.curve] == sorted({row["step"] for row in result.curve})
    expected = weights(whole)
    assert all(torch.equal(value, expected[name]) for name, value in weights(resumed).items())


def train_as(rank: int, port: int, out: Path) -> None:
    """One of two processes with the environment that torchrun gives them."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    train(encoder(dropout=False), toy_pairs(), out, recipe=recipe(steps=6))


@pytest.mark.slow
def test_two_processes_train_what_one_process_trains(tmp_path: Path) -> None:
    one = encoder(dropout=False)
    train(one, toy_pairs(), tmp_path / "one", recipe=recipe(steps=6))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [start_process(train_as, rank, port, tmp_path / "two") for rank in range(2)]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    two = SparseEncoder(str(tmp_path / "two"), device="cpu")
    for name, value in weights(one).items():
        if not name.endswith("key.bias"):  # attention ignores it: its gradient is rounding, which Adam makes a step of
            torch.testing.assert_close(two.state_dict()[name], value, rtol=1e-3, atol=2e-4)


def test_a_batch_never_holds_another_relevant_document_of_its_queries() -> None:
    from datasets import Dataset

    from sembridge.training.batches import RelevantAwareBatchSampler

    queries = [f"q{i // 3}" for i in range(60)]
    documents = [f"d{i}" for i in range(60)]
    data = pairs_data("several", queries, documents)
    sampler = RelevantAwareBatchSampler(
        Dataset.from_dict(data.columns), data, batch_size=8, drop_last=False, generator=torch.Generator(), seed=1
    )
    seen = []
    for batch in sampler:
        relevant = [data.relevant[queries[row]] for row in batch]
        for position, row in enumerate(batch):
            assert all(documents[row] not in others for k, others in enumerate(relevant) if k != position)
        seen += batch
    assert sorted(seen) == list(range(60))


def test_rows_that_share_a_hard_negative_may_meet_and_a_relevant_document_is_never_one() -> None:
    from datasets import Dataset

    from sembridge.training.batches import RelevantAwareBatchSampler

    n = 32
    negatives = [["hub", f"d{(i + 1) % n}" if i % 2 else "another hub"] for i in range(n)]
    data = pairs_data("hubs", [f"q{i}" for i in range(n)], [f"d{i}" for i in range(n)], negatives)
    sampler = RelevantAwareBatchSampler(
        Dataset.from_dict(data.columns), data, batch_size=8, drop_last=True, generator=torch.Generator(), seed=1
    )
    batches = list(sampler)
    assert len(batches) == 4
    for batch in batches:
        brought = [{data.documents[row], *data.negatives[row]} for row in batch]
        for position, row in enumerate(batch):
            others = set().union(*(texts for k, texts in enumerate(brought) if k != position))
            assert not data.relevant[data.queries[row]] & others


def test_rows_first_leaves_the_body_as_it_is(tmp_path: Path) -> None:
    start = encoder()
    before = weights(start)
    train(start, toy_pairs(), tmp_path / "out", recipe=recipe(steps=4, freeze_body_steps=4))
    n_rows = len(start.tokenizer)
    for name, value in weights(start).items():
        changed = not torch.equal(value, before[name])
        assert changed == (n_rows in value.shape), name


def test_combined_rows_move_by_the_factor(tmp_path: Path) -> None:
    from sembridge.training.guards import RowFactor

    start = encoder()
    n_rows = len(start.tokenizer)
    rows = torch.tensor([7, 9])
    callback = RowFactor(start, rows, n_rows, 3.0)
    table = next(p for p in start.parameters() if p.shape[0] == n_rows and p.dim() == 2)
    before = table.detach().clone()
    callback.on_pre_optimizer_step(None, None, None)
    with torch.no_grad():
        table += 0.5
    callback.on_optimizer_step(None, None, None)
    torch.testing.assert_close(table[rows], before[rows] + 1.5)
    torch.testing.assert_close(table[10], before[10] + 0.5)


@pytest.mark.parametrize("source", ["bm25", "self"])
def test_hard_negatives_are_never_relevant(source: str) -> None:
    data = toy_pairs(29)
    found = mine_hard_negatives(encoder(), data, recipe(hard_negatives=source, n_negatives=2))
    assert len(found.columns) == 4
    for query, negatives in zip(found.queries, found.negatives, strict=True):
        assert len(negatives) == 2
        assert not data.relevant[query] & set(negatives)


def test_the_bridge_teaches_its_own_order_of_documents(tmp_path: Path) -> None:
    from tiny_bridge import TinyBridge

    result = train(
        encoder(), toy_pairs(), tmp_path / "out", bridge=TinyBridge(), run=RunOptions(cache_folder=tmp_path / "cache"),
        recipe=recipe(steps=30, distill="bridge"),
    )  # fmt: skip
    losses = [row["distillation_loss"] for row in result.curve if "distillation_loss" in row]
    assert losses[-1] < losses[0]


@pytest.mark.numerics
def test_gradient_caching_changes_memory_and_not_the_result(tmp_path: Path) -> None:
    found = []
    for name, cache in (("plain", None), ("cached", 3)):
        start = encoder(dropout=False)
        train(start, toy_pairs(), tmp_path / name, recipe=recipe(steps=3, gradient_cache=cache))
        found.append(weights(start))
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "advice"),
    [
        ({"document_weight": 300.0, "query_weight": 300.0, "regularizer_warmup": 0.01}, "-weight"),
        ({"learning_rate": 1e6}, "learning rate"),
    ],
)  # fmt: skip
def test_a_collapsing_training_stops_and_says_which_knob_to_turn(
    tmp_path: Path, settings: dict[str, object], advice: str
) -> None:
    with pytest.raises(SembridgeError, match="stopped at step") as caught:
        train(encoder(), toy_pairs(), tmp_path / "out", recipe=recipe(steps=60, eval_steps=5, **settings))
    assert advice in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_collapse_that_is_only_warned_of_trains_to_the_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = {"document_weight": 300.0, "query_weight": 300.0, "regularizer_warmup": 0.01, "collapse": "warn"}
    result = train(encoder(), toy_pairs(), tmp_path / "out", recipe=recipe(steps=30, eval_steps=5, **settings))
    assert result.steps == 30
    assert "would stop at step" in caplog.text
    with pytest.raises(SembridgeError, match="stopped at step"):  # nothing comes after a loss that is no number
        train(encoder(), toy_pairs(), tmp_path / "nan", recipe=recipe(steps=60, learning_rate=1e30, collapse="warn"))


def test_a_training_that_made_things_worse_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shuffled = pairs_data("wrong", toy_pairs().queries, toy_pairs().documents[1:] + toy_pairs().documents[:1])
    settings = {"steps": 20, "eval_steps": 10, "learning_rate": 3e-3, "collapse": "warn"}
    result = train(encoder(), shuffled, tmp_path / "out", dev=toy_dev(), recipe=recipe(**settings))
    dev = [row["nDCG@10"] for row in result.curve if "nDCG@10" in row]
    assert max(dev[1:]) < dev[0]  # else this data shows nothing
    assert "keep the encoder you started from" in caplog.text


def test_fewer_steps_than_asked_for_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    own, others = toy_pairs(20), WORD_LIST[20:] * 12  # a batch holds a document once, and these share one
    few = pairs_data("few", [*own.queries, *others], [*own.documents, *[own.documents[0]] * len(others)])
    result = train(encoder(), few, tmp_path / "out", recipe=recipe(collapse="warn"))
    assert 0 < result.steps < 12  # else this data shows nothing
    assert f"{result.steps} of 12 steps were taken" in caplog.text
    caplog.clear()
    assert train(encoder(), toy_pairs(), tmp_path / "all", recipe=recipe(steps=6)).steps == 6
    assert "steps were taken" not in caplog.text


def test_every_problem_is_one_line(tmp_path: Path) -> None:
    cases: list[tuple[Callable[[], object], str]] = [
        (lambda: train(encoder(), toy_pairs(4), tmp_path / "a", recipe=recipe()), "lower the batch size"),
        (
            lambda: train(encoder(), toy_pairs(), tmp_path / "b", recipe=recipe(), run=RunOptions(resume=True)),
            "Nothing to resume",
        ),
        (lambda: train(encoder(), toy_pairs(), tmp_path / "c", recipe=recipe(distill="bridge")), "--bridge"),
        (lambda: train(encoder(), toy_pairs(), tmp_path / "d", recipe=recipe(patience=2)), "--dev"),
        (lambda: train(encoder(), toy_pairs(), tmp_path / "e", recipe=recipe(combined_rows_factor=2)), "alignment"),
        (lambda: load_training_data(tmp_path / "nowhere"), "No training data"),
    ]
    for call, expected in cases:
        with pytest.raises(SembridgeError) as caught:
            call()
        assert expected in str(caught.value)
        assert "\n" not in str(caught.value)


ROWS = [
    {"query": "학교", "positive": "학교는 크다", "negative": "강"},
    {"query": "дом", "positive": "мой дом", "negative": "река"},
]


def write_rows(path: Path) -> Path:
    import pyarrow as pa
    from pyarrow import csv, parquet

    table = pa.Table.from_pylist(ROWS)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()
    if path.name.endswith(".jsonl.gz"):
        path.write_bytes(gzip.compress(lines))
    elif path.suffix == ".jsonl":
        path.write_bytes(lines)
    elif path.suffix == ".csv":
        csv.write_csv(table, path)
    else:
        parquet.write_table(table, path)
    return path


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz", "rows.csv", "rows.parquet"])
def test_pairs_are_read_from_every_usual_file(tmp_path: Path, name: str) -> None:
    data = load_training_data(write_rows(tmp_path / name))
    assert data.queries == ["학교", "дом"]
    assert data.documents == ["학교는 크다", "мой дом"]
    assert data.negatives == [["강"], ["река"]]
    assert list(data.columns) == ["query", "document", "negative_1"]


def test_a_beir_folder_gives_every_relevant_pair() -> None:
    data = load_training_data("mini/faq-ko", split="dev")
    assert len(data) == 64
    assert all(document in data.relevant[query] for query, document in zip(data.queries, data.documents, strict=True))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "empty"),
        (b'{"query": "a"}\n', "expected one of"),
        (b'{"query": "a", "positive": ""}\n', "instead of a text"),
        (b'{"query": "a", "positive": null}\n', "instead of a text"),
        (b'{"query": "\xcf\xf0\xe8", "positive": "b"}\n', "(?i)utf-?8"),
        (b"{", r"rows\.jsonl, line 1: not valid JSON"),
    ],
)
def test_broken_files_of_pairs_are_refused(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    with pytest.raises(SembridgeError, match=expected):
        load_training_data(path)


def test_texts_of_100k_characters_are_cut_and_trained_on(tmp_path: Path) -> None:
    data = pairs_data("long", [f"{word} home" for word in WORD_LIST], [f"{word} " * 30_000 for word in WORD_LIST])
    assert max(map(len, data.documents)) == 20_000
    assert train(encoder(), data, tmp_path / "out", recipe=recipe(steps=2)).steps == 2
