"""Laws of FOCUS, OFA and WECHSEL: hand-computed rows, rows of the authors' packages, and what must leave no trace."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import spelled_tokenizer
from test_initialization import dense, inputs, kinds, no_answer, row_of, vocabulary
from tiny import tiny_encoder
from transformers import PreTrainedTokenizerFast

from sembridge.encoders.vocabulary import read_vocabulary
from sembridge.errors import SembridgeError
from sembridge.files.word_pairs import read_dictionary
from sembridge.language_transfer.assembly import transfer
from sembridge.language_transfer.initialization import focus, multivariate
from sembridge.language_transfer.initialization.initialize import build_rows, initialize
from sembridge.language_transfer.initialization.rows import Initialization, PlacedTokens, combine_nearest
from sembridge.language_transfer.initialization.wechsel import alignment, frequencies
from sembridge.language_transfer.initialization.word_vectors import (
    FastTextSettings,
    WordVectors,
    read_word_vectors,
    subword_vectors,
)
from sembridge.language_transfer.methods import METHODS
from sembridge.language_transfer.recipe import PRESETS, TransferRecipe

gensim_models = pytest.importorskip("gensim.models", reason="extra baselines")

ORACLES = Path(__file__).parent / "oracles"
ENGLISH = ["home", "school", "river", "tree", "book", "2024", "seoul", "##s", "green"]
KOREAN = ["학교", "##에서", "강", "나무", "책", "2024", "seoul", "Home", "##s", "없다"]
KOREAN_TEXT = [
    "학교에서 책 2024", "seoul 학교 나무", "강 나무 2024 seoul", "Home 책 강", "나무 학교에서 seoul Home",
    "2024 강 책 학교", "Home 나무 seoul 2024",
]  # fmt: skip


@pytest.fixture
def korean(tmp_path: Path) -> dict[str, Path]:
    """Every file that a baseline reads, for KOREAN."""
    draw = np.random.default_rng(0)
    english = ["school", "home", "river", "tree", "book", "schools", "seoul", "trees", "green", "2024"]
    target = ["학교", "책", "학교에서", "강", "나무", "seoul", "2024", "책에서"]
    pairs = [("school", "학교"), ("book", "책"), ("river", "강"), ("tree", "나무"), ("sky", "하늘")]
    files = {
        "target_text": text_file(tmp_path / "text.txt", KOREAN_TEXT * 6),
        "word_vectors": word2vec_file(tmp_path / "ko.vec", dict(zip(target, draw.normal(size=(8, 4)), strict=True))),
        "source_word_vectors": word2vec_file(
            tmp_path / "en.vec", dict(zip(english, draw.normal(size=(10, 4)), strict=True))
        ),
        "dictionary": text_file(tmp_path / "dictionary.tsv", ["\t".join(pair) for pair in pairs]),
    }
    return {name: path.rename(path) for name, path in files.items()}


def text_file(path: Path, lines: Sequence[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def word2vec_file(path: Path, vectors: Mapping[str, Sequence[float]]) -> Path:
    width = len(next(iter(vectors.values())))
    lines = [f"{word} {' '.join(str(float(x)) for x in vector)}" for word, vector in vectors.items()]
    return text_file(path, [f"{len(vectors)} {width}", *lines])


def wordpiece(tokens: Sequence[str]) -> PreTrainedTokenizerFast:
    return spelled_tokenizer("wordpiece", tokens)


def build(
    tmp_path: Path, files: Mapping[str, Path], *, source: Sequence[str] = ENGLISH, target: Sequence[str] = KOREAN,
    **settings: Any,
) -> Initialization:  # fmt: skip
    recipe = TransferRecipe.build({**files, **settings})
    recipe.check_files()
    given = dict(zip(("source_tokenizer", "target_tokenizer"), map(wordpiece, (source, target)), strict=True))
    vocabularies = map(read_vocabulary, given.values())
    return initialize(inputs(*vocabularies, recipe, no_answer, **given, cache_folder=tmp_path / "cache"))


def named_rows(rows: Initialization, source: Sequence[str], target: Sequence[str]) -> dict[str, dict[str, float]]:
    """Target token -> source token -> weight."""
    vocabulary_ = read_vocabulary(wordpiece(source))
    return {token: row_of(rows, vocabulary_, i) for i, token in enumerate(target, start=5)}


over_methods = pytest.mark.parametrize("method", [name for name, method in METHODS.items() if method.files])


# --- what every baseline shares with the other methods -------------------------------------------------------------


@over_methods
def test_a_baseline_copies_the_overlap_bit_for_bit(method: str, tmp_path: Path, korean: dict[str, Path]) -> None:
    rows = build(tmp_path, korean, method=method)
    source_rows = torch.randn(len(ENGLISH) + 5, 6, generator=torch.Generator().manual_seed(0))
    built = rows.rows(source_rows)
    for token, copied in {"2024": "2024", "seoul": "seoul", "Home": "home", "##s": "##s"}.items():
        assert torch.equal(built[5 + KOREAN.index(token)], source_rows[5 + ENGLISH.index(copied)])
    assert torch.equal(built[:5], source_rows[:5])


@over_methods
def test_weights_are_positive_and_sum_to_one_and_no_vector_means_fallback(
    method: str, tmp_path: Path, korean: dict[str, Path]
) -> None:
    rows = build(tmp_path, korean, method=method)
    rows.weights.validate(allow_empty_rows=True)
    found = dict(zip(KOREAN, kinds(rows)[5:], strict=True))
    assert found.pop("없다") == "FALLBACK"
    assert {token for token, kind in found.items() if kind == "COMBINED"} == {"학교", "##에서", "강", "나무", "책"}
    assert np.isfinite(rows.best_similarity[[5, 6, 7, 8, 9]]).all()
    assert np.isnan(rows.best_similarity[5 + KOREAN.index("없다")])


@pytest.mark.numerics
@over_methods
def test_a_new_order_of_both_vocabularies_only_reorders_the_weights(
    method: str, tmp_path: Path, korean: dict[str, Path]
) -> None:
    reference = build(tmp_path, korean, method=method)
    draw = np.random.default_rng(2)
    source_order, target_order = draw.permutation(len(ENGLISH)), draw.permutation(len(KOREAN))
    found = build(
        tmp_path / "again", korean, method=method,
        source=[ENGLISH[i] for i in source_order], target=[KOREAN[i] for i in target_order],
    )  # fmt: skip
    assert torch.equal(dense(found)[5:, 5:], dense(reference)[5:, 5:][target_order][:, source_order])


@pytest.mark.numerics
@over_methods
def test_the_memory_budget_leaves_no_trace(method: str) -> None:
    draw = np.random.default_rng(3)
    placed = random_places(draw, n_source=3000, n_target=1500)
    rule = focus.Entmax(2.0) if method == "focus" else placed.rule
    source = vocabulary("[UNK]", *(f"a{i}" for i in range(3000)))
    target = vocabulary("[UNK]", *(f"я{i}" for i in range(1500)))
    results = []
    for budget in (16, 512):
        recipe = TransferRecipe.build({"method": method, "memory_budget_mb": budget})
        given = PlacedTokens(**{**vars(placed), "rule": rule})
        results.append(combine_nearest(given, inputs(source, target, recipe, no_answer)).weights)
    assert torch.equal(results[0].values, results[1].values)
    assert torch.equal(results[0].col_indices, results[1].col_indices)


def random_places(draw: np.random.Generator, *, n_source: int, n_target: int) -> PlacedTokens:
    return PlacedTokens(
        target_ids=np.arange(1, n_target + 1),
        target_vectors=draw.normal(size=(n_target, 8)).astype(np.float32),
        source_ids=np.arange(1, n_source + 1),
        source_vectors=draw.normal(size=(n_source, 8)).astype(np.float32),
        source_names=[f"a{i}" for i in range(n_source)],
        rule=focus.Entmax(2.0),
    )


@over_methods
@pytest.mark.parametrize("preset", PRESETS)
def test_no_preset_adds_anything_of_its_own_to_a_published_baseline(
    method: str, preset: str, tmp_path: Path, korean: dict[str, Path]
) -> None:
    source_rows = torch.randn(len(ENGLISH) + 5, 6, generator=torch.Generator().manual_seed(0))
    plain = build(tmp_path, korean, method=method, preset="paper").rows(source_rows)
    settings = {"residual": 0.7, "fallback": "mean", "hub_neighbours": 3, "min_similarity": 0.9}
    assert torch.equal(build(tmp_path, korean, method=method, preset=preset, **settings).rows(source_rows), plain)


@over_methods
def test_a_transfer_reports_combined_and_fallback_rows(method: str, tmp_path: Path, korean: dict[str, Path]) -> None:
    encoder = tiny_encoder("BertForMaskedLM", wordpiece(ENGLISH))
    recipe = TransferRecipe.build({"method": method, **korean})
    result = transfer(encoder, wordpiece(KOREAN), None, recipe=recipe, cache_folder=tmp_path)
    counts = result.report.counts
    assert (counts["combined"], counts["fallback"]) == (5, 1)
    assert sum(counts.values()) == result.report.n_target == len(KOREAN) + 5
    assert result.report.bridge is None
    assert result.alignment.parts(5)[0].token in ENGLISH
    assert result.encoder.encode_query(["학교 책"]).shape == (1, result.report.n_target)
    folder = result.save(tmp_path / "out")
    assert TransferRecipe.read(folder / "recipe.yaml") == recipe
    assert json.loads((folder / "report.json").read_text())["recipe"]["method"] == method


# --- focus ---------------------------------------------------------------------------------------------------------


def focus_rows(vectors: Mapping[str, Sequence[float]], source: Any, target: Any, **settings: Any) -> Initialization:
    """FOCUS from given vectors of the target tokens."""
    width = len(next(iter(vectors.values())))
    table = np.array([vectors.get(token, [0.0] * width) for token in target.tokens], np.float32)
    recipe = TransferRecipe.build({"method": "focus", **settings})
    given = inputs(source, target, recipe, no_answer)
    return build_rows(given, combine_nearest(focus.placed_by(table, given.vocabularies), given))


def test_focus_is_sparsemax_over_the_overlap_and_nothing_else() -> None:
    # Cosines .4, .1, .8: sparsemax keeps .8 and .4, tau = .1 (by hand, as in the tests of sembridge).
    source, target = vocabulary("[UNK]", "tree", "a", "b", "c"), vocabulary("[UNK]", "a", "b", "c", "강")
    vectors = {"a": [3, 0, 0, 0], "b": [0, 1, 0, 0], "c": [0, 0, 2, 0], "강": [0.8, 0.2, 1.6, 0.38]}
    vectors["강"][3] = (4 - 0.64 - 0.04 - 2.56) ** 0.5  # of length two
    rows = focus_rows(vectors, source, target)
    assert row_of(rows, source, 4) == pytest.approx({"c": 0.7, "a": 0.3}, abs=1e-6)
    assert rows.best_similarity[4] == pytest.approx(0.8, abs=1e-6)


def test_overlap_tokens_of_one_source_token_give_it_their_weights_sum() -> None:
    source, target = vocabulary("[UNK]", "home", "b"), vocabulary("[UNK]", "home", "Home", "b", "집")
    third = 3**-0.5
    rows = focus_rows({"home": [1, 0, 0], "Home": [0, 1, 0], "b": [0, 0, 1], "집": [third] * 3}, source, target)
    assert row_of(rows, source, 4) == pytest.approx({"home": 2 / 3, "b": 1 / 3}, abs=1e-6)


def test_focus_without_an_overlap_that_has_vectors_is_refused() -> None:
    source, target = vocabulary("[UNK]", "home"), vocabulary("[UNK]", "home", "집")
    with pytest.raises(SembridgeError, match="1 target tokens have a vector, but none of the 1 source tokens"):
        focus_rows({"집": [1.0, 0.0]}, source, target)


def test_focus_builds_the_rows_of_the_authors_package() -> None:
    oracle = json.loads((ORACLES / "focus.json").read_text(encoding="utf-8"))
    source, target = (read_vocabulary(wordpiece(oracle[side][5:])) for side in ("source_tokens", "target_tokens"))
    assert (list(source.tokens), list(target.tokens)) == (oracle["source_tokens"], oracle["target_tokens"])
    rows = focus_rows(oracle["vectors"], source, target, fuzzy=False)
    built = rows.rows(torch.tensor(oracle["source_rows"]))
    for token, expected in oracle["rows"].items():
        # The frozen rows are rounded to six places.
        assert built[target.tokens.index(token)].tolist() == pytest.approx(expected, abs=2e-6), token
    assert len([kind for kind in kinds(rows) if kind == "COMBINED"]) == 6
    assert kinds(rows)[target.tokens.index("희귀")] == "FALLBACK"


def train(lines: list[str], cache: Path, **settings: Any) -> np.ndarray:
    tokenizer = wordpiece(KOREAN)
    return focus.token_vectors(
        lines, tokenizer, read_vocabulary(tokenizer), FastTextSettings(**settings), cache_folder=cache
    )


def test_trained_vectors_are_kept_and_do_not_depend_on_the_hash_seed(tmp_path: Path) -> None:
    lines = KOREAN_TEXT * 6
    vectors = train(lines, tmp_path / "a")
    (kept,) = (tmp_path / "a").rglob("*.safetensors")
    inode = kept.stat().st_ino
    assert train(lines, tmp_path / "a").tobytes() == vectors.tobytes()
    assert (kept.stat().st_ino, len(list((tmp_path / "a").rglob("*.safetensors")))) == (inode, 1)
    code = (
        "import hashlib, sys; from pathlib import Path; sys.path[:0] = sys.argv[2:]\n"
        "from test_baselines import KOREAN_TEXT, train\n"
        "print(hashlib.sha256(train(KOREAN_TEXT * 6, Path(sys.argv[1])).tobytes()).hexdigest())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "b"), str(Path(__file__).parent)],
        env={**os.environ, "PYTHONHASHSEED": "4711"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == hashlib.sha256(vectors.tobytes()).hexdigest()


def test_another_text_seed_or_tokenizer_has_vectors_of_its_own(tmp_path: Path) -> None:
    first = train(KOREAN_TEXT * 6, tmp_path)
    assert not np.array_equal(train(KOREAN_TEXT * 7, tmp_path), first)
    assert not np.array_equal(train(KOREAN_TEXT * 6, tmp_path, seed=1), first)
    assert len(list(tmp_path.rglob("*.safetensors"))) == 3


def test_tokens_rarer_than_the_minimum_have_no_vector(tmp_path: Path) -> None:
    lines = [*KOREAN_TEXT * 2, *["나무 책"] * 6]
    counts = Counter(token for line in lines for token in wordpiece(KOREAN).tokenize(line))
    assert (counts["나무"], counts["책"], counts["2024"], counts["##에서"]) == (14, 12, 8, 4)
    has_vector = {token for token, vector in zip(KOREAN, train(lines, tmp_path)[5:], strict=True) if vector.any()}
    assert has_vector == {token for token in KOREAN if counts[token] >= 10}
    with pytest.raises(SembridgeError, match="No token of the text occurs 10 times"):
        train(["학교"], tmp_path)


# --- subwords through words ----------------------------------------------------------------------------------------


def test_a_subword_is_the_mean_of_the_words_that_contain_it() -> None:
    words = WordVectors(("trees", "tree", "rivers", "sky"), np.array([[4, 0], [2, 2], [0, 6], [9, 9]], np.float32))
    tokenizer = wordpiece(["tree", "river", "##s", "book"])
    found = subword_vectors(tokenizer, words, n_tokens=9)
    assert found[5:].tolist() == [[3, 1], [0, 6], [2, 3], [0, 0]]
    weighted = subword_vectors(tokenizer, words, n_tokens=9, word_weights=np.array([3.0, 1.0, 2.0, 1.0]))
    np.testing.assert_allclose(weighted[5:], [[3.5, 0.5], [0, 6], [12 / 5, 12 / 5], [0, 0]], rtol=1e-6)


def test_a_word_counts_once_for_each_cut_at_and_after_a_word_start() -> None:
    tokenizer = spelled_tokenizer("byte-level", ["Ġhome", "home"])
    words = WordVectors(("home",), np.array([[1, 2]], np.float32))
    vocabulary_ = read_vocabulary(tokenizer)
    found = subword_vectors(tokenizer, words, n_tokens=len(vocabulary_))
    # This tokenizer puts a space before every text, so both cuts are the same.
    assert found[vocabulary_.tokens.index("Ġhome")].tolist() == [1, 2]


def test_ofa_is_a_softmax_over_the_nearest_source_subwords(tmp_path: Path) -> None:
    words = {"school": [1, 0, 0], "river": [0.6, 0.8, 0], "tree": [0, 0.6, 0.8], "강": [0.8, 0.6, 0]}
    files = {"word_vectors": word2vec_file(tmp_path / "all.vec", words)}
    source, target = ["school", "river", "tree", "unseen"], ["강"]
    rows = build(tmp_path, files, source=source, target=target, method="ofa", top_k=2)
    # Cosines .8, .96, .36; the third is left out.
    ratio = np.exp(1.6)
    expected = {"school": 1 / (1 + ratio), "river": ratio / (1 + ratio)}
    assert named_rows(rows, source, target)["강"] == pytest.approx(expected, abs=1e-6)
    assert rows.best_similarity[5] == pytest.approx(0.96, abs=1e-6)


def test_ofa_reads_the_source_words_from_a_file_of_their_own(tmp_path: Path) -> None:
    english = {"school": [1.0, 0.0], "river": [0.0, 1.0]}
    both = word2vec_file(tmp_path / "both.vec", {**english, "강": [0.1, 1.0]})
    apart = {
        "word_vectors": word2vec_file(tmp_path / "ko.vec", {"강": [0.1, 1.0]}),
        "source_word_vectors": word2vec_file(tmp_path / "en.vec", english),
    }
    source, target = ["school", "river"], ["강"]
    one, two = (
        build(tmp_path, files, source=source, target=target, method="ofa") for files in ({"word_vectors": both}, apart)
    )
    assert torch.equal(dense(one), dense(two))


# --- wechsel -------------------------------------------------------------------------------------------------------


def wechsel_files(folder: Path, oracle: Mapping[str, Any], pairs: Sequence[Sequence[str]]) -> dict[str, Path]:
    return {
        "source_word_vectors": word2vec_file(folder / "en.vec", oracle["source_words"]),
        "word_vectors": word2vec_file(folder / "ru.vec", oracle["target_words"]),
        "dictionary": text_file(folder / "dictionary.tsv", ["\t".join(pair) for pair in pairs]),
    }


def oracle_rows(tmp_path: Path, pairs: Callable[[list[Any]], list[Any]] = list) -> tuple[Any, Initialization]:
    oracle = json.loads((ORACLES / "wechsel.json").read_text(encoding="utf-8"))
    rows = build(
        tmp_path, wechsel_files(tmp_path, oracle, pairs(oracle["pairs"])), method="wechsel",
        source=oracle["source_tokens"][5:], target=oracle["target_tokens"][5:],
        top_k=oracle["neighbours"], temperature=oracle["temperature"],
    )  # fmt: skip
    return oracle, rows


@pytest.mark.numerics
def test_wechsel_builds_the_rows_of_the_authors_package(tmp_path: Path) -> None:
    oracle, rows = oracle_rows(tmp_path)
    built = rows.rows(torch.tensor(oracle["source_rows"]))
    named = named_rows(rows, oracle["source_tokens"][5:], oracle["target_tokens"][5:])
    for token, expected in oracle["rows"].items():
        assert set(named[token]) == set(oracle["sources"][token])
        # float32 here, float64 there.
        assert built[oracle["target_tokens"].index(token)].tolist() == pytest.approx(expected, abs=1e-5), token
    assert [kinds(rows)[oracle["target_tokens"].index(token)] for token in oracle["not_found"]] == ["FALLBACK"]


@pytest.mark.numerics
def test_the_order_of_the_dictionary_leaves_no_trace(tmp_path: Path) -> None:
    results = [oracle_rows(tmp_path, order)[1].weights for order in (list, lambda pairs: pairs[::-1], sorted)]
    for other in results[1:]:
        assert torch.equal(other.values, results[0].values)
        assert torch.equal(other.similarities.nan_to_num(9), results[0].similarities.nan_to_num(9))


@pytest.mark.numerics
def test_procrustes_recovers_a_rotation() -> None:
    draw = np.random.default_rng(4)
    rotation, _ = np.linalg.qr(draw.normal(size=(6, 6)))
    english = draw.normal(size=(40, 6))
    source = WordVectors(tuple(f"word{i}" for i in range(40)), english)
    target = WordVectors(tuple(f"слово{i}" for i in range(40)), english @ rotation)
    found = alignment(source, target, [(f"word{i}", f"слово{i}") for i in range(40)])
    np.testing.assert_allclose(found, rotation, atol=1e-12)


def test_a_pair_counts_for_every_spelling_that_both_files_know() -> None:
    source = WordVectors(("home", "Home"), np.array([[1.0, 0.0], [0.0, 1.0]]))
    target = WordVectors(("дом",), np.array([[0.0, 1.0]]))
    # As it is, lower and title case of `home`: twice home, once Home, each three times дом. The rotation nearest to
    # 6 (home -> e2) + 3 (Home -> e2) is the one of the matrix [[0, 6], [0, 3]].
    u, _, vt = np.linalg.svd(np.array([[0.0, 6.0], [0.0, 3.0]]))
    np.testing.assert_allclose(
        np.array([[2.0, 1.0]]) @ alignment(source, target, [("home", "дом")]), np.array([[2.0, 1.0]]) @ u @ vt
    )


def test_frequencies_follow_the_rank() -> None:
    words = WordVectors(("a", "b", "c", "d"), np.zeros((4, 1)))
    assert frequencies(words).tolist() == [1, 1 / 2, 1 / 3, 1 / 4]


# --- word2vec files ------------------------------------------------------------------------------------------------


def test_text_gzip_and_binary_files_hold_the_same_vectors(tmp_path: Path) -> None:
    vectors = {"школа": [0.5, -1.25], "дом": [2.0, 0.125]}
    text = word2vec_file(tmp_path / "a.vec", vectors)
    (tmp_path / "a.vec.gz").write_bytes(gzip.compress(text.read_bytes()))
    keyed = gensim_models.KeyedVectors.load_word2vec_format(str(text))
    keyed.save_word2vec_format(str(tmp_path / "a.bin"), binary=True)
    for name in ("a.vec", "a.vec.gz", "a.bin"):
        found = read_word_vectors(tmp_path / name)
        assert (found.words, found.vectors.tolist(), found.dim) == (("школа", "дом"), [*vectors.values()], 2)


# --- multivariate --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{"method": "multivariate"}, {"method": "sembridge", "fallback": "multivariate"}])
def test_the_covariance_scale_is_that_of_the_recipe(settings: dict[str, Any]) -> None:
    source, target = vocabulary("[UNK]", "ab", "cd", "ef"), vocabulary("[UNK]", "강")
    recipe = TransferRecipe.build({**settings, "covariance_scale": 1e-5, "residual": 0.0})
    silent = lambda texts: np.ones((len(texts), 1), np.float32) * np.array([[t.isascii()] for t in texts])  # noqa: E731
    rows = initialize(inputs(source, target, recipe, silent))
    source_rows = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    expected = multivariate.draw(source_rows[1:], 1, torch.Generator().manual_seed(0), covariance_scale=1e-5)
    assert torch.equal(rows.rows(source_rows)[1:], expected)


# --- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "missing", "hint"),
    [
        ("focus", "target_text", "Method focus needs --target-text FILE"),
        ("ofa", "word_vectors", "Method ofa needs --word-vectors FILE"),
        ("wechsel", "word_vectors", "Method wechsel needs --word-vectors FILE"),
        ("wechsel", "source_word_vectors", "Method wechsel needs --source-word-vectors FILE"),
        ("wechsel", "dictionary", "Method wechsel needs --dictionary FILE"),
    ],
)
def test_a_method_without_its_file_is_refused(
    method: str, missing: str, hint: str, tmp_path: Path, korean: dict[str, Path]
) -> None:
    given = {name: path for name, path in korean.items() if name != missing}
    assert refusal(tmp_path, given, method).startswith(hint)
    assert "does not exist" in refusal(tmp_path, {**given, missing: tmp_path / "none"}, method)
    assert "is not a file" in refusal(tmp_path, {**given, missing: tmp_path}, method)


@pytest.mark.parametrize(
    ("method", "name", "content", "hint"),
    [
        ("focus", "target_text", b" \n\n", "is empty"),
        ("focus", "target_text", "학교".encode("utf-16"), "line 1: not UTF-8"),
        ("ofa", "word_vectors", b"", "first line of two numbers"),
        ("ofa", "word_vectors", b"school 1 2 3\n", "first line of two numbers"),
        ("ofa", "word_vectors", b"0 4\n", "first line of two numbers"),
        ("ofa", "word_vectors", b"\xba\x16\x4f\x2f\x0c\x00", "first line of two numbers"),
        ("ofa", "word_vectors", b"2 2\nschool 1 2\n", "no text word2vec file"),
        ("ofa", "word_vectors", b"1 2\nschool 1 2 3\n", "no text word2vec file"),
        ("ofa", "word_vectors", b"1 2\nschool one two\n", "no text word2vec file"),
        ("ofa", "word_vectors", b"999999999999 300\nschool 1 2\n", "no text word2vec file"),
        ("ofa", "word_vectors", b"1 2\nschool nan 2\n", "'school' is not finite"),
        ("ofa", "source_word_vectors", b"1 2\nschool 1 2\n", "ofa needs both in one space"),
        ("ofa", "source_word_vectors", b"1 4\nsky 1 2 3 4\n", "none of the 9 source tokens"),
        ("wechsel", "source_word_vectors", b"1 2\nschool 1 2\n", "two files of one width"),
        ("wechsel", "dictionary", b"", "is empty"),
        ("wechsel", "dictionary", b"school\n", "entry 1: 1 columns"),
        ("wechsel", "dictionary", b"sky\t\xed\x95\x98\xeb\x8a\x98\n", "None of the dictionary's 1 pairs is known"),
    ],
)  # fmt: skip
def test_an_unusable_file_is_refused_in_one_line(
    method: str, name: str, content: bytes, hint: str, tmp_path: Path, korean: dict[str, Path]
) -> None:
    (tmp_path / "bad").write_bytes(content)
    assert hint in refusal(tmp_path, {**korean, name: tmp_path / "bad"}, method)


@pytest.mark.parametrize(("method", "name"), [("focus", "target_text"), ("ofa", "word_vectors")])
def test_a_cut_gzip_file_is_refused(method: str, name: str, tmp_path: Path, korean: dict[str, Path]) -> None:
    (tmp_path / "cut.gz").write_bytes(gzip.compress(korean[name].read_bytes())[:-20])
    assert str(tmp_path / "cut.gz") in refusal(tmp_path, {**korean, name: tmp_path / "cut.gz"}, method)
    (tmp_path / "plain.gz").write_bytes(korean[name].read_bytes())
    assert "gzip" in refusal(tmp_path, {**korean, name: tmp_path / "plain.gz"}, method)


@over_methods
def test_without_gensim_the_install_line_is_given_where_it_is_needed(
    method: str, tmp_path: Path, korean: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gensim.models", None)
    binary = tmp_path / "words.bin"
    binary.write_bytes(korean["word_vectors"].read_bytes())
    assert refusal(tmp_path, {**korean, "word_vectors": binary}, method).endswith('"sembridge[baselines]"')
    if method != "focus":  # word vectors as text need no gensim
        build(tmp_path, {**korean, **({} if method != "ofa" else {"dictionary": None})}, method=method)


def refusal(tmp_path: Path, files: Mapping[str, Path], method: str) -> str:
    with pytest.raises(SembridgeError) as refused:
        build(tmp_path, {**files, **({} if method != "ofa" else {"dictionary": None})}, method=method)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_dictionary_is_read_as_pairs(tmp_path: Path) -> None:
    path = text_file(tmp_path / "d.tsv", ["ice cream\t아이스크림", "", "school 학교"])
    assert read_dictionary(path) == [("ice cream", "아이스크림"), ("school", "학교")]
