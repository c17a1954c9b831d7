"""Laws of the transplant: over three tokenizer families, six heads, tied and untied decoders, and Router models."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from sentence_transformers import SentenceTransformer, SparseEncoder
from sentence_transformers.base.modules import Dense, Router
from sentence_transformers.sentence_transformer.modules import Pooling
from sentence_transformers.sparse_encoder.modules import (
    MLMTransformer,
    SparseAutoEncoder,
    SparseStaticEmbedding,
    SpladePooling,
)
from tiny import (
    ENGLISH_TEXTS,
    FAMILIES,
    HEADS,
    MAX_POSITIONS,
    OVERLAP_TEXTS,
    TARGET_TEXTS,
    assert_same_vectors,
    encode_without_sembridge,
    permutation,
    tiny_encoder,
    tiny_inference_free,
    tiny_tokenizer,
)
from tokenizers import normalizers
from torch import Tensor
from transformers import BertModel, BertTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from sembridge.encoders import transplant as surgery
from sembridge.encoders.anatomy import check_source_encoder
from sembridge.errors import SembridgeError

POSITIONS_FOLLOW_PAD = ("RobertaForMaskedLM", "XLMRobertaForMaskedLM", "MPNetForMaskedLM")


def transplant(source: SparseEncoder, tokenizer: PreTrainedTokenizerBase, rows: Any, *, n_target: int) -> SparseEncoder:
    return surgery.transplant(check_source_encoder(source), tokenizer, rows, n_target=n_target).encoder


over_heads = pytest.mark.parametrize("head", HEADS)
over_families = pytest.mark.parametrize("family", FAMILIES)
over_tying = pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads cost more than they bring on tensors this small."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


def pad_id_for(head: str) -> int | None:
    """MPNet holds pad id 1 in its code; the others take the family's habit."""
    return 1 if head == "MPNetForMaskedLM" else None


@functools.cache
def source_encoder(head: str, family: str, tied: bool = True) -> SparseEncoder:
    """An encoder for tests that change nothing in it; that a transplant changes nothing is a law below."""
    return tiny_encoder(head, tiny_tokenizer(family, pad_id=pad_id_for(head)), tied=tied)


def identity(source_rows: Tensor) -> Tensor:
    return source_rows


def random_rows(n_target: int) -> Any:
    return lambda source_rows: torch.randn(n_target, source_rows.shape[1], generator=torch.Generator().manual_seed(7))


def vectors(encoder: SparseEncoder, texts: tuple[str, ...] = ENGLISH_TEXTS, **options: Any) -> Tensor:
    return encoder.encode(list(texts), **options).to_dense()


def tensors(encoder: SparseEncoder) -> dict[str, Tensor]:
    parameters = dict(encoder.named_parameters(remove_duplicate=False))
    return parameters | dict(encoder.named_buffers(remove_duplicate=False))


def overlap_rows(source: PreTrainedTokenizerBase, target: PreTrainedTokenizerBase) -> Any:
    """Copied rows for tokens that both have, special ones by role; ones elsewhere."""
    source_ids = source.get_vocab()
    for role in ("pad_token", "cls_token", "sep_token", "unk_token", "mask_token"):
        source_ids[getattr(target, role)] = source_ids[getattr(source, role)]
    pairs = [(source_ids[token], target_id) for token, target_id in target.get_vocab().items() if token in source_ids]
    source_side, target_side = torch.tensor(pairs).T

    def build(source_rows: Tensor) -> Tensor:
        target_rows = torch.ones(len(target), source_rows.shape[1])
        target_rows[target_side] = source_rows[source_side]
        return target_rows

    return build


# --- the same vocabulary, in the same and in another order ---------------------------------------------------------


@pytest.mark.numerics
@over_heads
@over_families
@over_tying
def test_source_tokenizer_with_identity_rows_gives_identical_vectors(head: str, family: str, tied: bool) -> None:
    source = source_encoder(head, family, tied)
    target = transplant(source, source.tokenizer, identity, n_target=len(source.tokenizer))
    expected = vectors(source)
    assert torch.equal(vectors(target), expected)
    # The law would hold for vectors without content too.
    assert (expected > 0).any(dim=1).all()
    assert len(expected.unique(dim=0)) == len(ENGLISH_TEXTS)


@pytest.mark.numerics
@over_heads
@over_families
@over_tying
def test_permuted_vocabulary_permutes_vectors_and_keeps_scores(head: str, family: str, tied: bool) -> None:
    source = source_encoder(head, family, tied)
    permuted = tiny_tokenizer(family, pad_id=pad_id_for(head), shuffle_seed=1)
    order = permutation(source.tokenizer, permuted)
    target = transplant(source, permuted, lambda source_rows: source_rows[order], n_target=len(permuted))
    found, expected = vectors(target), vectors(source)
    # Sums run in another order over permuted columns: a few units in the last place.
    torch.testing.assert_close(found, expected[:, order], rtol=0, atol=1e-5)
    torch.testing.assert_close(found @ found.T, expected @ expected.T, rtol=1e-5, atol=1e-5)


@pytest.mark.numerics
@over_heads
@over_families
def test_overlap_tokens_keep_their_logits(head: str, family: str) -> None:
    source = source_encoder(head, family)
    tokenizer = source.tokenizer
    target_tokenizer = tiny_tokenizer(family, language="target", pad_id=pad_id_for(head))
    rows = overlap_rows(tokenizer, target_tokenizer)
    target = transplant(source, target_tokenizer, rows, n_target=len(target_tokenizer))
    shared = [token for token in target_tokenizer.get_vocab() if token in tokenizer.get_vocab()]
    source_columns = vectors(source, OVERLAP_TEXTS)[:, [tokenizer.get_vocab()[token] for token in shared]]
    target_columns = vectors(target, OVERLAP_TEXTS)[:, [target_tokenizer.get_vocab()[token] for token in shared]]
    # The decoder's product has another number of columns, so sums run in another order.
    torch.testing.assert_close(target_columns, source_columns, rtol=0, atol=1e-5)


@pytest.mark.numerics
@over_heads
def test_a_text_encodes_the_same_alone_and_in_a_padded_batch(head: str) -> None:
    source = source_encoder(head, "wordpiece")
    target_tokenizer = tiny_tokenizer("unigram", language="target", pad_id=pad_id_for(head))
    target = transplant(source, target_tokenizer, random_rows(len(target_tokenizer)), n_target=len(target_tokenizer))
    alone = torch.cat([vectors(target, (text,)) for text in TARGET_TEXTS])
    # Batched products run other kernels; a shifted position or a seen pad token is off by more than .01.
    torch.testing.assert_close(vectors(target, TARGET_TEXTS, batch_size=8), alone, rtol=0, atol=1e-5)


# --- what changes and what does not --------------------------------------------------------------------------------


@over_heads
@over_tying
def test_every_tensor_with_a_vocabulary_axis_changes_and_no_other(head: str, tied: bool) -> None:
    source = source_encoder(head, "bpe", tied)
    target_tokenizer = tiny_tokenizer("unigram", language="target")
    n_source, n_target = 386, 211
    facts = check_source_encoder(source)
    assert facts.n_rows == n_source
    target = transplant(source, target_tokenizer, random_rows(n_target), n_target=n_target)
    before, after = tensors(source), tensors(target)
    assert list(after) == list(before)
    assert {name for name, tensor in before.items() if n_source in tensor.shape} == set(facts.vocabulary_tensors)
    for name, tensor in after.items():
        assert (tensor.dtype, tensor.requires_grad) == (before[name].dtype, before[name].requires_grad)
        if name in facts.vocabulary_tensors:
            assert tensor.shape == (n_target, *before[name].shape[1:])
        else:
            assert torch.equal(tensor, before[name]), name
    assert check_source_encoder(target).n_rows == n_target
    assert target.get_embedding_dimension() == n_target
    assert vectors(target, TARGET_TEXTS).shape == (len(TARGET_TEXTS), n_target)


@over_heads
@over_tying
def test_rows_are_built_once_for_every_distinct_tensor_in_float32(head: str, tied: bool) -> None:
    tokenizer = tiny_tokenizer("wordpiece", pad_id=pad_id_for(head))
    source = tiny_encoder(head, tokenizer, tied=tied, dtype=torch.bfloat16)
    seen = []

    def rows(source_rows: Tensor) -> Tensor:
        assert source_rows.dtype == torch.float32
        seen.append(tuple(source_rows.shape))
        return source_rows

    transplant(source, tokenizer, rows, n_target=len(tokenizer))
    n_biases = 2 if not tied and head not in ("DistilBertForMaskedLM", "ModernBertForMaskedLM") else 1
    assert sorted(seen) == [(91, 1)] * n_biases + [(91, 32)] * (1 if tied else 2)


@over_heads
def test_the_decoder_bias_moves_with_the_rows(head: str) -> None:
    tokenizer = tiny_tokenizer("wordpiece", pad_id=pad_id_for(head))
    source = tiny_encoder(head, tokenizer)
    reverse = torch.arange(len(tokenizer)).flip(0)
    target = transplant(source, tokenizer, lambda source_rows: source_rows[reverse], n_target=len(tokenizer))
    biases = [name for name in check_source_encoder(source).vocabulary_tensors if name.endswith("bias")]
    assert biases
    for name in biases:
        assert torch.equal(tensors(target)[name], tensors(source)[name][reverse])


@over_tying
@over_heads
def test_the_source_encoder_and_the_target_tokenizer_stay_untouched(head: str, tied: bool) -> None:
    source = tiny_encoder(head, tiny_tokenizer("unigram"), tied=tied)
    source._similarity_fn_name = None
    source[1].embedding_dimension = None
    target_tokenizer = tiny_tokenizer("wordpiece", language="target", pad_id=1)
    target_tokenizer.padding_side = "left"
    state = {name: tensor.clone() for name, tensor in tensors(source).items()}
    config, vocabulary = copy.deepcopy(source[0].config.to_dict()), source.tokenizer.get_vocab()
    target_config = copy.deepcopy(target_tokenizer.init_kwargs)

    def scribble(source_rows: Tensor) -> Tensor:
        source_rows.fill_(3.0)
        return source_rows.new_ones(len(target_tokenizer), source_rows.shape[1])

    transplant(source, target_tokenizer, scribble, n_target=len(target_tokenizer))
    assert list(tensors(source)) == list(state)
    assert all(torch.equal(tensor, state[name]) for name, tensor in tensors(source).items())
    assert source[0].config.to_dict() == config
    assert (source.tokenizer.get_vocab(), source.max_seq_length) == (vocabulary, 30)
    assert (source._similarity_fn_name, source[1].embedding_dimension) == (None, None)
    assert (target_tokenizer.padding_side, target_tokenizer.model_max_length) == ("left", 12)
    assert target_tokenizer.init_kwargs == target_config


def test_a_builder_may_return_one_tensor_twice() -> None:
    tokenizer = tiny_tokenizer("wordpiece")
    source = tiny_encoder("DistilBertForMaskedLM", tokenizer, tied=False)
    constant = torch.ones(len(tokenizer), 32)
    target = transplant(source, tokenizer, lambda x: constant[:, : x.shape[1]], n_target=len(tokenizer))
    weights = [tensors(target)[name] for name in check_source_encoder(target).vocabulary_tensors]
    assert len({weight.data_ptr() for weight in weights}) == 3


@pytest.mark.numerics
@over_heads
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["fp16", "bf16"])
def test_half_precision_is_kept(head: str, dtype: torch.dtype) -> None:
    tokenizer = tiny_tokenizer("wordpiece", pad_id=pad_id_for(head))
    source = tiny_encoder(head, tokenizer, dtype=dtype)
    target = transplant(source, tokenizer, identity, n_target=len(tokenizer))
    assert {tensor.dtype for tensor in tensors(target).values() if tensor.is_floating_point()} <= {dtype, torch.float32}
    assert target[0].model.get_input_embeddings().weight.dtype == dtype
    assert torch.equal(vectors(target), vectors(source))


def test_settings_of_the_encoder_are_kept() -> None:
    tokenizer = tiny_tokenizer("wordpiece")
    plain = tiny_encoder("BertForMaskedLM", tokenizer, pooling_strategy="sum", activation_function="log1p_relu")
    source = SparseEncoder(
        modules=list(plain),
        device="cpu",
        prompts={"query": "find ", "document": ""},
        default_prompt_name="query",
        similarity_fn_name="cosine",
        max_active_dims=9,
    )
    source.model_card_data.license = "apache-2.0"
    source[0].query_length = 7
    for parameter in source[0].model.bert.parameters():
        parameter.requires_grad_(False)
    target = transplant(source, tokenizer, identity, n_target=len(tokenizer))
    assert (target.prompts, target.default_prompt_name) == (source.prompts, "query")
    assert (target.similarity_fn_name, target.max_active_dims) == ("cosine", 9)
    assert target[1].get_config_dict() == source[1].get_config_dict() | {"embedding_dimension": len(tokenizer)}
    assert target.model_card_data.license == "apache-2.0"
    assert target.model_card_data.model is target
    assert target[0].query_length == 7
    assert not target[0].model.get_input_embeddings().weight.requires_grad
    assert torch.equal(vectors(target), vectors(source))


def test_cached_prompt_lengths_are_forgotten() -> None:
    tokenizer = tiny_tokenizer("wordpiece")
    source = tiny_encoder("BertForMaskedLM", tokenizer)
    source.encode("home", prompt="find ")
    source[0]._prompt_length_mapping["find "] = 99
    target = transplant(source, tokenizer, identity, n_target=len(tokenizer))
    assert not target[0]._prompt_length_mapping


# --- sizes of vocabularies -----------------------------------------------------------------------------------------


@pytest.mark.numerics
@over_families
def test_the_source_vocabulary_can_be_extended(family: str) -> None:
    tokenizer = tiny_tokenizer(family)
    source = tiny_encoder("RobertaForMaskedLM", tokenizer, tied=False)
    extended_tokenizer = copy.deepcopy(tokenizer)
    assert extended_tokenizer.add_tokens(["학교", "учитель"]) == 2
    n_source, home = len(tokenizer), tokenizer.tokenize(" home")[0]
    copies = [tokenizer.get_vocab()[home]] * 2
    target = transplant(source, extended_tokenizer, lambda x: torch.cat([x, x[copies]]), n_target=n_source + 2)
    expected = vectors(source)
    # The decoder's product has more columns: other blocks, so sums in another order.
    assert_same_vectors(vectors(target), torch.cat([expected, expected[:, copies]], dim=1))
    assert target.tokenizer.tokenize("학교") == ["학교"]
    # A copied row is the same input, and every other token of the text is the same too.
    torch.testing.assert_close(vectors(target, ("학교",)), vectors(target, (home.strip("▁Ġ"),)), rtol=0, atol=1e-5)


@pytest.mark.numerics
@over_tying
def test_padded_vocabularies_are_sized_by_the_matrix(tied: bool) -> None:
    tokenizer = tiny_tokenizer("wordpiece")
    source = tiny_encoder("BertForMaskedLM", tokenizer, tied=tied, n_rows=104)
    facts = check_source_encoder(source)
    assert (facts.n_rows, facts.n_tokens) == (104, 91)
    target = transplant(source, tokenizer, lambda x: torch.cat([x, x[:8]]), n_target=112)
    assert_same_vectors(vectors(target)[:, :104], vectors(source))
    assert vectors(target).shape[1] == target[0].config.vocab_size == 112


def test_an_axis_that_happens_to_be_as_long_as_the_vocabulary_is_understood() -> None:
    # Wi of ModernBERT has 96 rows, twice the intermediate size.
    source = tiny_encoder("ModernBertForMaskedLM", tiny_tokenizer("wordpiece"), n_rows=96)
    assert any(96 in tensor.shape for name, tensor in tensors(source).items() if name.endswith("Wi.weight"))
    assert len(check_source_encoder(source).vocabulary_tensors) == 3


# --- positions, lengths, special ids, type ids ---------------------------------------------------------------------


@pytest.mark.numerics
@pytest.mark.parametrize("head", ["RobertaForMaskedLM", "XLMRobertaForMaskedLM"])
@pytest.mark.parametrize("pad_id", [0, 2, 4, 23])
def test_another_pad_id_keeps_the_position_rows_of_a_text(head: str, pad_id: int, tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer("wordpiece", pad_id=1)
    permuted = tiny_tokenizer("wordpiece", pad_id=pad_id, shuffle_seed=5)
    order = permutation(tokenizer, permuted)
    source = tiny_encoder(head, tokenizer)
    source.max_seq_length = 38
    target = transplant(source, permuted, lambda source_rows: source_rows[order], n_target=len(permuted))
    texts = (*ENGLISH_TEXTS, "home tree river " * 30)
    hidden = [
        encoder[0].model.roberta(**dict(encoder.tokenizer(list(texts[:1]), return_tensors="pt"))).last_hidden_state
        for encoder in (source, target)
    ]
    assert torch.equal(*hidden)
    torch.testing.assert_close(vectors(target, texts), vectors(source, texts)[:, order], rtol=0, atol=1e-5)
    alone = torch.cat([vectors(target, (text,)) for text in texts])
    torch.testing.assert_close(vectors(target, texts), alone, rtol=0, atol=1e-5)
    assert check_source_encoder(target).usable_positions == check_source_encoder(source).usable_positions == 38
    target.save_pretrained(str(tmp_path), create_model_card=False)
    assert_same_vectors(vectors(SparseEncoder(str(tmp_path), device="cpu"), texts), vectors(target, texts))


@over_heads
def test_lengths_are_the_source_s_and_at_most_the_usable_positions(head: str) -> None:
    tokenizer = tiny_tokenizer("wordpiece", pad_id=pad_id_for(head))
    pad_id = tokenizer.pad_token_id
    usable = MAX_POSITIONS - pad_id - 1 if head in POSITIONS_FOLLOW_PAD else MAX_POSITIONS
    source = tiny_encoder(head, tokenizer)
    assert check_source_encoder(source).usable_positions == usable
    assert tokenizer.model_max_length == 12
    for given, expected in ((9, 9), (MAX_POSITIONS, usable), (10**30, usable)):
        source.max_seq_length = given
        target = transplant(source, tokenizer, identity, n_target=len(tokenizer))
        assert target.max_seq_length == target.tokenizer.model_max_length == expected
        assert torch.isfinite(vectors(target, ("home tree river " * 30,))).all()


def test_special_ids_follow_the_target_tokenizer() -> None:
    source = tiny_encoder("ModernBertForMaskedLM", tiny_tokenizer("wordpiece"))
    source[0].config.mask_token_id = 3
    source[0].config.decoder_start_token_id = 77
    source[0].config.tokenizer_class = "BertTokenizer"
    target_tokenizer = tiny_tokenizer("unigram", language="target", pad_id=2)
    target = transplant(source, target_tokenizer, random_rows(200), n_target=200)
    config = target[0].config
    assert (config.pad_token_id, config.cls_token_id, config.sep_token_id) == (2, 0, 1)
    assert (config.bos_token_id, config.eos_token_id) == (0, 1)
    assert config.mask_token_id == target_tokenizer.mask_token_id
    assert config.decoder_start_token_id is None
    assert getattr(config, "tokenizer_class", None) is None
    assert getattr(config, "unk_token_id", None) is None
    assert target[0].model.get_input_embeddings().padding_idx == 2


def test_bos_and_eos_are_filled_by_cls_and_sep() -> None:
    source = tiny_encoder("RobertaForMaskedLM", tiny_tokenizer("bpe"))
    target_tokenizer = tiny_tokenizer("wordpiece", language="target")
    assert target_tokenizer.bos_token_id is None
    target = transplant(source, target_tokenizer, random_rows(200), n_target=200)
    config = target[0].config
    assert (config.bos_token_id, config.eos_token_id) == (target_tokenizer.cls_token_id, target_tokenizer.sep_token_id)


@over_heads
@over_families
def test_tokenizers_with_and_without_type_ids_fit_every_head(head: str, family: str) -> None:
    source = source_encoder(head, "bpe")
    target_tokenizer = tiny_tokenizer(family, language="target", pad_id=1)
    assert ("token_type_ids" in target_tokenizer("home")) == (family == "wordpiece")
    target = transplant(source, target_tokenizer, random_rows(150 + 386), n_target=150 + 386)
    assert "token_type_ids" not in target.preprocess(["home"])
    assert (vectors(target, TARGET_TEXTS) > 0).any(dim=1).all()


@pytest.mark.numerics
def test_zeros_as_type_ids_and_no_type_ids_are_the_same_to_bert() -> None:
    source = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"))
    features = source.tokenizer(list(ENGLISH_TEXTS), padding=True, return_tensors="pt")
    assert "token_type_ids" in features
    with_type_ids = source[0].model(**features).logits
    del features["token_type_ids"]
    assert torch.equal(source[0].model(**features).logits, with_type_ids)


def test_padding_is_on_the_right() -> None:
    source = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"))
    left = tiny_tokenizer("wordpiece")
    left.padding_side = "left"
    target = transplant(source, left, identity, n_target=len(left))
    torch.testing.assert_close(vectors(target), vectors(source), rtol=0, atol=1e-5)


# --- saved and loaded ----------------------------------------------------------------------------------------------


KINDS = ("tied", "untied", "router")
# Every head meets every family, each under one kind, and every kind meets every family twice.
RELOADED = [
    (head, kind, FAMILIES[(i_head + i_kind) % 3])
    for i_head, head in enumerate(HEADS)
    for i_kind, kind in enumerate(KINDS)
]
over_reloaded = pytest.mark.parametrize("case", RELOADED, ids="-".join)


@pytest.fixture(scope="module")
def reloaded(tmp_path_factory: pytest.TempPathFactory) -> dict[Any, tuple[Path, SparseEncoder, Tensor]]:
    """By case: folder, encoder before saving, and its query and document vectors in a process without sembridge."""
    root = tmp_path_factory.mktemp("reloaded")
    folders = {case: root / "-".join(case) for case in RELOADED}
    encoders = {}
    for head, kind, family in RELOADED:
        source = source_encoder(head, "bpe", kind == "tied")
        if kind == "router":
            source = tiny_inference_free(head, source.tokenizer)
        tokenizer = tiny_tokenizer(family, language="target", pad_id=pad_id_for(head), shuffle_seed=2)
        encoder = transplant(source, tokenizer, random_rows(len(tokenizer)), n_target=len(tokenizer))
        encoder.save_pretrained(str(folders[head, kind, family]), create_model_card=False)
        encoders[head, kind, family] = encoder
    encode_without_sembridge(folders.values(), TARGET_TEXTS)
    return {case: (folders[case], encoders[case], torch.load(f"{folders[case]}.pt")) for case in RELOADED}


@over_reloaded
def test_a_process_without_sembridge_loads_and_encodes_the_same(reloaded: dict[Any, Any], case: Any) -> None:
    _, encoder, found = reloaded[case]
    expected = [encoder.encode_query(list(TARGET_TEXTS)), encoder.encode_document(list(TARGET_TEXTS))]
    # The tensors are equal bit for bit (below); a process of its own may take another number of threads.
    assert_same_vectors(found, torch.stack([vector.to_dense() for vector in expected]))
    assert (found > 0).any(dim=2).sum() > len(TARGET_TEXTS)


@over_reloaded
def test_no_file_holds_the_source_vocabulary_s_size(reloaded: dict[Any, Any], case: Any) -> None:
    folder, encoder, _ = reloaded[case]
    n_source, n_target = 386, encoder.get_embedding_dimension()
    assert n_target != n_source
    for path in folder.rglob("*.json"):
        if path.name != "tokenizer.json":
            assert n_source not in numbers(json.loads(path.read_text())), path
    shapes = {}
    for path in folder.rglob("*.safetensors"):
        with safe_open(path, "pt") as file:
            shapes |= {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118 - not a dict
    assert not [name for name, shape in shapes.items() if n_source in shape]
    assert [name for name, shape in shapes.items() if n_target in shape]


@over_reloaded
def test_the_tie_state_is_kept_and_saved(reloaded: dict[Any, Any], case: Any) -> None:
    folder, encoder, _ = reloaded[case]
    # The Router's Transformer is the tiny builder's default.
    tied = case[1] != "untied"
    loaded = SparseEncoder(str(folder), device="cpu")
    for target in (encoder, loaded):
        assert check_source_encoder(target).tied is tied
        model = target.transformers_model
        assert (model.get_output_embeddings().weight is model.get_input_embeddings().weight) is tied
        assert model.config.tie_word_embeddings is tied
    assert tensors(loaded).keys() == tensors(encoder).keys()
    assert all(torch.equal(tensor, tensors(encoder)[name]) for name, tensor in tensors(loaded).items())


def numbers(value: Any) -> set[Any]:
    if isinstance(value, dict):
        return set().union(*map(numbers, value.values()))
    if isinstance(value, list):
        return set().union(*map(numbers, value))
    return {value} if isinstance(value, int) else set()


def test_a_decoder_that_the_config_wrongly_calls_tied_stays_its_own(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer("wordpiece")
    permuted = tiny_tokenizer("wordpiece", shuffle_seed=1)
    order = permutation(tokenizer, permuted)
    untied = tiny_encoder("BertForMaskedLM", tokenizer, tied=False)
    untied[0].config.tie_word_embeddings = True
    untied.save_pretrained(str(tmp_path / "source"), create_model_card=False)
    source = SparseEncoder(str(tmp_path / "source"), device="cpu")
    assert not check_source_encoder(source).tied
    target = transplant(source, permuted, lambda source_rows: source_rows[order], n_target=len(permuted))
    target.save_pretrained(str(tmp_path / "target"), create_model_card=False)
    loaded = SparseEncoder(str(tmp_path / "target"), device="cpu")
    torch.testing.assert_close(vectors(target), vectors(source)[:, order], rtol=0, atol=1e-5)
    assert_same_vectors(vectors(loaded), vectors(target))


@over_families
def test_a_tokenizer_that_its_class_would_rebuild_otherwise_is_saved_as_it_is(family: str, tmp_path: Path) -> None:
    source = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"))
    tokenizer = tiny_tokenizer(family)
    own_class = type(tokenizer)
    tokenizer.backend_tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Replace("x", "home "), normalizers.NFC()]
    )
    tokenizer.add_special_tokens({"extra_special_tokens": ["[unused0]"]})
    # The law is about something: read back by its own class the tokenizer is another one.
    tokenizer.save_pretrained(str(tmp_path / "own"))
    assert own_class.from_pretrained(str(tmp_path / "own")).tokenize("x tree") != tokenizer.tokenize("x tree")
    target = transplant(source, tokenizer, random_rows(len(tokenizer)), n_target=len(tokenizer))
    target.save_pretrained(str(tmp_path / "target"), create_model_card=False)
    loaded = SparseEncoder(str(tmp_path / "target"), device="cpu")
    for encoder in (target, loaded):
        assert (
            encoder.tokenizer("x tree [unused0]", text_target=None)["input_ids"]
            == tokenizer("x tree [unused0]")["input_ids"]
        )
        assert encoder.tokenizer.special_tokens_map == tokenizer.special_tokens_map
        assert encoder.tokenizer.all_special_ids == tokenizer.all_special_ids
    assert_same_vectors(vectors(loaded, ("x tree",)), vectors(target, ("x tree",)))


def test_a_tokenizer_class_from_outside_transformers_becomes_the_generic_one() -> None:
    class RemoteTokenizer(BertTokenizer):
        pass

    source = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"))
    tokenizer = tiny_tokenizer("wordpiece")
    tokenizer.__class__ = RemoteTokenizer
    target = transplant(source, tokenizer, identity, n_target=len(tokenizer))
    assert type(target.tokenizer) is PreTrainedTokenizerFast
    assert torch.equal(vectors(target), vectors(source))


def test_a_faithful_tokenizer_keeps_its_class() -> None:
    source = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"))
    for family in FAMILIES:
        tokenizer = tiny_tokenizer(family)
        target = transplant(source, tokenizer, random_rows(500), n_target=500)
        assert type(target.tokenizer) is type(tokenizer)


def test_the_legacy_module_is_understood(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer("wordpiece")
    tiny_encoder("DistilBertForMaskedLM", tokenizer).save_pretrained(str(tmp_path), create_model_card=False)
    source = SparseEncoder(modules=[MLMTransformer(str(tmp_path)), SpladePooling()], device="cpu")
    target = transplant(source, tokenizer, identity, n_target=len(tokenizer))
    assert torch.equal(vectors(target), vectors(source))


# --- inference-free encoders ---------------------------------------------------------------------------------------


@pytest.mark.numerics
@over_heads
@over_families
def test_static_query_weights_move_with_the_rows(head: str, family: str) -> None:
    tokenizer = tiny_tokenizer(family, pad_id=pad_id_for(head))
    permuted = tiny_tokenizer(family, pad_id=pad_id_for(head), shuffle_seed=1)
    order = permutation(tokenizer, permuted)
    source = tiny_inference_free(head, tokenizer)
    assert check_source_encoder(source).inference_free
    target = transplant(source, permuted, lambda source_rows: source_rows[order], n_target=len(permuted))
    texts = list(ENGLISH_TEXTS)
    queries, source_queries = (encoder.encode_query(texts).to_dense() for encoder in (target, source))
    documents, source_documents = (encoder.encode_document(texts).to_dense() for encoder in (target, source))
    assert torch.equal(queries, source_queries[:, order])
    torch.testing.assert_close(documents, source_documents[:, order], rtol=0, atol=1e-5)
    assert (queries > 0).any(dim=1).all()
    static, transformer = target[0].sub_modules["query"][0], target[0].sub_modules["document"][0]
    assert static.tokenizer is transformer.tokenizer
    assert (static.num_dimensions, static.max_seq_length) == (len(permuted), 30)
    assert not static.weight.requires_grad
    assert source[0].sub_modules["query"][0].tokenizer.get_vocab() == tokenizer.get_vocab()


def test_a_loaded_router_with_two_tokenizer_objects_is_understood(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer("wordpiece")
    tiny_inference_free("BertForMaskedLM", tokenizer).save_pretrained(str(tmp_path), create_model_card=False)
    source = SparseEncoder(str(tmp_path), device="cpu")
    static, transformer = source[0].sub_modules["query"][0], source[0].sub_modules["document"][0]
    assert static.tokenizer is not transformer.tokenizer
    static.tokenizer.model_max_length = 5
    target = transplant(source, tokenizer, identity, n_target=len(tokenizer))
    assert torch.equal(vectors(target, task="query"), vectors(source, task="query"))
    assert target[0].sub_modules["query"][0].tokenizer.model_max_length == 5
    assert target[0].sub_modules["document"][0].max_seq_length == 30


def test_a_transformer_that_both_routes_share_is_moved_once() -> None:
    tokenizer = tiny_tokenizer("wordpiece")
    transformer = tiny_encoder("BertForMaskedLM", tokenizer)[0]
    router = Router.for_query_document([transformer, SpladePooling()], [transformer, SpladePooling("sum")])
    source = SparseEncoder(modules=[router], device="cpu")
    calls = []
    target = transplant(source, tokenizer, lambda x: calls.append(x) or x[:91], n_target=91)
    assert len(calls) == 2
    assert target[0].sub_modules["query"][0] is target[0].sub_modules["document"][0]
    assert torch.equal(vectors(target, task="query"), vectors(source, task="query"))


# --- refusals ------------------------------------------------------------------------------------------------------


def refusal(encoder: Any) -> str:
    with pytest.raises(SembridgeError) as caught:
        check_source_encoder(encoder)
    with pytest.raises(SembridgeError) as again:
        transplant(encoder, tiny_tokenizer("wordpiece"), identity, n_target=91)
    assert str(again.value) == str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def splade() -> SparseEncoder:
    return tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"))


def test_dense_encoders_are_refused(splade: SparseEncoder) -> None:
    dense = SentenceTransformer(modules=[splade[0], Pooling(32)], device="cpu")
    assert "A SentenceTransformer was given" in refusal(dense)


def test_sparse_encoders_without_splade_pooling_are_refused(splade: SparseEncoder) -> None:
    csr = SparseEncoder(modules=[splade[0], Pooling(32), SparseAutoEncoder(32, hidden_dim=64)], device="cpu")
    assert "Pooling, SparseAutoEncoder" in refusal(csr)
    assert "is Transformer; Transformer -> SpladePooling was" in refusal(
        SparseEncoder(modules=[splade[0]], device="cpu")
    )


def test_unknown_modules_are_refused_by_name(splade: SparseEncoder) -> None:
    class OwnPooling(SpladePooling):
        pass

    assert "unknown modules (Dense)" in refusal(SparseEncoder(modules=[*splade, Dense(91, 91)], device="cpu"))
    assert "unknown modules (OwnPooling)" in refusal(SparseEncoder(modules=[splade[0], OwnPooling()], device="cpu"))


def test_static_encoders_without_documents_are_refused() -> None:
    static = SparseStaticEmbedding(tokenizer=tiny_tokenizer("wordpiece"))
    assert "The source encoder is SparseStaticEmbedding" in refusal(SparseEncoder(modules=[static], device="cpu"))
    router = Router.for_query_document([static], [static])
    assert "has 0 different Transformer modules" in refusal(SparseEncoder(modules=[router], device="cpu"))


def test_routers_whose_sides_are_not_understood_are_refused(splade: SparseEncoder) -> None:
    static = SparseStaticEmbedding(tokenizer=tiny_tokenizer("wordpiece"))
    weighted = Router.for_query_document([static], [*splade, static])
    assert "Route 'document' of the source encoder is Transformer -> SpladePooling -> Sparse" in refusal(
        SparseEncoder(modules=[weighted], device="cpu")
    )
    other = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"), seed=1)
    both = Router.for_query_document(list(other), list(splade))
    assert "has 2 different Transformer modules" in refusal(SparseEncoder(modules=[both], device="cpu"))
    router = Router.for_query_document([static], list(splade))
    assert "unknown modules (Router)" in refusal(SparseEncoder(modules=[router, SpladePooling()], device="cpu"))


def test_sides_with_different_ids_or_sizes_are_refused() -> None:
    encoder = tiny_inference_free("BertForMaskedLM", tiny_tokenizer("wordpiece"))
    static = encoder[0].sub_modules["query"][0]
    static.tokenizer = tiny_tokenizer("wordpiece", shuffle_seed=1)
    assert "tokenizers with different ids" in refusal(encoder)
    static.tokenizer = tiny_tokenizer("wordpiece")
    static.weight = torch.nn.Parameter(torch.ones(50))
    assert "Tensor 0.sub_modules.query.0.weight of the source encoder is (50,)" in refusal(encoder)


def test_unknown_heads_are_refused_by_name(splade: SparseEncoder) -> None:
    splade[0].model = BertModel(splade[0].config)
    assert "has the head BertModel" in refusal(splade)


def test_a_subclass_under_a_known_name_is_refused(splade: SparseEncoder) -> None:
    known = type(splade[0].model)
    splade[0].model.__class__ = type("BertForMaskedLM", (known,), {"__module__": "transformers_modules.remote"})
    assert "has the head BertForMaskedLM (transformers_modules.remote)" in refusal(splade)


def test_another_task_is_refused(splade: SparseEncoder) -> None:
    splade[0].transformer_task = "feature-extraction"
    assert "has the task 'feature-extraction'" in refusal(splade)


def test_adapters_are_refused(splade: SparseEncoder) -> None:
    splade[0].model._hf_peft_config_loaded = True
    assert "carries adapters" in refusal(splade)


def test_a_replaced_decoder_is_refused_by_parameter_name(splade: SparseEncoder) -> None:
    splade[0].model.cls.predictions.decoder = torch.nn.Sequential(splade[0].model.cls.predictions.decoder)
    assert "has no parameter cls.predictions.decoder.weight" in refusal(splade)


def test_a_matrix_of_other_size_is_refused_by_name(splade: SparseEncoder) -> None:
    splade[0].model.cls.predictions.bias = torch.nn.Parameter(torch.zeros(90))
    assert "Tensor 0.model.cls.predictions.bias of the source encoder is (90,)" in refusal(splade)


def test_a_tokenizer_larger_than_its_matrix_is_refused(splade: SparseEncoder) -> None:
    splade.tokenizer.add_tokens(["학교"])
    assert "tokenizer has 92 ids but its matrix has 91 rows" in refusal(splade)


def test_an_unclaimed_tensor_with_a_vocabulary_axis_is_refused_by_name(splade: SparseEncoder) -> None:
    buffered, parametrized = copy.deepcopy(splade), copy.deepcopy(splade)
    buffered[1].register_buffer("term_weights", torch.ones(91))
    assert "Tensor 1.term_weights (91,)" in refusal(buffered)
    parametrized[0].model.bert.encoder.shift = torch.nn.Parameter(torch.ones(2, 91))
    assert "Tensor 0.model.bert.encoder.shift (2, 91)" in refusal(parametrized)


def target_refusal(source: SparseEncoder, tokenizer: PreTrainedTokenizerBase, rows: Any, n_target: int) -> str:
    with pytest.raises(SembridgeError) as caught:
        transplant(source, tokenizer, rows, n_target=n_target)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_target_tokenizer_without_pad_token_is_refused(splade: SparseEncoder) -> None:
    tokenizer = tiny_tokenizer("bpe")
    tokenizer.pad_token = None
    assert "has no pad token" in target_refusal(splade, tokenizer, identity, 386)


def test_more_target_tokens_than_rows_are_refused(splade: SparseEncoder) -> None:
    assert "has 91 ids but n_target is 90" in target_refusal(splade, tiny_tokenizer("wordpiece"), identity, 90)


def test_mpnet_refuses_another_pad_id() -> None:
    source = tiny_encoder("MPNetForMaskedLM", tiny_tokenizer("wordpiece", pad_id=1))
    assert "pad token has the id 0; 1 was expected" in target_refusal(source, tiny_tokenizer("wordpiece"), identity, 91)


def test_inference_free_encoders_refuse_rows_without_tokens() -> None:
    source = tiny_inference_free("BertForMaskedLM", tiny_tokenizer("wordpiece"))
    message = target_refusal(source, tiny_tokenizer("wordpiece"), random_rows(100), 100)
    assert "n_target is 100 and the target tokenizer has 91 tokens" in message


def test_rows_of_another_shape_are_refused_by_tensor_name(splade: SparseEncoder) -> None:
    message = target_refusal(splade, tiny_tokenizer("wordpiece"), lambda x: x[:50], 91)
    assert "gave (50, 32) for tensor 0.model.bert.embeddings.word_embeddings.weight; (91, 32) was" in message


def test_rows_that_are_not_finite_are_refused_by_id(splade: SparseEncoder) -> None:
    def with_hole(source_rows: Tensor) -> Tensor:
        source_rows[17] = torch.nan
        return source_rows

    assert "target id 17 in tensor" in target_refusal(splade, tiny_tokenizer("wordpiece"), with_hole, 91)
    half = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"), dtype=torch.float16)
    # Finite in float32 and above the largest float16.
    message = target_refusal(half, tiny_tokenizer("wordpiece"), lambda x: x + 1e6, 91)
    assert "no finite torch.float16 numbers for target id 0" in message
