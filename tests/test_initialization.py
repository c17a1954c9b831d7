"""Laws of the initialisations: where target rows come from, by hand-made vocabularies and over tokenizer families."""

from __future__ import annotations

import itertools
import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from conftest import byte_level_spelling, spelled_tokenizer, write_piece
from tiny_bridge import MEANINGS, TinyBridge

from sembridge.encoders.vocabulary import TokenKind, Vocabulary, read_vocabulary
from sembridge.errors import SembridgeError
from sembridge.language_transfer.bridge import embed_texts
from sembridge.language_transfer.initialization import multivariate
from sembridge.language_transfer.initialization.evidence import (
    above_chance,
    distinctness,
    probably_right,
    prominence,
    row_margins,
)
from sembridge.language_transfer.initialization.initialize import draw_rule, initialize
from sembridge.language_transfer.initialization.inputs import Inputs
from sembridge.language_transfer.initialization.rows import Initialization, RowKind
from sembridge.language_transfer.initialization.sembridge import candidate_ids, main_script
from sembridge.language_transfer.methods import METHODS
from sembridge.language_transfer.overlap import Overlap, Vocabularies, match_vocabularies
from sembridge.language_transfer.recipe import PRESETS, TransferRecipe
from sembridge.language_transfer.sparse_matrix import SparseWeights

pytestmark = pytest.mark.numerics

DRAW_ROWS = {
    name: draw_rule(method, TransferRecipe.build({"method": name}))
    for name, method in METHODS.items()
    if method.is_drawn
}
ROLES = {"[CLS]": "cls", "[SEP]": "sep", "[PAD]": "pad", "[UNK]": "unk", "[MASK]": "mask"}


def vocabulary(*tokens: str) -> Vocabulary:
    """A WordPiece vocabulary: [CLS] and the like are special, [unused0] unused, <E4> a byte fragment, "" a hole."""

    def kind(token: str) -> TokenKind:
        if token.startswith("[unused"):
            return TokenKind.UNUSED
        if token.startswith("["):
            return TokenKind.SPECIAL
        if token.startswith("<"):
            return TokenKind.BYTES
        return TokenKind.TEXT if token else TokenKind.HOLE

    kinds = [kind(token) for token in tokens]
    texts = tuple(t.removeprefix("##") if k == TokenKind.TEXT else "" for t, k in zip(tokens, kinds, strict=True))
    return Vocabulary(
        tokens=tokens,
        texts=texts,
        starts_word=np.array([bool(text) and not t.startswith("##") for t, text in zip(tokens, texts, strict=True)]),
        kinds=np.array(kinds, dtype=np.uint8),
        roles={ROLES[token]: i for i, token in enumerate(tokens) if token in ROLES},
        byte_values={i: bytes.fromhex(t[1:-1]) for i, t in enumerate(tokens) if t.startswith("<")},
    )


def embed_by(table: Mapping[str, Sequence[float]]) -> Callable[[Sequence[str]], np.ndarray]:
    def embed(texts: Sequence[str]) -> np.ndarray:
        vectors = np.array([table[text] for text in texts], dtype=np.float64).reshape(len(texts), -1)
        return (vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)).astype(np.float32)

    return embed


def tiny_embed(**options: Any) -> Callable[[Sequence[str]], np.ndarray]:
    bridge = TinyBridge(**options)
    return lambda texts: embed_texts(bridge, list(texts))


def build(source: Vocabulary, target: Vocabulary, embed: Any = None, **settings: Any) -> Initialization:
    return initialize(inputs(source, target, TransferRecipe.build(settings), embed or tiny_embed()))


def inputs(source: Vocabulary, target: Vocabulary, recipe: TransferRecipe, embed: Any, **others: Any) -> Inputs:
    """Of vocabularies made by hand, which no tokenizer stands behind."""
    vocabularies = Vocabularies(source, target, match_vocabularies(source, target, fuzzy=recipe.fuzzy))
    tokenizers: dict[str, Any] = {"source_tokenizer": None, "target_tokenizer": None}
    return Inputs(vocabularies, recipe=recipe, bridge=embed, **{**tokenizers, **others})


def no_answer(texts: Sequence[str]) -> np.ndarray:
    raise AssertionError(f"the bridge is asked for {texts}")


def row_of(rows: Initialization, source: Vocabulary, target_id: int) -> dict[str, float]:
    """Source token -> weight of one target row."""
    start, end = rows.weights.crow_indices[target_id : target_id + 2].tolist()
    columns = rows.weights.col_indices[start:end].tolist()
    return dict(zip([source.tokens[c] for c in columns], rows.weights.values[start:end].tolist(), strict=True))


def kinds(rows: Initialization) -> list[str]:
    return [RowKind(kind).name for kind in rows.kinds.tolist()]


SOURCE = vocabulary("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[unused0]", "school", "river", "tree", "##s", "home", "<E4>")
TARGET = vocabulary("[CLS]", "[PAD]", "tree", "학교", "##강", "Home", "<E4>", "<E5>", "[unused0]", "", "[EOD]", "[UNK]")


# --- where a row comes from ----------------------------------------------------------------------------------------


def test_every_kind_of_row() -> None:
    rows = build(SOURCE, TARGET)
    assert kinds(rows) == [
        "SPECIAL", "SPECIAL", "EXACT", "COMBINED", "COMBINED", "FUZZY", "BYTE", "FALLBACK", "INERT", "INERT", "INERT",
        "SPECIAL",
    ]  # fmt: skip


@pytest.mark.parametrize("method", ["sembridge", *DRAW_ROWS])
def test_all_methods_copy_the_same_overlap(method: str) -> None:
    rows = build(SOURCE, TARGET, method=method)
    copies = {0: "[CLS]", 1: "[PAD]", 2: "tree", 5: "home", 6: "<E4>", 11: "[UNK]"}
    assert {i: row_of(rows, SOURCE, i) for i in copies} == {i: {token: 1.0} for i, token in copies.items()}
    source_rows = torch.randn(len(SOURCE), 5, generator=torch.Generator().manual_seed(0))
    built = rows.rows(source_rows)
    for target_id, token in copies.items():
        assert torch.equal(built[target_id], source_rows[SOURCE.tokens.index(token)])


@pytest.mark.parametrize("method", DRAW_ROWS)
def test_a_baseline_asks_no_bridge_and_draws_all_other_rows(method: str) -> None:
    rows = build(SOURCE, TARGET, no_answer, method=method)
    assert kinds(rows)[3:5] == ["FALLBACK", "FALLBACK"]
    assert np.isnan(rows.best_similarity).all()
    assert rows.fallback is DRAW_ROWS[method]


def test_a_role_that_the_source_lacks_falls_back_and_a_special_token_without_a_role_is_inert() -> None:
    rows = build(vocabulary("[PAD]", "[UNK]", "school", "river"), vocabulary("[PAD]", "[UNK]", "[MASK]", "[EOD]", "강"))
    assert kinds(rows) == ["SPECIAL", "SPECIAL", "FALLBACK", "INERT", "COMBINED"]


@pytest.mark.parametrize("preset", PRESETS)
def test_weights_are_positive_sum_to_one_and_are_empty_exactly_on_fallback_and_inert_rows(preset: str) -> None:
    rows = build(SOURCE, TARGET, preset=preset)
    rows.weights.validate(allow_empty_rows=True)
    empty = rows.weights.support_sizes().numpy() == 0
    assert empty.tolist() == np.isin(rows.kinds, (RowKind.FALLBACK, RowKind.INERT)).tolist()
    assert empty.sum() == 4
    assert (rows.weights.n_rows, rows.weights.n_columns) == (len(TARGET), len(SOURCE))


def test_a_vocabulary_that_is_all_overlap_needs_no_bridge_vector() -> None:
    rows = build(SOURCE, SOURCE)
    assert set(kinds(rows)) == {"SPECIAL", "EXACT", "BYTE", "INERT"}
    assert row_of(rows, SOURCE, 5) == {"school": 1.0}
    # Nor candidates.
    assert kinds(build(vocabulary("[PAD]", "a"), vocabulary("[PAD]", "a"))) == ["SPECIAL", "EXACT"]


def test_only_texts_without_markers_reach_the_bridge_and_no_overlap() -> None:
    bridge = TinyBridge()
    build(SOURCE, TARGET, lambda texts: embed_texts(bridge, list(texts)), candidates="all")
    assert sorted(bridge.asked) == sorted(["school", "river", "tree", "s", "home", "학교", "강"])


# --- the rule ------------------------------------------------------------------------------------------------------

AXES = {"one": [1, 0, 0, 0], "two": [0, 1, 0, 0], "three": [0, 0, 1, 0]}


def of_cosines(*cosines: float, **settings: Any) -> dict[str, float]:
    """The row of a target token with these cosines to the source tokens one, two, three."""
    source = vocabulary("[UNK]", *AXES)
    rest = (1 - sum(c * c for c in cosines)) ** 0.5
    rows = build(source, vocabulary("[UNK]", "하나"), embed_by(AXES | {"하나": [*cosines, rest]}), **settings)
    return row_of(rows, source, 1)


def test_alpha_2_is_sparsemax() -> None:
    # Sorted .8, .4, .1: two are inside (1 + 2 * .4 > 1.2, 1 + 3 * .1 = 1.3 is not above it); tau = (1.2 - 1) / 2 = .1.
    assert of_cosines(0.4, 0.1, 0.8, alpha=2, hub_neighbours=0) == pytest.approx({"three": 0.7, "one": 0.3}, abs=1e-6)


def test_at_alpha_4_a_gap_of_a_third_ends_the_support() -> None:
    assert set(of_cosines(0.7, 0.37, 0.0, alpha=4, hub_neighbours=0)) == {"one", "two"}
    assert of_cosines(0.7, 0.36, 0.0, alpha=4, hub_neighbours=0) == {"one": 1.0}


def test_softmax_topk_is_a_softmax_over_the_nearest() -> None:
    found = of_cosines(0.5, 0.4, 0.1, weighting="softmax-topk", top_k=2, temperature=0.1, hub_neighbours=0)
    e = np.exp(-1)
    assert found == pytest.approx({"one": 1 / (1 + e), "two": e / (1 + e)}, abs=1e-6)


def test_entries_carry_their_plain_cosines_and_rows_their_best() -> None:
    source = vocabulary("[UNK]", *AXES)
    embed = embed_by(AXES | {"하나": [0.6, 0.5, 0.1, 0.38**0.5]})
    for hub_neighbours in (0, 1):
        rows = build(source, vocabulary("[UNK]", "하나"), embed, hub_neighbours=hub_neighbours, alpha=1.5)
        found = dict(zip(rows.weights.col_indices.tolist(), rows.weights.similarities.tolist(), strict=True))
        # nan for the copied row of [UNK], and 1e-6 for the float32 term that was taken off and put back.
        assert found.pop(0) != found.get(0)
        assert found == pytest.approx({1: 0.6, 2: 0.5, 3: 0.1}, abs=1e-6)
        assert rows.best_similarity.tolist() == pytest.approx([np.nan, 0.6], abs=1e-6, nan_ok=True)


def test_below_min_similarity_a_row_falls_back() -> None:
    source, target = vocabulary("[UNK]", *AXES), vocabulary("[UNK]", "하나", "둘")
    embed = embed_by(AXES | {"하나": [0.6, 0, 0, 0.8], "둘": [0.4, 0, 0, 0.84**0.5]})
    rows = build(source, target, embed, min_similarity=0.5, hub_neighbours=0)
    assert kinds(rows) == ["SPECIAL", "COMBINED", "FALLBACK"]
    assert row_of(rows, source, 2) == {}
    rows = build(source, target, embed, min_similarity=0.3, hub_neighbours=0)
    assert kinds(rows) == ["SPECIAL", "COMBINED", "COMBINED"]


def test_a_target_token_without_a_bridge_vector_falls_back() -> None:
    rows = build(SOURCE, TARGET, tiny_embed(silent=("학교",)))
    assert kinds(rows)[3:5] == ["FALLBACK", "COMBINED"]


def test_a_source_token_without_a_bridge_vector_is_no_candidate() -> None:
    found = row_of(build(SOURCE, TARGET, tiny_embed(silent=("school",)), candidates="all"), SOURCE, 3)
    assert found
    assert "school" not in found


def test_a_bridge_that_knows_no_source_token_is_refused() -> None:
    silent = ("school", "river", "tree", "home", "s")
    with pytest.raises(SembridgeError, match="None of the 11 source tokens can lend its row: the bridge has no"):
        build(SOURCE, TARGET, tiny_embed(silent=silent))


def test_a_source_vocabulary_without_candidates_is_refused() -> None:
    with pytest.raises(SembridgeError, match="candidates"):
        build(vocabulary("[UNK]", "a", "b", "##c"), TARGET)


# --- candidates ----------------------------------------------------------------------------------------------------


def test_candidates_are_words_of_the_main_script() -> None:
    tokens = ["[PAD]", "[unused0]", "<E4>", "", "home", "##ing", "naïve", "2024", "a", "7", "中", "дом", "don't", "!!"]
    source = vocabulary(*tokens)
    assert main_script(source) == "LATIN"
    assert [tokens[i] for i in candidate_ids(source, "words")] == ["home", "##ing", "naïve", "2024"]
    assert [tokens[i] for i in candidate_ids(source, "all")] == tokens[4:]


def test_the_main_script_is_that_of_most_tokens() -> None:
    assert main_script(vocabulary("дом", "река", "home", "12", "34", "56")) == "CYRILLIC"
    assert main_script(vocabulary("12", "[PAD]")) == "LATIN"


def family_vocabulary(family: str, pieces: Sequence[str], raw: Sequence[bytes] = ()) -> Vocabulary:
    """`pieces` in the family's spelling, two unused tokens, and byte fragments where the family has them."""
    tokens = [*(write_piece(family, piece) for piece in pieces), "[unused1]", "<extra_id_5>"]
    tokens += [byte_level_spelling(value) for value in raw] if family == "byte-level" else []
    return read_vocabulary(spelled_tokenizer(family, tokens))


@pytest.mark.parametrize("preset", PRESETS)
def test_special_unused_and_byte_tokens_are_in_no_support(family: str, preset: str) -> None:
    fragments = [b"\xed\x95", b" \xed", b"\xa4"]
    source = family_vocabulary(family, [" home", "home", " school", " river"], fragments)
    target = family_vocabulary(family, [" 학교", " 집", "강", " home", " книга", "ж"], [b"\xed\x95", b"\xea"])
    rows = build(source, target, preset=preset)
    combined = torch.from_numpy(rows.kinds == RowKind.COMBINED)[rows.weights.row_ids()]
    assert kinds(rows).count("COMBINED") == 5
    found = {int(i) for i in rows.weights.col_indices[combined]}
    assert {TokenKind(source.kinds[i]) for i in found} == {TokenKind.TEXT}
    assert all(source.texts[i] in ("home", "school", "river") for i in found)


def test_a_byte_fragment_is_copied_by_identity_or_falls_back() -> None:
    source = family_vocabulary("byte-level", [" home", " school"], [b"\xed\x95", b"\xed"])
    target = family_vocabulary("byte-level", [" 학교"], [b"\xed\x95", b"\xea\xb0"])
    rows = build(source, target)
    assert kinds(rows)[-2:] == ["BYTE", "FALLBACK"]
    assert list(row_of(rows, source, len(target) - 2)) == [byte_level_spelling(b"\xed\x95")]


# --- twins ---------------------------------------------------------------------------------------------------------


def test_twins_share_no_support_and_the_one_with_the_right_word_start_is_taken(family: str) -> None:
    source = family_vocabulary(family, ["home", " Home", " home", "school", " school", " HOUSE"])
    target = family_vocabulary(family, [" 집", "집", " 학교", "학교"])
    rows = build(source, target, hub_neighbours=0)
    first = len(target) - 6
    for offset, text, starts_word in ((0, "home", True), (1, "home", False), (2, "school", True), (3, "school", False)):
        start, end = rows.weights.crow_indices[first + offset : first + offset + 2].tolist()
        columns = rows.weights.col_indices[start:end].tolist()
        assert bool(target.starts_word[first + offset]) is starts_word
        folded = [source.texts[c].casefold() for c in columns]
        assert len(set(folded)) == len(folded)
        best = columns[int(rows.weights.values[start:end].argmax())]
        assert (source.texts[best], bool(source.starts_word[best])) == (text, starts_word)
        # HOUSE has one form, so it is taken whatever the flag.
        assert {c for c in columns if source.starts_word[c] != starts_word} <= {list(source.texts).index("HOUSE")}


def test_of_case_variants_the_lower_case_one_stands_for_the_text() -> None:
    source = vocabulary("[UNK]", "HOME", "Home", "home", "##Home")
    target = vocabulary("[UNK]", "집", "##집")
    rows = build(source, target)
    assert row_of(rows, source, 1) == {"home": 1.0}
    assert row_of(rows, source, 2) == {"##Home": 1.0}


def test_the_paper_preset_lets_twins_share_the_support() -> None:
    source = vocabulary("[UNK]", "home", "##home", "river")
    rows = build(source, vocabulary("[UNK]", "집"), preset="paper")
    assert row_of(rows, source, 1) == pytest.approx({"home": 0.5, "##home": 0.5})


# --- hubs ----------------------------------------------------------------------------------------------------------


def hub_case() -> tuple[Vocabulary, Vocabulary, Any]:
    """Twelve target tokens at cosine .8 to `hub` and .7 to a source token of their own; .2 to the other ones."""
    names = ["".join(pair) for pair in itertools.islice(itertools.product(string.ascii_lowercase, repeat=2), 12)]
    source, target = vocabulary("[UNK]", "hub", *names), vocabulary("[UNK]", *(f"강{i}" for i in range(12)))
    axes = np.eye(1 + 12 + 12)
    own = (0.7 - 0.8 * 0.25) / 0.6
    table = {"hub": axes[0]}
    for i, name in enumerate(names):
        table[f"강{i}"] = 0.8 * axes[0] + 0.6 * axes[1 + i]
        table[name] = 0.25 * axes[0] + own * axes[1 + i] + (1 - 0.25**2 - own**2) ** 0.5 * axes[13 + i]
    return source, target, embed_by(table)


def test_hub_correction_takes_a_hub_out_of_the_support() -> None:
    source, target, embed = hub_case()
    plain = build(source, target, embed, hub_neighbours=0)
    corrected = build(source, target, embed, hub_neighbours=10)
    for i in range(1, 13):
        own = source.tokens[i + 1]
        found = row_of(plain, source, i)
        assert found["hub"] > found[own] > 0
        # Less its mean to ten targets the hub is at 0, the own token at .7 - (.7 + 9 * .2) / 10 = .45: beyond 1/3.
        assert row_of(corrected, source, i) == {own: 1.0}
    assert corrected.best_similarity[1:] == pytest.approx([0.7] * 12, abs=1e-6)


def test_more_hub_neighbours_than_target_tokens_means_all_of_them() -> None:
    source, target, embed = hub_case()
    many, all_ = (build(source, target, embed, hub_neighbours=n, alpha=1.5).weights for n in (500, 12))
    assert torch.equal(many.col_indices, all_.col_indices)
    assert torch.equal(many.values, all_.values)


# --- evidence ------------------------------------------------------------------------------------------------------


def bridged_case(*, n_true: int, n_false: int, noise: float = 0.0) -> tuple[Vocabulary, Vocabulary, Any]:
    """Target words, the first `n_true` of which lie where their source word lies; the others lie anywhere.

    Letters are in each other's order, so word i is that of source word i. `noise` moves true words i times as far as
    the first.
    """
    n = n_true + n_false
    names = ["".join(letters) for letters in itertools.islice(itertools.product(string.ascii_lowercase, repeat=3), n)]
    words = [chr(0xAC00 + i) for i in range(n)]
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(2 * n, 64))
    away = noise * np.arange(n_true)[:, None] / max(n_true, 1)
    vectors[n : n + n_true] = vectors[:n_true] + away * vectors[n : n + n_true]
    return (
        vocabulary("[UNK]", *names),
        vocabulary("[UNK]", *words, "<E4>", "<E5>"),
        embed_by(dict(zip([*names, *words], vectors, strict=True))),
    )


def source_matrices(n_source: int) -> list[torch.Tensor]:
    """Rows, and a bias."""
    generator = torch.Generator().manual_seed(3)
    rows = torch.randn(n_source, 12, generator=generator) @ torch.randn(12, 12, generator=generator)
    return [rows + 0.5, torch.randn(n_source, 1, generator=generator) - 2]


def test_with_a_perfect_bridge_default_is_the_paper() -> None:
    source, target, embed = bridged_case(n_true=400, n_false=0)
    # The paper does not say how rows without any similarity are drawn, so that setting is the same on both sides.
    default = build(source, target, embed, fallback="mean")
    paper = build(source, target, embed, preset="paper", fallback="mean")
    combined = default.kinds == RowKind.COMBINED
    assert combined.sum() == 400
    assert default.trust[combined].tolist() == [1.0] * 400
    assert default.confidence[combined].min() > 0.9
    for matrix in source_matrices(len(source)):
        found = default.rows(matrix)
        assert torch.equal(found, paper.rows(matrix))
        assert torch.equal(found[1:401], matrix[1:401])  # and the truth


@pytest.mark.parametrize("hub_neighbours", [0, 10])
def test_with_a_random_bridge_default_is_the_gaussian(hub_neighbours: int) -> None:
    source, target, embed = bridged_case(n_true=0, n_false=400)
    default = build(source, target, embed, hub_neighbours=hub_neighbours)
    gaussian = build(source, target, method="multivariate")
    assert (default.kinds == RowKind.COMBINED).sum() == 400
    combined = default.kinds == RowKind.COMBINED
    assert default.trust[combined].tolist() == default.confidence[combined].tolist() == [0.0] * 400
    for matrix in source_matrices(len(source)):
        assert torch.equal(default.rows(matrix), gaussian.rows(matrix))


@pytest.mark.parametrize("figure", ["trust", "confidence"])
def test_trust_and_confidence_tell_true_from_false_answers(figure: str) -> None:
    source, target, embed = bridged_case(n_true=200, n_false=200)
    found = getattr(build(source, target, embed), figure)
    assert np.isnan(found[[0, 401, 402]]).all()  # a copy and two fallbacks
    assert found[1:201].min() > (0.9 if figure == "confidence" else 0.9999)  # nothing measured is certain
    # Half of all scores are no better than chance, and there the answer is no, up to the noise of 200 tokens.
    assert found[201:401].mean() < 0.05


def test_without_evidence_and_with_few_tokens_every_row_is_trusted() -> None:
    source, target, embed = bridged_case(n_true=0, n_false=99)
    few, off = (build(source, target, embed, evidence=evidence, residual=0.0) for evidence in (True, False))
    assert few.trust[1:100].tolist() == few.confidence[1:100].tolist() == [1.0] * 99
    assert off.trust is off.confidence is None
    for matrix in source_matrices(len(source)):
        assert torch.equal(few.rows(matrix), off.rows(matrix))


def test_a_fully_trusted_row_draws_its_residual() -> None:
    source, target, embed = bridged_case(n_true=99, n_false=0)
    settings = {"evidence": False, "fallback": "mean"}
    plain, found = (build(source, target, embed, **settings, residual=share) for share in (0.0, 0.3))
    matrix, _ = source_matrices(len(source))
    centre = matrix[source.text_ids].mean(0)  # mean rows have nothing of their own: the combination's share is left
    expected = centre + 0.7**0.5 * (plain.rows(matrix)[1:100] - centre)
    torch.testing.assert_close(found.rows(matrix)[1:100], expected)


def test_with_evidence_a_token_that_is_its_source_token_to_the_bridge_draws_nothing() -> None:
    source, target, embed = bridged_case(n_true=99, n_false=0, noise=0.5)
    settings = {"merge_twins": True, "hub_neighbours": 0, "fallback": "mean"}
    plain, found = (build(source, target, embed, **settings, residual=share) for share in (0.0, 0.4))
    matrix, _ = source_matrices(len(source))
    centre = matrix[source.text_ids].mean(0)  # mean rows have nothing of their own: the combination's share is left
    kept = ((found.rows(matrix) - centre).norm(dim=1) / (plain.rows(matrix) - centre).norm(dim=1))[1:100]
    assert found.best_similarity[1] > 0.9999 > found.best_similarity[10:100].max()
    assert kept[0] == 1
    assert kept[10:].numpy() == pytest.approx(np.full(89, 0.6**0.5), abs=1e-5)


def test_above_chance_never_falls_as_the_score_rises() -> None:
    generator = np.random.default_rng(0)
    by_chance = generator.normal(size=2000)
    scores = np.concatenate([generator.normal(size=3000), generator.normal(3, 1, size=3000)])
    found = above_chance(scores, by_chance)
    assert (np.diff(found[np.argsort(scores)]) >= 0).all()
    # Densities: f0 = N(0, 1), f = (N(0, 1) + N(3, 1)) / 2, so f0 / f is 2 / (1 + exp(3 z - 4.5)).
    for z in (1.8, 2.2, 3.0):
        expected = 1 - min(1, 2 / (1 + np.exp(3 * z - 4.5)))
        assert found[np.abs(scores - z) < 0.05].mean() == pytest.approx(expected, abs=0.12)  # a few hundred scores


def test_a_row_stands_out_by_its_margin_over_the_runner_up() -> None:
    by_chance = -np.log(np.linspace(1, 1e-4, 10_000))  # falls off with scale 1
    found = distinctness(np.array([0.0, 1.0, np.inf], np.float32), by_chance)
    e = np.exp(1)
    assert found == pytest.approx([1 / 2, e / (e + 1), 1], abs=1e-2)
    weights = SparseWeights.from_rows(
        2, torch.tensor([0, 0, 0, 1]), torch.tensor([0, 1, 2, 1]), torch.tensor([0.2, 0.5, 0.3, 1.0]),
        torch.tensor([0.1, 0.6, 0.4, 0.7]), 3,
    )  # fmt: skip
    assert row_margins(weights) == pytest.approx([0.2, np.inf])


def test_confidence_asks_how_far_the_best_stands_above_all_around_it() -> None:
    by_chance = -np.log(np.linspace(1, 1e-4, 10_000))  # falls off with scale 1
    alone, among_forms = [[9.0] + [0.0] * 10], [[9.0] + [8.0] + [0.0] * 9]
    found = prominence(np.array([*alone, *among_forms, [3.0] * 11], np.float32), by_chance)
    assert found == pytest.approx([9, 8.2, 0], rel=1e-2)  # another form of the same word beside it costs little
    assert np.isinf(prominence(np.ones((2, 1), np.float32), by_chance)).all()  # nothing is around it
    shares = probably_right(np.array([0.0, 5.0, 20.0, np.inf], np.float32))
    assert (np.diff(shares) > 0).all()
    assert shares[0] < 0.02
    assert shares[2:].min() > 0.9


# --- combining rows ------------------------------------------------------------------------------------------------


def combined_case(**settings: Any) -> tuple[Initialization, np.ndarray]:
    """A row of weights .7 and .3, and its (4,) weights."""
    source = vocabulary("[UNK]", *AXES)
    embed = embed_by(AXES | {"하나": [0.4, 0.1, 0.8, 0.19**0.5]})
    settings = {"alpha": 2, "hub_neighbours": 0, "residual": 0.0} | settings
    rows = build(source, vocabulary("[UNK]", "하나"), embed, **settings)
    return rows, np.array([0.0, 0.3, 0.0, 0.7])


SOURCE_ROWS = torch.tensor([[9.0, 9.0], [2.0, 0.0], [7.0, 7.0], [0.0, 5.0]])


def test_a_combined_row_is_the_weighted_sum_of_its_source_rows() -> None:
    rows, weights = combined_case()
    found = rows.rows(SOURCE_ROWS)[1]
    torch.testing.assert_close(found, torch.tensor([0.6, 3.5]), rtol=0, atol=1e-6)
    np.testing.assert_allclose(found, weights @ SOURCE_ROWS.numpy(), atol=1e-6)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_decoder_bias_goes_through_the_weights_unscaled(preset: str) -> None:
    rows = combined_case(preset=preset)[0]
    found = rows.rows(torch.tensor([[1.0], [-2.0], [7.0], [0.5]]))
    torch.testing.assert_close(found, torch.tensor([[1.0], [0.3 * -2 + 0.7 * 0.5]]), rtol=0, atol=1e-6)


def test_rows_do_not_change_their_argument_and_are_float32() -> None:
    rows = build(SOURCE, TARGET)
    source_rows = torch.randn(len(SOURCE), 4, dtype=torch.bfloat16)
    before = source_rows.clone()
    assert rows.rows(source_rows).dtype == torch.float32
    assert torch.equal(source_rows, before)


@pytest.mark.parametrize(("bias", "expected"), [([-3.0, 1.0], -3.0), ([1.0, 2.0], 0.0)])
def test_an_inert_row_is_zero_under_a_bias_that_cannot_fire(bias: list[float], expected: float) -> None:
    rows = build(SOURCE, TARGET)
    inert = torch.from_numpy(rows.kinds == RowKind.INERT)
    assert rows.rows(torch.randn(len(SOURCE), 4))[inert].abs().max() == 0
    source_bias = torch.tensor([bias[0]] + [bias[1]] * (len(SOURCE) - 1))[:, None]
    assert rows.rows(source_bias)[inert].tolist() == [[expected]] * 3


# --- drawn rows ----------------------------------------------------------------------------------------------------


def correlated_rows() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    mixing = torch.tensor([[2.0, 0.0, 0.0], [1.0, 0.5, 0.0], [-1.0, 0.3, 0.1]])
    return torch.randn(300, 3, generator=generator) @ mixing.T + torch.tensor([5.0, -1.0, 0.0])


def test_multivariate_rows_have_mean_and_covariance_of_the_source_rows() -> None:
    source_rows, n = correlated_rows(), 40_000
    drawn = multivariate.draw(source_rows, n, torch.Generator().manual_seed(2))
    mean, covariance = source_rows.mean(0), source_rows.T.cov()
    # Five standard errors: of a mean sqrt(C_ii / n), of a covariance sqrt((C_ii C_jj + C_ij^2) / n).
    variance = covariance.diag()
    assert ((drawn.mean(0) - mean).abs() < 5 * (variance / n).sqrt()).all()
    errors = ((variance[:, None] * variance + covariance**2) / n).sqrt()
    assert ((drawn.T.cov() - covariance).abs() < 5 * errors).all()


def test_the_scale_of_the_covariance_leaves_the_mean() -> None:
    source_rows = correlated_rows()
    drawn = multivariate.draw(source_rows, 4_000, torch.Generator().manual_seed(2), covariance_scale=1e-5)
    assert (drawn - source_rows.mean(0)).norm(dim=1).max() < 0.05
    ratio = drawn.T.cov().trace() / source_rows.T.cov().trace()
    # A variance from 4,000 draws has a standard error of sqrt(2 / 4000) = 2.2 %.
    assert float(ratio) == pytest.approx(1e-5, rel=0.12)


def test_fewer_rows_than_dimensions_draw_within_their_span() -> None:
    source_rows = torch.randn(3, 6, generator=torch.Generator().manual_seed(3))
    drawn = multivariate.draw(source_rows, 50, torch.Generator().manual_seed(4)) - source_rows.mean(0)
    basis = torch.linalg.qr((source_rows - source_rows.mean(0)).T[:, :2]).Q
    # float32 in and out.
    assert (drawn - drawn @ basis @ basis.T).abs().max() < 1e-5


def test_univariate_dimensions_are_independent() -> None:
    source_rows = torch.tensor([[1.0, 10.0, 2.0], [3.0, 10.0, 4.0]])
    drawn = DRAW_ROWS["univariate"](source_rows, 10_000, torch.Generator().manual_seed(5))
    assert torch.equal(drawn[:, 1], torch.full((10_000,), 10.0))
    # Means 2 and 3, deviation sqrt(2); five standard errors of 10,000 draws.
    assert ((drawn.mean(0) - torch.tensor([2.0, 10.0, 3.0])).abs() <= 5 * 2**0.5 / 100).all()
    assert ((drawn.std(0)[[0, 2]] - 2**0.5).abs() < 5 * 2**0.5 / 20_000**0.5).all()
    # The source dimensions are copies of each other, the drawn ones are not: |r| is about 1 / 100.
    assert abs(float(torch.corrcoef(drawn[:, [0, 2]].T)[0, 1])) < 0.05


def test_random_rows_know_nothing_of_the_source_rows() -> None:
    drawn = [
        DRAW_ROWS["random"](rows, 10_000, torch.Generator().manual_seed(6)) for rows in (SOURCE_ROWS, SOURCE_ROWS * 9)
    ]
    assert torch.equal(*drawn)
    assert abs(float(drawn[0].mean())) < 5 * 0.02 / 20_000**0.5
    assert float(drawn[0].std()) == pytest.approx(0.02, rel=5 / 40_000**0.5)


@pytest.mark.parametrize("method", ["random", "univariate", "multivariate"])
def test_drawn_static_weights_stay_within_the_source_weights(method: str) -> None:
    source = vocabulary("[UNK]", *(f"word{letter}" for letter in string.ascii_lowercase))
    target = vocabulary("[UNK]", *(f"слово{i}" for i in range(200)))
    idf = torch.cat([torch.full((26, 1), 0.1), torch.full((1, 1), 9.0)])  # skewed: a Gaussian goes below zero
    drawn = build(source, target, method=method).rows(idf)
    assert drawn.min() >= idf.min()
    assert drawn.max() <= idf.max()


def test_mean_rows_are_the_mean_of_the_text_rows() -> None:
    source_rows = torch.full((len(SOURCE), 2), 1000.0)  # special, unused and byte rows count nothing
    for i, row in zip(SOURCE.text_ids, ([1, 2], [3, 4], [5, 6], [7, 8], [9, 10]), strict=True):
        source_rows[i] = torch.tensor(row, dtype=torch.float32)
    rows = build(SOURCE, TARGET, method="mean")
    found = rows.rows(source_rows)[rows.kinds == RowKind.FALLBACK]
    assert found.tolist() == [[5.0, 6.0]] * 3


@pytest.mark.parametrize("method", ["random", "univariate", "multivariate"])
def test_the_seed_decides_over_drawn_rows_and_over_nothing_else(method: str) -> None:
    source_rows = torch.randn(len(SOURCE), 4, generator=torch.Generator().manual_seed(0))
    settings = {"fallback": method, "residual": 0.0}
    first, again, other = (build(SOURCE, TARGET, **settings, seed=seed).rows(source_rows) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    changed = [i for i in range(len(TARGET)) if not torch.equal(first[i], other[i])]
    assert changed == [TARGET.tokens.index("<E5>")]
    torch.manual_seed(5)
    before = torch.get_rng_state()
    build(SOURCE, TARGET, method=method).rows(source_rows)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_a_residual_moves_combined_rows_only_and_in_shares_of_variance(share: float) -> None:
    source_rows = torch.randn(len(SOURCE), 4, generator=torch.Generator().manual_seed(0))
    plain = build(SOURCE, TARGET, fallback="mean", residual=0.0).rows(source_rows)
    found = build(SOURCE, TARGET, fallback="mean", residual=share).rows(source_rows)
    combined = torch.from_numpy(build(SOURCE, TARGET).kinds == RowKind.COMBINED)
    assert torch.equal(found[~combined], plain[~combined])
    # Mean rows have nothing of their own: what is left is the share of the combination.
    centre = source_rows[SOURCE.text_ids].mean(0)
    torch.testing.assert_close(found[combined], centre + (1 - share) ** 0.5 * (plain[combined] - centre))


def test_a_residual_keeps_the_spread_of_the_rows_and_the_bias() -> None:
    source, target, embed = large_case(400, 300)
    source_rows = correlated_rows().repeat(3, 1)[: len(source)] @ torch.randn(
        3, 8, generator=torch.Generator().manual_seed(0)
    )
    settings = {"hub_neighbours": 0, "alpha": 50.0}  # about one source row each: no shrinking
    plain, mixed = (build(source, target, embed, **settings, residual=share) for share in (0.0, 0.5))
    combined = torch.from_numpy(plain.kinds == RowKind.COMBINED)
    variances = [rows.rows(source_rows)[combined].var(0).sum() for rows in (plain, mixed)]
    # Two sample variances of 300 rows of three free dimensions: each has a standard error of about 5 %.
    assert float(variances[1]) == pytest.approx(float(variances[0]), rel=0.3)
    bias = torch.randn(len(source), 1)
    assert torch.equal(mixed.rows(bias)[combined], plain.rows(bias)[combined])


# --- what must leave no trace --------------------------------------------------------------------------------------


def large_case(n_source: int = 3000, n_target: int = 700) -> tuple[Vocabulary, Vocabulary, Any]:
    """Clustered random vectors for words of letters; several blocks of similarities at the smallest budget."""
    letters = itertools.product(string.ascii_lowercase, repeat=3)
    source_words = ["".join(next(letters)) for _ in range(n_source)]
    target_words = [chr(0xAC00 + i) + chr(0xAC00 + 7 * i) for i in range(n_target)]
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(60, 16))
    words = [*source_words, *target_words]
    vectors = centres[generator.integers(0, 60, len(words))] + 0.4 * generator.normal(size=(len(words), 16))
    twins = [f"##{word}" for word in source_words[:500]]
    source = vocabulary("[UNK]", *source_words, *twins)
    target = vocabulary("[UNK]", *target_words, "<E4>", "<E5>", "<E6>")
    return source, target, embed_by(dict(zip(words, vectors, strict=True)))


def reordered(given: Vocabulary, order: np.ndarray) -> Vocabulary:
    ids = order.tolist()
    place = {old: new for new, old in enumerate(ids)}
    return Vocabulary(
        tokens=tuple(given.tokens[i] for i in ids),
        texts=tuple(given.texts[i] for i in ids),
        starts_word=given.starts_word[order],
        kinds=given.kinds[order],
        roles={role: place[i] for role, i in given.roles.items()},
        byte_values={place[i]: value for i, value in given.byte_values.items()},
    )


def dense(rows: Initialization) -> torch.Tensor:
    w = rows.weights
    return torch.sparse_csr_tensor(w.crow_indices, w.col_indices, w.values, (w.n_rows, w.n_columns)).to_dense()


@pytest.mark.parametrize("preset", PRESETS)
def test_memory_budget_and_threads_leave_no_trace(preset: str) -> None:
    source, target, embed = large_case()
    reference = build(source, target, embed, preset=preset).weights
    threads = torch.get_num_threads()
    try:
        for budget, n_threads in ((16, 1), (64, 2), (1024, 3)):
            torch.set_num_threads(n_threads)
            found = build(source, target, embed, preset=preset, memory_budget_mb=budget).weights
            for name in ("crow_indices", "col_indices", "values"):
                assert torch.equal(getattr(found, name), getattr(reference, name)), name
            assert torch.equal(found.similarities.nan_to_num(9), reference.similarities.nan_to_num(9))
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_new_order_of_both_vocabularies_only_reorders_the_weights(preset: str) -> None:
    source, target, embed = large_case()
    reference = dense(build(source, target, embed, preset=preset))
    generator = np.random.default_rng(1)
    source_order, target_order = generator.permutation(len(source)), generator.permutation(len(target))
    found = build(reordered(source, source_order), reordered(target, target_order), embed, preset=preset)
    assert torch.equal(dense(found), reference[target_order][:, source_order])


def test_a_new_order_of_both_vocabularies_only_reorders_the_rows() -> None:
    source, target, embed = large_case(400, 60)
    generator = np.random.default_rng(1)
    source_order, target_order = generator.permutation(len(source)), generator.permutation(len(target))
    source_rows = torch.randn(len(source), 5, generator=torch.Generator().manual_seed(0))
    reference = build(source, target, embed).rows(source_rows)
    found = build(reordered(source, source_order), reordered(target, target_order), embed).rows(
        source_rows[source_order]
    )
    # Weighted sums and statistics run in another order: a few units in the last place.
    torch.testing.assert_close(found, reference[target_order], rtol=0, atol=1e-5)


# --- guards --------------------------------------------------------------------------------------------------------


def test_the_tiny_bridge_places_translations_together() -> None:
    vectors = {word: tiny_embed()([word])[0] for word in MEANINGS}
    for english, korean, russian in (("school", "학교", "школа"), ("river", "강", "река"), ("book", "책", "книга")):
        assert min(vectors[english] @ vectors[korean], vectors[english] @ vectors[russian]) > 0.95
        assert vectors["city"] @ vectors[korean] < 0.3


def test_an_overlap_of_the_reader_fits_the_hand_made_vocabularies() -> None:
    overlap = match_vocabularies(SOURCE, TARGET)
    assert isinstance(overlap, Overlap)
    assert overlap.target_ids.tolist() == [0, 1, 2, 5, 6, 11]
