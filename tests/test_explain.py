"""Laws of the explanations: they are the transfer's own weights and the encoder's own scores, taken apart."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny import FAMILIES, OVERLAP_TEXTS, tiny_encoder, tiny_inference_free, tiny_tokenizer
from tiny_bridge import TinyBridge

from sembridge.errors import SembridgeError
from sembridge.language_transfer.assembly import transfer
from sembridge.language_transfer.explanation import Explainer
from sembridge.language_transfer.folder import LanguageTransfer
from sembridge.language_transfer.initialization.rows import RowKind
from sembridge.language_transfer.recipe import TransferRecipe

QUERY, DOCUMENT = "학교 책", "선생님 학교 2024 книга"
over_families = pytest.mark.parametrize("family", FAMILIES)


@functools.cache
def result(family: str = "wordpiece", *, inference_free: bool = False) -> LanguageTransfer:
    build = tiny_inference_free if inference_free else tiny_encoder
    source = build("BertForMaskedLM", tiny_tokenizer(family))
    return transfer(source, tiny_tokenizer(family, language="target"), TinyBridge())


@functools.cache
def explainer(family: str = "wordpiece", *, inference_free: bool = False) -> Explainer:
    made = result(family, inference_free=inference_free)
    return Explainer(made.encoder, made.alignment)


@over_families
def test_a_token_is_explained_by_its_weights(family: str) -> None:
    (school_id,) = (i for i in explainer(family).token_ids("학교"))
    token = explainer(family).token(school_id)
    assert (token.token_id, token.text, token.kind) == (school_id, "학교", "combined")
    assert token.token == result(family).encoder.tokenizer.convert_ids_to_tokens(school_id)
    assert token.parts == result(family).alignment.parts(school_id)
    assert token.parts[0].token.strip("▁Ġ") == "school"
    assert sum(part.weight for part in token.parts) == pytest.approx(1)
    assert token.confidence == 1  # too few tokens to doubt


def test_confidence_is_told_where_evidence_was_asked_for() -> None:
    source, target = (
        tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece")),
        tiny_tokenizer("wordpiece", language="target"),
    )
    made = transfer(source, target, TinyBridge(), recipe=TransferRecipe.build({"evidence": True}))
    found = Explainer(made.encoder, made.alignment)
    # So few tokens cannot be told from chance and are trusted; a copied row leaves nothing to trust.
    assert found.token(found.token_ids("학교")[0]).confidence == 1
    assert found.token(made.encoder.tokenizer.cls_token_id).confidence is None
    assert (set(made.report.confidence.values()), made.report.least_certain[0].confidence) == ({1.0}, 1)


@over_families
def test_every_token_can_be_explained(family: str) -> None:
    alignment = result(family).alignment
    kinds = [explainer(family).token(i).kind for i in range(alignment.weights.n_rows)]
    assert kinds == [RowKind(kind).name.lower() for kind in alignment.kinds]


def test_a_token_is_found_by_its_spelling_and_by_its_text() -> None:
    found = explainer()
    tokenizer = result().encoder.tokenizer
    assert found.token_ids("##s") == [tokenizer.convert_tokens_to_ids("##s")]
    # `s` is the text of two tokens.
    assert found.token_ids("s") == sorted(tokenizer.convert_tokens_to_ids(["s", "##s"]))
    assert found.token_ids("[CLS]") == [tokenizer.cls_token_id]
    assert found.token_ids("학교 책") == found.token_ids("") == found.token_ids("unheard-of") == []
    assert explainer("bpe").token_ids("home") == explainer("bpe").token_ids("Ġhome")


@pytest.mark.parametrize("is_query", [False, True])
def test_a_text_is_explained_by_its_strongest_dimensions(is_query: bool) -> None:
    encoder = result().encoder
    encode = encoder.encode_query if is_query else encoder.encode_document
    vector = encode([DOCUMENT]).to_dense()[0].numpy()
    everything = explainer().text(DOCUMENT, top=10_000, query=is_query)
    assert {d.token.token_id: d.value for d in everything} == {
        int(i): pytest.approx(float(vector[i])) for i in np.flatnonzero(vector)
    }
    assert [d.value for d in everything] == sorted((d.value for d in everything), reverse=True)
    assert explainer().text(DOCUMENT, top=3, query=is_query) == everything[:3]


@over_families
def test_the_shared_dimensions_of_a_match_add_up_to_its_score(family: str) -> None:
    encoder = result(family).encoder
    shared = explainer(family).match(QUERY, DOCUMENT, top=10_000)
    score = float(encoder.similarity(encoder.encode_query([QUERY]), encoder.encode_document([DOCUMENT])))
    # float32 sums of a few hundred products in another order.
    assert sum(dimension.product for dimension in shared) == pytest.approx(score, rel=1e-4)
    products = [dimension.product for dimension in shared]
    assert products == sorted(products, reverse=True)
    assert products[-1] > 0
    assert explainer(family).match(QUERY, DOCUMENT, top=2) == shared[:2]


def test_queries_of_an_inference_free_model_go_through_their_static_weights() -> None:
    found = explainer(inference_free=True)
    tokenizer = result(inference_free=True).encoder.tokenizer
    query_tokens = {d.token.token for d in found.text("학교 책", top=100, query=True)}
    assert query_tokens <= {*tokenizer.tokenize("학교 책"), "[CLS]", "[SEP]"}
    assert "학교" in query_tokens
    assert len(found.text("학교 책", top=100)) > len(query_tokens)
    assert {d.token.token for d in found.match("학교", "학교 책")} <= query_tokens


def test_an_empty_text_and_unknown_words_are_explained_too() -> None:
    for text in ("", "  ", "😀", "word " * 200):
        assert all(dimension.value > 0 for dimension in explainer().text(text))


def test_a_loaded_explainer_says_the_same(tmp_path: Path) -> None:
    result().save(tmp_path / "out")
    loaded = Explainer.load(str(tmp_path / "out"))
    for text in OVERLAP_TEXTS:
        assert [(d.value, d.token.token, d.token.kind) for d in loaded.text(text)] == [
            (d.value, d.token.token, d.token.kind) for d in explainer().text(text)
        ]
    ids = loaded.token_ids("학교")
    assert [loaded.token(i) for i in ids] == [explainer().token(i) for i in ids]


def test_a_folder_that_no_transfer_wrote_is_refused(tmp_path: Path) -> None:
    result().encoder.save_pretrained(str(tmp_path / "stock"), create_model_card=False)
    for folder in (tmp_path / "stock", tmp_path / "none"):
        with pytest.raises(SembridgeError, match="sembridge transfer"):
            Explainer.load(folder)


@pytest.mark.parametrize("family", ["bpe", "unigram"])
def test_an_alignment_of_another_transfer_is_refused(tmp_path: Path, family: str) -> None:
    """Of a larger and of a smaller vocabulary."""
    result().save(tmp_path / "out")
    result(family).alignment.save(tmp_path / "out")
    with pytest.raises(SembridgeError, match="come from different transfers"):
        Explainer.load(tmp_path / "out")


def test_a_moved_folder_is_explained_as_before(tmp_path: Path) -> None:
    result().save(tmp_path / "out")
    shutil.move(tmp_path / "out", tmp_path / "moved")
    assert Explainer.load(tmp_path / "moved").token_ids("학교") == explainer().token_ids("학교")
