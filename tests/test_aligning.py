"""A pivot trained on translations: it lands where its source encoder lands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from commands import sembridge
from sentence_transformers import SparseEncoder
from test_pivot import alignment_of
from tiny import tiny_encoder, tiny_tokenizer
from tiny_bridge import save_tiny_bridge

from sembridge.encoders.anatomy import read_anatomy
from sembridge.encoders.fingerprint import sparse_encoder_fingerprint
from sembridge.encoders.vectors import encode_corpus
from sembridge.errors import SembridgeError
from sembridge.language_transfer.pivot import Pivot, PivotFacts, pivot_encoder
from sembridge.retrieval.data import RetrievalData
from sembridge.training.head import without_logits

pytest.importorskip("datasets")

from sembridge.training.aligning import Aim, alignment_losses
from sembridge.training.data import pairs_data
from sembridge.training.fine_tuning import train
from sembridge.training.recipe import TrainRecipe

pytestmark = [pytest.mark.numerics, pytest.mark.usefixtures("one_thread")]

TRANSLATIONS = {"학교": "school", "집": "home", "강": "river", "나무": "tree", "책": "book", "도시": "city",
                "선생님": "teacher", "школа": "school", "дом": "home", "река": "river"}  # fmt: skip


def test_a_vector_that_is_there_has_no_loss_and_one_below_zero_is_drawn_up() -> None:
    aimed = torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    there = alignment_losses(aimed, aimed)
    assert all(float(loss) == pytest.approx(0.0, abs=1e-6) for loss in there.values())
    given = torch.tensor([[-0.5, -3.0, 0.4], [0.0, 2.0, 0.0]], requires_grad=True)
    losses = alignment_losses(given, aimed)
    assert losses["base_loss"].item() == pytest.approx(0.1 * (1.0**2 + 2 * 0.5 + 0.4**2) / 2)
    losses["base_loss"].backward()
    assert given.grad is not None
    assert given.grad.sign().tolist() == [[-1, 0, 1], [0, 0, 0]]  # up, as it is, down


def test_scores_below_zero_are_seen_while_training_and_never_afterwards() -> None:
    made = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"))
    texts = ["home school river", "tree"]

    def vectors() -> torch.Tensor:
        found: torch.Tensor = made(made.preprocess(texts, task="document"))["sentence_embedding"].detach()
        return found

    stock = vectors()
    with without_logits(read_anatomy(made), below_zero=True):
        torch.testing.assert_close(vectors(), stock)
        made.train()
        for module in made.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        found = vectors()
    torch.testing.assert_close(found.relu(), stock)
    assert (found < 0).any()


@pytest.fixture(scope="module")
def source() -> SparseEncoder:
    return tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"), seed=1)


def ignorant_pivot(source: SparseEncoder) -> Pivot:
    """Its special tokens are the source's; all words read as the mean row."""
    tokenizer = tiny_tokenizer("wordpiece", language="target")
    alignment = alignment_of(source, torch.arange(5), n_target=len(tokenizer))
    facts = PivotFacts(
        source_encoder="source", source_fingerprint=sparse_encoder_fingerprint(source),
        n_dims=len(source.tokenizer), language="ko",
    )  # fmt: skip
    return Pivot(pivot_encoder(source, tokenizer, alignment), facts)


def questions() -> RetrievalData:
    corpus = {f"d{n}": f"{word} small" for n, word in enumerate(dict.fromkeys(TRANSLATIONS.values()))}
    of_word = {text.split()[0]: doc for doc, text in corpus.items()}
    queries = {f"q{n}": word for n, word in enumerate(TRANSLATIONS)}
    qrels = {q: {of_word[TRANSLATIONS[word]]: 1} for q, word in queries.items()}
    return RetrievalData("questions", "ko", corpus, queries, qrels)


def distance(pivot: Pivot, source: SparseEncoder) -> float:
    """Between the vectors of words and those of their translations."""
    apart = pivot.encode_document(list(TRANSLATIONS)) - encode_corpus(source, list(TRANSLATIONS.values()))
    return float((apart.multiply(apart)).sum())


def recipe(**settings: object) -> TrainRecipe:
    fast = {"steps": 30, "batch_size": 5, "learning_rate": 1e-3, "rows_learning_rate": 2e-2, "document_weight": 3e-5}
    return TrainRecipe.build({**fast, "eval_steps": 30, "bf16": "no", **settings})


def test_a_trained_pivot_finds_english_documents_and_is_a_stock_folder(source: SparseEncoder, tmp_path: Path) -> None:
    pivot = ignorant_pivot(source)
    data = pairs_data("words", list(TRANSLATIONS.values()), list(TRANSLATIONS))
    before, far = {name: value.clone() for name, value in source.state_dict().items()}, distance(pivot, source)
    result = train(pivot.encoder, data, tmp_path / "out", recipe=recipe(), dev=questions(), aim=Aim(source, pivot))
    assert [row["step"] for row in result.curve if "nDCG@10" in row] == [0, 30]
    assert all(torch.equal(value, before[name]) for name, value in source.state_dict().items())
    loaded = Pivot.load(tmp_path / "out", source)
    assert (loaded.facts.trained_on, loaded.language) == ("words", "ko")
    assert distance(loaded, source) < 0.3 * far
    stock = SparseEncoder(str(tmp_path / "out"), device="cpu")
    assert any(isinstance(m, torch.nn.Dropout) and m.p > 0 for m in stock.modules())  # as the start has it
    head = read_anatomy(stock).model.cls.predictions.decoder.weight
    assert torch.equal(head[: loaded.n_dims], before["0.model.cls.predictions.decoder.weight"])


def test_rows_learn_at_a_rate_of_their_own(source: SparseEncoder, tmp_path: Path) -> None:
    pivot = ignorant_pivot(source)
    before = {name: value.detach().clone() for name, value in pivot.encoder.named_parameters()}
    data = pairs_data("words", list(TRANSLATIONS.values()), list(TRANSLATIONS))
    rates = {"steps": 1, "collapse": "warn", "learning_rate": 1e-7, "rows_learning_rate": 1e-2, "warmup": 0.0}
    train(pivot.encoder, data, tmp_path / "out", recipe=recipe(**rates), aim=Aim(source, pivot))
    moved = {n: float((p.detach() - before[n]).abs().max()) for n, p in pivot.encoder.named_parameters()}
    rows = [name for name in moved if name.endswith("word_embeddings.weight")]
    assert [moved[name] > 5e-3 for name in rows] == [True]
    assert max(change for name, change in moved.items() if name not in rows) < 1e-5


def test_settings_for_questions_and_their_documents_are_refused(source: SparseEncoder, tmp_path: Path) -> None:
    pivot = ignorant_pivot(source)
    data = pairs_data("words", list(TRANSLATIONS.values()), list(TRANSLATIONS))
    with pytest.raises(SembridgeError, match=r"--hard-negatives and --align-to"):
        train(
            pivot.encoder, data, tmp_path / "out", recipe=recipe(hard_negatives="bm25"),
            aim=Aim(source, pivot),
        )  # fmt: skip


def test_the_command_line_aligns_a_transferred_encoder(source: SparseEncoder, tmp_path: Path) -> None:
    source.save_pretrained(str(tmp_path / "source"), create_model_card=False)
    tiny_tokenizer("wordpiece", language="target").save_pretrained(tmp_path / "target")
    save_tiny_bridge(tmp_path / "bridge")
    done = sembridge(
        "transfer", tmp_path / "source", tmp_path / "target", tmp_path / "ko", "--bridge", tmp_path / "bridge",
        "--cache", tmp_path / "cache", "--language", "ko",
    )  # fmt: skip
    assert done.code == 0, done.err
    lines = ["english\ttranslation", *(f"{english}\t{other}" for other, english in TRANSLATIONS.items())]
    (tmp_path / "words.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    command = ("train", tmp_path / "ko", tmp_path / "words.tsv", tmp_path / "pivot", "--align-to", tmp_path / "source",
               "--steps", 2, "--batch-size", 5)  # fmt: skip
    done = sembridge(*command, "--json")
    assert done.code == 0, done.err
    assert json.loads((tmp_path / "pivot" / "pivot.json").read_text(encoding="utf-8"))["n_dims"] == len(
        source.tokenizer
    )
    done = sembridge(*command, "--dev", "mini/faq-ko")
    assert (done.code, "--dev-corpus" in done.err) == (2, True)
