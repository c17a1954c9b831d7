"""Options of a training, each by its law; and input that is refused in one line, before or while it is trained on."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from bundle import small_bundle_installed
from processes import exit_code, kill_after_checkpoint
from sentence_transformers import SparseEncoder
from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding
from test_training import encoder, recipe, toy_pairs, weights
from tiny import WORDS, tiny_encoder, tiny_inference_free, tiny_tokenizer
from tiny_bridge import TinyBridge
from transferred import transferred
from typer.testing import CliRunner

from sembridge import load_bridge, load_encoder, load_retrieval_data, transfer
from sembridge.cli import app
from sembridge.errors import SembridgeError
from sembridge.language_transfer.alignment import Alignment
from sembridge.language_transfer.initialization.rows import RowKind
from sembridge.language_transfer.recipe import TransferRecipe
from sembridge.retrieval.evaluation import evaluate
from sembridge.training.data import joined, load_training_data, pairs_data
from sembridge.training.fine_tuning import train
from sembridge.training.inference_free import inference_free_encoder
from sembridge.training.recipe import TrainRecipe
from sembridge.training.trainer import RunOptions

pytest.importorskip("datasets")
from sembridge.training.batches import RelevantAwareBatchSampler

pytestmark = pytest.mark.usefixtures("one_thread")

IDF_TEXTS = ("home tree home", "home river", "night", "   ")  # the last has no token and does not count


def static_weights(model: SparseEncoder) -> dict[str, float]:
    """Raw token -> weight on the query side."""
    static = next(module for module in model.modules() if isinstance(module, SparseStaticEmbedding))
    ids = static.tokenizer.get_vocab()
    return {token: static.weight[ids[token]].item() for token in ids}


# --- several sources -----------------------------------------------------------------------------------------------


def test_a_batch_holds_pairs_of_one_source() -> None:
    from datasets import Dataset

    sizes = {"a": 40, "b": 24, "c": 5, "d": 4}  # c and d are smaller than a batch and share one
    parts = [
        pairs_data(name, [f"{name}q{i}" for i in range(n)], [f"{name}d{i}" for i in range(n)])
        for name, n in sizes.items()
    ]
    data = joined(parts)
    sampler = RelevantAwareBatchSampler(
        Dataset.from_dict(data.columns), data, batch_size=8, drop_last=True, generator=torch.Generator(), seed=1
    )
    batches = [{data.queries[row][0] for row in batch} for batch in sampler]
    assert all(len(names) == 1 or names == {"c", "d"} for names in batches)
    assert [batches.count({name}) for name in "ab"] == [5, 3]
    assert {"c", "d"} in batches


def test_a_query_of_two_sources_has_the_relevant_documents_of_both() -> None:
    data = joined([pairs_data("a", ["x"], ["one"]), pairs_data("b", ["x"], ["two"])])
    assert data.relevant["x"] == {"one", "two"}
    assert data.sample(1).sources in ([0], [1])
    with pytest.raises(SembridgeError, match="with and without negatives"):
        joined([pairs_data("a", ["x"], ["one"]), pairs_data("b", ["x"], ["two"], [["three"]])])


# --- inference-free queries ----------------------------------------------------------------------------------------


def test_query_weights_are_the_idf_of_the_corpus_and_stay_so(tmp_path: Path) -> None:
    start = inference_free_encoder(encoder(), IDF_TEXTS)
    train(start, toy_pairs(), tmp_path / "out", recipe=recipe(steps=3))
    read = SparseEncoder(str(tmp_path / "out"), device="cpu")
    found = static_weights(read)
    assert found["home"] == pytest.approx(math.log(1 + (3 - 2 + 0.5) / (2 + 0.5)))
    assert found["tree"] == pytest.approx(math.log(1 + (3 - 1 + 0.5) / (1 + 0.5)))
    assert found["garden"] == 1.0  # in no text
    assert {found[token] for token in read.tokenizer.all_special_tokens} == {0.0}
    query = read.encode_query(["home tree"], convert_to_sparse_tensor=False)[0]
    assert query.sum().item() == pytest.approx(found["home"] + found["tree"])


def test_documents_of_an_inference_free_start_are_those_of_the_encoder() -> None:
    start = encoder()
    texts = ["home tree", "school teacher read book"]
    expected = start.encode_document(texts, convert_to_sparse_tensor=False)
    made = inference_free_encoder(inference_free_encoder(start, IDF_TEXTS), ["night"])  # new weights for old ones
    torch.testing.assert_close(made.encode_document(texts, convert_to_sparse_tensor=False), expected)
    assert static_weights(made)["night"] == pytest.approx(math.log(1 + 0.5 / 1.5))


@pytest.mark.parametrize(
    ("frozen", "rate", "learns"), [(True, None, False), (True, 1e-2, True), (False, None, True), (False, 0.0, False)]
)
def test_static_weights_learn_at_a_rate_of_their_own(
    tmp_path: Path, frozen: bool, rate: float | None, learns: bool
) -> None:
    start = tiny_inference_free("BertForMaskedLM", tiny_tokenizer("wordpiece"))
    static = next(module for module in start.modules() if isinstance(module, SparseStaticEmbedding))
    static.frozen = frozen
    before = static.weight.detach().clone()
    train(start, toy_pairs(), tmp_path / "out", recipe=recipe(steps=1, warmup=0.0, static_learning_rate=rate))
    moved = (static.weight - before).abs().max().item()
    assert moved == (pytest.approx(rate or 1e-3, rel=0.01) if learns else 0.0)  # Adam's first step is the rate
    read = SparseEncoder(str(tmp_path / "out"), device="cpu")
    assert static_weights(read) == static_weights(start)


def test_the_bridge_teaches_documents_to_answer_inference_free_queries(tmp_path: Path) -> None:
    """Words whose meanings the bridge knows, all in one batch: the divergence from its scores falls."""
    words = ("home", "school", "river", "tree", "book", "city", "teacher", "water")
    related = ("house", "student", "water", "green", "read", "seoul", "school", "river")
    data = pairs_data("related", words, [f"{word} {other}" for word, other in zip(words, related, strict=True)])
    start = inference_free_encoder(encoder(dropout=False), WORDS["en"])
    result = train(
        start, data, tmp_path / "out", bridge=TinyBridge(), run=RunOptions(cache_folder=tmp_path / "cache"),
        recipe=recipe(steps=30, distill="bridge", distill_weight=10.0, static_learning_rate=1e-2),
    )  # fmt: skip
    losses = [row["distillation_loss"] for row in result.curve if "distillation_loss" in row]
    assert losses[-1] < 0.8 * losses[0]


def test_an_encoder_with_more_rows_than_tokens_gets_no_static_weights() -> None:
    padded = tiny_encoder("BertForMaskedLM", tokenizer := tiny_tokenizer("wordpiece"), n_rows=len(tokenizer) + 3)
    with pytest.raises(SembridgeError, match="one row a token"):
        inference_free_encoder(padded, IDF_TEXTS)
    with pytest.raises(SembridgeError, match="No document has a token"):
        inference_free_encoder(encoder(), [" "])


# --- the rest of the switches --------------------------------------------------------------------------------------


def test_texts_are_cut_while_training_and_the_result_reads_as_far_as_its_start(tmp_path: Path) -> None:
    found = []
    for ending in ("school", "night"):
        start = encoder(dropout=False)
        length = start.max_seq_length
        data = pairs_data("long", *zip(*((word, f"{word} home " * 5 + ending) for word in WORDS["en"]), strict=True))
        train(start, data, tmp_path / ending, recipe=recipe(steps=2, max_length=8))
        found.append(weights(start))
        assert SparseEncoder(str(tmp_path / ending), device="cpu").max_seq_length == start.max_seq_length == length
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_weights_in_half_precision_are_trained_in_full(tmp_path: Path) -> None:
    train(encoder().half(), toy_pairs(), tmp_path / "half", recipe=recipe(steps=2, learning_rate=1e-5))
    train(encoder().half().float(), toy_pairs(), tmp_path / "full", recipe=recipe(steps=2, learning_rate=1e-5))
    half, full = (weights(SparseEncoder(str(tmp_path / name), device="cpu")) for name in ("half", "full"))
    assert all(torch.equal(value, full[name]) for name, value in half.items())


def test_gradient_caching_hears_the_teacher_too(tmp_path: Path) -> None:
    found = []
    for name, cache in (("plain", None), ("cached", 3)):
        start = encoder(dropout=False)
        settings = recipe(steps=3, gradient_cache=cache, distill="bridge", distill_weight=5.0)
        train(start, toy_pairs(), tmp_path / name, recipe=settings, bridge=TinyBridge())
        found.append(weights(start))
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=1e-3, atol=1e-4)


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A transferred encoder without dropout, whose copied rows are told from new ones."""
    folder = tmp_path_factory.mktemp("moved")
    source = encoder(dropout=False)
    source[0].model.config.update({"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0})
    target = tiny_tokenizer("wordpiece", language="target")
    plain = TransferRecipe.build({"match_activity": False, "firing_cap": 1.0})  # random weights fire everywhere
    transfer(source, target, TinyBridge(), recipe=plain, cache_folder=folder / "cache").save(folder / "encoder")
    return folder / "encoder"


@pytest.mark.parametrize("bf16", ["no", "yes"])
def test_new_rows_learn_by_the_factor_and_tied_ones_are_counted_once(tmp_path: Path, moved: Path, bf16: str) -> None:
    is_new = torch.from_numpy(Alignment.load(moved).kinds >= RowKind.COMBINED)
    tables = {}
    for factor in (1.0, 3.0):
        start = SparseEncoder(str(moved), device="cpu")
        before = start[0].model.get_input_embeddings().weight.detach().clone()
        settings = recipe(steps=1, warmup=0.0, bf16=bf16, combined_rows_factor=factor)
        train(start, toy_pairs(), tmp_path / str(factor), start_folder=moved, recipe=settings)
        model = start[0].model
        assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
        tables[factor] = model.get_input_embeddings().weight.detach() - before
    assert 0 < is_new.sum() < len(is_new)
    torch.testing.assert_close(tables[3.0][~is_new], tables[1.0][~is_new])
    torch.testing.assert_close(tables[3.0][is_new], 3 * tables[1.0][is_new], rtol=1e-3, atol=1e-6)
    assert tables[1.0][is_new].abs().max() > 1e-5


def test_tensorboard_keeps_the_curve_beside_the_result(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = train(
        encoder(), toy_pairs(), tmp_path / "out", recipe=recipe(steps=4), run=RunOptions(report_to=["tensorboard"])
    )
    events = EventAccumulator(str(tmp_path / "out.runs")).Reload()
    expected = [row["loss"] for row in result.curve if "loss" in row]
    assert [event.value for event in events.Scalars("train/loss")] == pytest.approx(expected)


def test_a_tracker_that_is_not_there_is_named_before_any_work(tmp_path: Path) -> None:
    from transformers.integrations.integration_utils import (
        INTEGRATION_TO_CALLBACK,
        get_available_reporting_integrations,
    )

    absent = next(name for name in INTEGRATION_TO_CALLBACK if name not in get_available_reporting_integrations())
    with pytest.raises(SembridgeError, match=f"--report-to {absent} needs .*: pip install "):
        train(encoder(), toy_pairs(), tmp_path / "out", recipe=recipe(), run=RunOptions(report_to=[absent]))
    with pytest.raises(SembridgeError, match=r"expected one of .*tensorboard"):
        train(encoder(), toy_pairs(), tmp_path / "out", recipe=recipe(), run=RunOptions(report_to=["tensorflow"]))
    assert not list(tmp_path.iterdir())


def test_pairs_of_which_no_batch_can_be_made_are_refused(tmp_path: Path) -> None:
    """Every query has the same relevant document, so that no two pairs may meet."""
    data = pairs_data("one answer", [f"{word} home" for word in WORDS["en"]], ["tree"] * len(WORDS["en"]))
    with pytest.raises(SembridgeError, match="--batch-size"):
        train(encoder(), data, tmp_path / "out", recipe=recipe(steps=4))
    assert not (tmp_path / "out").exists()


def test_the_command_line_joins_sources_and_looks_queries_up(tmp_path: Path) -> None:
    encoder().save_pretrained(str(tmp_path / "start"))
    rows = [{"query": f"{word} home", "positive": f"{word} tree"} for word in WORDS["en"][:10]]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "text.txt").write_text(
        "\n".join(f"The {word} has a small garden. Green {word} water at night." for word in WORDS["en"][:10])
    )
    arguments = [
        "train", tmp_path / "start", tmp_path / "pairs.jsonl", tmp_path / "out", "--also",
        f"corpus:{tmp_path / 'text.txt'}", "--idf", tmp_path / "text.txt", "--batch-size", 4, "--steps", 2, "--json",
    ]  # fmt: skip
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["pairs"] == 20
    found = static_weights(SparseEncoder(str(tmp_path / "out"), device="cpu"))
    assert found["home"] == pytest.approx(math.log(1 + (10 - 1 + 0.5) / (1 + 0.5)))


ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", ["paper/train.yaml", "mini/train.yaml", "mini/splade_en.yaml"])
def test_the_recipes_of_this_repository_are_trainings(name: str) -> None:
    found = TrainRecipe.read(ROOT / "reproduction" / name)
    assert 2e-5 <= found.learning_rate <= 3e-4
    assert found.query_weight > 0 < found.document_weight


@pytest.mark.slow
def test_text_without_labels_makes_a_transferred_encoder_better(tmp_path: Path) -> None:
    """The bundled recipe on the titles and texts of the Korean FAQ, whose questions it does not see."""
    with small_bundle_installed():
        start, bridge = load_encoder(transferred("ko")), load_bridge("mini/bridge")
    faq = load_retrieval_data("mini/faq-ko", split="test").sample(128, None)
    measured = partial(evaluate, start, faq, measures=["nDCG@10"], encode_with="fast")
    before = measured().measures["nDCG@10"]
    recipe = ROOT / "reproduction" / "mini" / "train.yaml"
    settings = TrainRecipe.read(recipe, steps=12, max_length=40, distill="bridge", bf16="no")
    data = load_training_data("corpus:mini/faq-ko")
    train(start, data, tmp_path / "out", recipe=settings, bridge=bridge, run=RunOptions(cache_folder=tmp_path))
    assert measured().measures["nDCG@10"] > before + 0.01


# --- refused -------------------------------------------------------------------------------------------------------


def test_data_without_a_positive_pair_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "beir"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text('{"_id": "d", "text": "tree"}\n')
    (folder / "queries.jsonl").write_text('{"_id": "q", "text": "home"}\n')
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq\td\t0\n")
    (tmp_path / "header.csv").write_text("query,positive\n")
    (tmp_path / "latin.csv").write_bytes("query,positive\nGröße,Höhe\n".encode("latin-1"))
    cases: list[tuple[Callable[[], object], str]] = [
        (lambda: load_training_data(folder), "no relevant document"),
        (lambda: load_training_data(tmp_path / "header.csv"), "holds no pair"),
        (lambda: load_training_data(tmp_path / "latin.csv"), "UTF-?8"),
        (lambda: load_training_data("corpus:mini/nowhere"), "nowhere"),
        (lambda: joined([]), "No training data"),
    ]
    for call, expected in cases:
        with pytest.raises(SembridgeError, match=expected) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_a_vocabulary_that_does_not_fit_the_encoder_is_refused(tmp_path: Path) -> None:
    start = encoder()
    start.tokenizer.add_tokens(["학교", "나무"])
    with pytest.raises(SembridgeError, match="a row for every id"):
        train(start, toy_pairs(), tmp_path / "out", recipe=recipe())


OUT_OF_MEMORY = """
import resource, sys
from pathlib import Path
from sembridge import load_encoder
from sembridge.errors import SembridgeError
from sembridge.language_transfer.recipe import TransferRecipe
from sembridge.training.recipe import TrainRecipe
from sembridge.training.data import pairs_data
from sembridge.training.fine_tuning import train
import sentence_transformers.sparse_encoder.losses, datasets, accelerate
encoder = load_encoder("mini/splade-en")
words = [f"{a}{b} school" for a in "abcdefghijklmnop" for b in "abcdefghijklmnop"]
pairs = pairs_data("long", words, [f"{word} river garden tree " * 80 for word in words])
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 700_000_000, resource.RLIM_INFINITY))
try:
    train(encoder, pairs, sys.argv[1], recipe=TrainRecipe.build({"steps": 2, "batch_size": 256, "bf16": "no"}))
except SembridgeError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the memory as Linux does")
def test_a_batch_that_does_not_fit_the_memory_names_the_flag(tmp_path: Path) -> None:
    """256 texts of 256 tokens: one layer keeps a gigabyte for the way back, where 700 MB are left."""
    done = subprocess.run(
        [sys.executable, "-c", OUT_OF_MEMORY, str(tmp_path / "out")],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.stdout.startswith("Out of memory with --batch-size 256: lower it"), done.stderr[-2000:]
    assert "--gradient-cache 64" in done.stdout


def all_switches(start: Path, out: Path, *, resume: bool = False) -> SparseEncoder:
    loaded = inference_free_encoder(SparseEncoder(str(start), device="cpu"), WORDS["target"])
    settings = recipe(
        steps=25, eval_steps=5, freeze_body_steps=15, combined_rows_factor=2.0, hard_negatives="self", distill="bridge",
        static_learning_rate=1e-3, collapse="warn",
    )  # fmt: skip
    cache = start.parent / "cache"
    words = WORDS["target"]
    pairs = [
        (f"{a} {b}", f"{b} {a} {words[(i * j) % len(words)]}") for i, a in enumerate(words) for j, b in enumerate(words)
    ]
    data = pairs_data("many", *zip(*pairs, strict=True))
    train(
        loaded, data, out, recipe=settings, start_folder=start, bridge=TinyBridge(),
        run=RunOptions(resume=resume, cache_folder=cache),
    )  # fmt: skip
    return loaded


def killed_training(start: Path, out: Path) -> None:
    kill_after_checkpoint(10)
    all_switches(start, out)


def test_every_switch_resumes_to_the_weights_of_an_uninterrupted_training(tmp_path: Path, moved: Path) -> None:
    expected = weights(all_switches(moved, tmp_path / "whole"))
    assert exit_code(killed_training, moved, tmp_path / "killed") == -signal.SIGKILL
    assert not (tmp_path / "killed").exists()
    resumed = weights(all_switches(moved, tmp_path / "killed", resume=True))
    assert all(torch.equal(value, expected[name]) for name, value in resumed.items())
