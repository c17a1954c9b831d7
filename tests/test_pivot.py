"""Laws of the way back: target texts as vectors over the source vocabulary."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from sentence_transformers import SparseEncoder
from tiny import (
    ENGLISH_TEXTS,
    HEADS,
    TARGET_TEXTS,
    assert_same_vectors,
    permutation,
    tiny_encoder,
    tiny_inference_free,
    tiny_tokenizer,
)
from tiny_bridge import text_vector

from sembridge.encoders.vectors import encode_queries
from sembridge.encoders.vocabulary import read_vocabulary
from sembridge.errors import SembridgeError
from sembridge.language_transfer.alignment import Alignment
from sembridge.language_transfer.initialization.rows import RowKind
from sembridge.language_transfer.pivot import Pivot, PivotFacts, in_source_vocabulary, pivot_encoder
from sembridge.language_transfer.pivot_reading import reading_english
from sembridge.language_transfer.pivot_words import with_words, words_of
from sembridge.language_transfer.sparse_matrix import SparseWeights

pytestmark = pytest.mark.numerics


def alignment_of(source: SparseEncoder, columns: torch.Tensor, n_target: int | None = None) -> Alignment:
    """One-hot rows: target id i is made of source token columns[i]; ids beyond them fell back."""
    n_source = len(source.tokenizer)
    n_target = len(columns) if n_target is None else n_target
    weights = SparseWeights.from_rows(
        n_target, torch.arange(len(columns)), columns, torch.ones(len(columns)), None, n_source
    )
    kinds = np.full(n_target, RowKind.EXACT, np.uint8)
    kinds[len(columns) :] = RowKind.FALLBACK
    return Alignment(weights, kinds, tuple(read_vocabulary(source.tokenizer, n_rows=n_source).tokens))


def family_of(architecture: str) -> str:
    return {"RobertaForMaskedLM": "bpe", "XLMRobertaForMaskedLM": "unigram"}.get(architecture, "wordpiece")


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("architecture", HEADS)
def test_the_identity_alignment_gives_the_english_vectors_back(architecture: str, tied: bool) -> None:
    tokenizer = tiny_tokenizer(family_of(architecture), pad_id=1)
    source = tiny_encoder(architecture, tokenizer, tied=tied)
    alignment = alignment_of(source, torch.arange(len(source.tokenizer)))
    expected = encode_queries(source, ENGLISH_TEXTS)
    pivot = pivot_encoder(source, tokenizer, alignment)
    assert_same_vectors(*dense(encode_queries(pivot, ENGLISH_TEXTS), expected))
    assert (in_source_vocabulary(expected, alignment) != expected).nnz == 0


@pytest.mark.parametrize("architecture", HEADS)
def test_renamed_ids_give_the_same_vectors_and_more_ids_add_nothing(architecture: str) -> None:
    family = family_of(architecture)
    source = tiny_encoder(architecture, tiny_tokenizer(family, pad_id=1))
    shuffled = tiny_tokenizer(family, pad_id=1, shuffle_seed=3)
    columns = permutation(source.tokenizer, shuffled)
    n_source = len(source.tokenizer)
    pivot = pivot_encoder(source, shuffled, alignment_of(source, columns, n_target=n_source + 7))
    found = encode_queries(pivot, ENGLISH_TEXTS)
    assert found.shape[1] == n_source + 7
    assert found[:, n_source:].nnz == 0
    assert_same_vectors(*dense(found[:, :n_source], encode_queries(source, ENGLISH_TEXTS)))


def test_the_decoder_stays_bit_for_bit_and_the_source_as_it_was() -> None:
    source = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"))
    before = copy.deepcopy(source.state_dict())
    target = tiny_tokenizer("wordpiece", language="target")
    n_target = len(target.get_vocab())
    pivot = pivot_encoder(source, target, alignment_of(source, torch.arange(9), n_target=n_target))
    decoder = pivot[0].model.cls.predictions.decoder
    n_source = len(source.tokenizer)
    assert torch.equal(decoder.weight[:n_source], before["0.model.cls.predictions.decoder.weight"])
    assert torch.equal(decoder.bias[:n_source], before["0.model.cls.predictions.decoder.bias"])
    assert all(torch.equal(value, before[name]) for name, value in source.state_dict().items())


def test_a_saved_pivot_is_a_stock_folder_that_gives_the_same_vectors(tmp_path: Path) -> None:
    source = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"))
    target = tiny_tokenizer("wordpiece", language="target")
    pivot = pivot_encoder(source, target, alignment_of(source, torch.arange(9), n_target=len(target.get_vocab())))
    pivot.save_pretrained(str(tmp_path / "pivot"), create_model_card=False)
    again = SparseEncoder(str(tmp_path / "pivot"))
    assert (encode_queries(again, TARGET_TEXTS) != encode_queries(pivot, TARGET_TEXTS)).nnz == 0


def test_mapping_is_linear_and_does_not_see_dimensions_that_fell_back() -> None:
    source = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"))
    alignment = alignment_of(source, torch.arange(5), n_target=8)
    generator = np.random.default_rng(0)
    one, other = (csr_array(generator.random((3, 8), np.float32)) for _ in range(2))
    mapped = in_source_vocabulary(csr_array(2 * one + other), alignment)
    expected = 2 * in_source_vocabulary(one, alignment) + in_source_vocabulary(other, alignment)
    np.testing.assert_allclose(mapped.toarray(), expected.toarray(), rtol=1e-6)
    pruned = one.toarray()
    pruned[:, 5:] = 0
    assert (in_source_vocabulary(csr_array(pruned), alignment) != in_source_vocabulary(one, alignment)).nnz == 0


def test_every_dimension_comes_from_the_token_that_gave_it_its_weight() -> None:
    source = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"))
    alignment = alignment_of(source, torch.arange(len(source.tokenizer)))
    facts = PivotFacts(source_encoder="en", source_fingerprint=None, n_dims=len(source.tokenizer))
    pivot = Pivot(pivot_encoder(source, source.tokenizer, alignment), facts)
    vector = pivot.encode_query(["school teacher"])
    origins = pivot.origins("school teacher")
    assert set(origins) == set(vector.indices.tolist())
    assert set(origins.values()) <= {"[CLS]", "school", "teacher", "[SEP]"}


def test_an_alignment_of_another_source_is_refused() -> None:
    source = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"))
    other = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece", shuffle_seed=1))
    alignment = alignment_of(source, torch.arange(5))
    with pytest.raises(SembridgeError, match=r"of another source encoder: \d+ of its \d+ source tokens"):
        pivot_encoder(other, tiny_tokenizer("wordpiece"), alignment)
    with pytest.raises(SembridgeError, match="5 rows; expected the tokenizer that lies beside"):
        pivot_encoder(source, tiny_tokenizer("wordpiece"), alignment)
    with pytest.raises(SembridgeError, match="4 dimensions and the alignment 5 rows"):
        in_source_vocabulary(csr_array((1, 4), dtype=np.float32), alignment)


def test_static_queries_are_refused() -> None:
    source = tiny_inference_free("BertForMaskedLM", tiny_tokenizer("wordpiece"))
    alignment = alignment_of(source, torch.arange(len(source.tokenizer)))
    with pytest.raises(SembridgeError, match="static weights"):
        pivot_encoder(source, tiny_tokenizer("wordpiece"), alignment)


def test_a_word_with_a_token_of_its_own_reads_as_its_english() -> None:
    """The pieces of `schools` are school and ##s; whole, a word is what the bridge makes of it."""
    tokenizer = tiny_tokenizer("wordpiece")
    source = tiny_encoder("BertForMaskedLM", tokenizer)
    alignment = alignment_of(source, torch.arange(len(tokenizer)))
    meanings = {"schools": "river", "teachers": "Book"}

    def embed(texts: Sequence[str]) -> np.ndarray:
        return np.stack([text_vector(meanings.get(text, text)) for text in texts])

    longer, with_rows = with_words(source, tokenizer, alignment, ["schools", "home", "teachers"], embed)
    pivot = pivot_encoder(source, longer, with_rows)
    found = encode_queries(pivot, ["schools teachers home"])[:, : len(tokenizer)]
    assert_same_vectors(*dense(found, encode_queries(source, ["river book home"])))
    assert len(longer) == len(tokenizer) + 2  # home is a token already
    assert tokenizer.tokenize("schools") == ["school", "##s"]
    with_rows.weights.validate(allow_empty_rows=True)


def test_words_of_a_text_are_those_between_spaces() -> None:
    assert words_of(["학교는 학교는 Дом", "水が дом дом"], place="the text") == ["дом", "학교는"]
    with pytest.raises(SembridgeError, match="the text has no words between spaces"):
        words_of(["我们在学校"], place="the text")


def dense(*matrices: csr_array) -> list[torch.Tensor]:
    return [torch.from_numpy(matrix.toarray()) for matrix in matrices]


@pytest.mark.parametrize("family", ["wordpiece", "bpe", "unigram"])
def test_english_inside_a_text_reads_as_the_source_reads_it(family: str) -> None:
    architecture = {"bpe": "RobertaForMaskedLM", "unigram": "XLMRobertaForMaskedLM"}.get(family, "BertForMaskedLM")
    source = tiny_encoder(architecture, tiny_tokenizer(family))
    target = tiny_tokenizer(family, language="target", shuffle_seed=2)
    columns = torch.arange(len(target.get_vocab())) % len(source.tokenizer)
    joint, alignment = reading_english(source, target, alignment_of(source, columns))
    n_source = len(source.tokenizer)
    pivot = pivot_encoder(source, joint, alignment)
    assert_same_vectors(
        *dense(encode_queries(pivot, ENGLISH_TEXTS)[:, :n_source], encode_queries(source, ENGLISH_TEXTS))
    )
    assert reading_english(source, joint, alignment) == (joint, alignment)


@pytest.mark.parametrize("family", ["wordpiece", "unigram"])
def test_a_piece_of_the_language_keeps_the_english_that_it_was_made_of(family: str) -> None:
    architecture = "XLMRobertaForMaskedLM" if family == "unigram" else "BertForMaskedLM"
    source = tiny_encoder(architecture, tiny_tokenizer(family))
    target = tiny_tokenizer(family, language="target", shuffle_seed=2)
    columns = torch.arange(len(target.get_vocab())) % len(source.tokenizer)
    joint, alignment = reading_english(source, target, alignment_of(source, columns))
    (before,) = target(["학교"], add_special_tokens=False)["input_ids"]
    (after,) = joint(["학교"], add_special_tokens=False)["input_ids"]
    expected = [alignment.source_tokens[int(columns[id_])] for id_ in before]
    assert [part.token for id_ in after for part in alignment.parts(id_)] == expected


def test_a_number_before_letters_of_the_language_stays_the_number() -> None:
    source = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"))
    target = tiny_tokenizer("wordpiece", language="target")
    tokens = [*sorted(target.get_vocab(), key=target.get_vocab().__getitem__), "2024년", "##년"]
    target = type(target)(vocab={token: id_ for id_, token in enumerate(tokens)}, strip_accents=False)
    assert target.tokenize("2024년 학교") == ["2024년", "학교"]
    joint, alignment = reading_english(source, target, alignment_of(source, torch.arange(5), n_target=len(tokens)))
    assert joint.tokenize("2024년 학교") == ["2024", "##년", "학교"]
    assert [part.token for part in alignment.parts(joint.convert_tokens_to_ids("2024"))] == ["2024"]


def test_tokenizers_that_cannot_be_joined_stay_as_they_are() -> None:
    source = tiny_encoder("RobertaForMaskedLM", tiny_tokenizer("bpe"))
    target = tiny_tokenizer("wordpiece", language="target")
    alignment = alignment_of(source, torch.arange(5), n_target=len(target.get_vocab()))
    assert reading_english(source, target, alignment) == (target, alignment)
