"""SemBridge rows: a few English tokens of near meaning, weighted by entmax (arXiv 2605.26002, section 3).

w[t, :] = entmax_alpha(cos(B(t), B(source tokens))) for every target token t that is not in the overlap.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sembridge.encoders.scripts import script_of
from sembridge.encoders.vocabulary import Vocabulary
from sembridge.errors import SembridgeError
from sembridge.language_transfer.bridge import Embed
from sembridge.language_transfer.entmax import Entmax, TopKSoftmax
from sembridge.language_transfer.initialization.evidence import (
    FEWEST_TOKENS,
    N_AROUND,
    above_chance,
    distinctness,
    probably_right,
    prominence,
    row_margins,
    scores_by_chance,
)
from sembridge.language_transfer.initialization.hub_correction import HubCorrected, hub_corrected
from sembridge.language_transfer.initialization.inputs import Inputs
from sembridge.language_transfer.initialization.rows import CombinedRows, row_maximum
from sembridge.language_transfer.initialization.text_words import (
    TextWords,
    no_words,
    vectors_through_words,
    words_of_file,
)
from sembridge.language_transfer.initialization.translations import (
    NOTHING,
    Translations,
    at_english_words,
    translated_tokens,
)
from sembridge.language_transfer.overlap import Vocabularies
from sembridge.language_transfer.recipe import TransferRecipe
from sembridge.language_transfer.similarity import weights_and_nearest
from sembridge.language_transfer.sparse_matrix import SparseWeights


def place(inputs: Inputs) -> CombinedRows:
    """The sparse weights of every target token outside the overlap that has text and a bridge vector.

    Raises:
        SembridgeError: there is such a token, but no source token with a bridge vector that may lend its row; or the
            recipe's target text is missing or has no words.
    """
    words = no_words(len(inputs.target))
    if inputs.recipe.reads_words:
        with inputs.clock.stage("words"):
            path = inputs.recipe.file("target_text")
            words = words_of_file(path, inputs.target_tokenizer, n_tokens=len(inputs.target), progress=inputs.progress)
    return bridged_rows(inputs, words)


def bridged_rows(inputs: Inputs, words: TextWords) -> CombinedRows:
    """The same, given the words that place the tokens that they contain."""
    source, target, recipe = inputs.source, inputs.target, inputs.recipe
    lenders, alone = candidate_ids(source, recipe.candidates), no_words(len(source))
    candidates, source_vectors = _placed(source, lenders, inputs.bridge, alone)
    translations = translated_tokens(recipe.translations, target)
    wanted, target_vectors = _placed(target, inputs.new_ids, inputs.bridge, words, translations)
    if len(inputs.new_ids) and len(candidates) == 0:
        raise SembridgeError(
            f"None of the {len(source):,} source tokens can lend its row: the bridge has no vector for any of those "
            f"that `candidates: {recipe.candidates}` allows. Check that the source encoder's tokenizer is its own, "
            "give another bridge, or set `candidates: all`."
        )
    if len(wanted) == 0:
        return CombinedRows.none(len(source))
    twins = _group_twins(source, candidates) if recipe.merge_twins else _no_twins(candidates)
    vectors = hub_corrected(
        torch.from_numpy(target_vectors),
        torch.from_numpy(source_vectors[twins.first]),
        recipe.hub_neighbours,
        memory_budget=inputs.memory_budget,
        device=inputs.device,
    )
    weights, nearest = weights_and_nearest(
        vectors.target, vectors.source, rule=_rule(recipe), n_nearest=1 + N_AROUND if recipe.evidence else 0,
        memory_budget=inputs.memory_budget, device=inputs.device,
    )  # fmt: skip
    trust = confidence = None
    if recipe.evidence:
        by_name = np.argsort(np.array([target.tokens[i] for i in wanted], dtype=object), kind="stable")
        trust, confidence = _evidence(weights, nearest, torch.from_numpy(target_vectors[by_name]), vectors, inputs)
    weights = vectors.plain(weights)
    best = row_maximum(weights)
    weights = _name_columns(weights, twins.ids_by_word_start, target.starts_word[wanted], len(source))
    sure = best >= recipe.min_similarity
    told = (None if found is None else found[sure] for found in (trust, confidence))
    return CombinedRows(wanted[sure], _keep_rows(weights, sure), best[sure], *told)


def bridged_texts(vocabularies: Vocabularies, recipe: TransferRecipe) -> tuple[list[str], list[str]]:
    """The distinct texts that `place` asks the bridge for: of the candidates, and of the tokens to combine."""
    source, target = vocabularies.source, vocabularies.target
    lenders = candidate_ids(source, recipe.candidates)
    return sorted({source.texts[i] for i in lenders}), sorted({target.texts[i] for i in vocabularies.new_ids})


def _placed(
    vocabulary: Vocabulary, ids: np.ndarray, embed: Embed, words: TextWords, translations: Translations = NOTHING
) -> tuple[np.ndarray, np.ndarray]:
    """Those of `ids` whose text, a word around it or a translation the bridge knows; their vectors (n_placed, dim)."""
    texts = [vocabulary.texts[i] for i in ids]
    if not texts:
        return ids, np.zeros((0, 1), np.float32)
    vectors = vectors_through_words(embed(texts), texts, ids, words, embed)
    vectors = at_english_words(vectors, ids, translations, embed)
    known = vectors.any(1)
    return ids[known], vectors[known]


def candidate_ids(source: Vocabulary, rule: str) -> np.ndarray:
    """(n_candidates,) ascending source ids that may lend their row to a combination.

    `all` is every token with text. `words` keeps tokens of two or more letters or digits of the vocabulary's main
    script: the single letters and the stray characters of other scripts that an English vocabulary carries were
    hardly trained, attract every syllable and rare character, and fire in every context.
    """
    if rule == "all":
        return source.text_ids
    script = main_script(source)
    return np.array([i for i in source.text_ids if _is_word(source.texts[i], script)], dtype=np.int64)


def main_script(vocabulary: Vocabulary) -> str:
    """The script of most letters, as the first word of their Unicode names: LATIN, CYRILLIC, ..."""
    counts = Counter(script_of(text[0]) for text in vocabulary.texts if text and text[0].isalpha())
    return max(counts, key=lambda script: (counts[script], script), default="LATIN")


def _is_word(text: str, script: str) -> bool:
    return len(text) > 1 and all(c.isdecimal() or (c.isalpha() and script_of(c) == script) for c in text)


@dataclass(frozen=True, eq=False)
class _Twins:
    """Candidates of one text (up to case): `first` is the position of the one whose text stands for the group in the
    list of candidates; `ids_by_word_start[flag]` (n_groups,) is the source id that a target token with that
    word-start flag takes."""

    first: np.ndarray
    ids_by_word_start: np.ndarray


def _no_twins(candidates: np.ndarray) -> _Twins:
    return _Twins(np.arange(len(candidates)), np.stack([candidates, candidates]))


def _group_twins(source: Vocabulary, candidates: np.ndarray) -> _Twins:
    groups: dict[str, list[int]] = {}
    for position, token_id in enumerate(candidates):
        groups.setdefault(source.texts[token_id].casefold(), []).append(position)

    def best(positions: list[int], starts_word: bool) -> int:
        def rank(position: int) -> tuple[bool, bool, int]:
            token_id = candidates[position]
            return bool(source.starts_word[token_id]) != starts_word, not source.texts[token_id].islower(), token_id

        return min(positions, key=rank)

    inside, start = ([best(positions, flag) for positions in groups.values()] for flag in (False, True))
    return _Twins(np.array(start), np.stack([candidates[inside], candidates[start]]))


def _evidence(
    weights: SparseWeights, nearest: np.ndarray, target_vectors: Tensor, vectors: HubCorrected, inputs: Inputs
) -> tuple[np.ndarray, np.ndarray]:
    """(n_wanted,) trust in every row of `weights`, whose similarities are corrected by the hub term, and (n_wanted,)
    confidence; all one where there are too few rows to tell their scores from those by chance.

    Args:
        nearest: (n_wanted, 1 + N_AROUND) the best similarities of every row, descending.
        target_vectors: (n_wanted, dim) in an order that does not depend on ids.
    """
    if weights.n_rows < FEWEST_TOKENS:
        return np.ones(weights.n_rows, np.float32), np.ones(weights.n_rows, np.float32)
    by_chance = scores_by_chance(vectors, target_vectors, memory_budget=inputs.memory_budget, device=inputs.device)
    real = above_chance(row_maximum(weights), by_chance)
    confidence = np.multiply(real, probably_right(prominence(nearest, by_chance)))
    return np.multiply(real, distinctness(row_margins(weights), by_chance)), confidence


def _rule(recipe: TransferRecipe) -> Entmax | TopKSoftmax:
    if recipe.weighting == "entmax":
        return Entmax(recipe.alpha)
    return TopKSoftmax(recipe.top_k, recipe.temperature)


def _name_columns(
    weights: SparseWeights, ids_by_word_start: np.ndarray, starts_word: np.ndarray, n_source: int
) -> SparseWeights:
    """Columns from groups of twins to source ids: the twin with the row's own word-start flag."""
    rows = weights.row_ids()
    columns = torch.from_numpy(ids_by_word_start)[
        torch.from_numpy(starts_word.astype(np.int64))[rows], weights.col_indices
    ]
    return SparseWeights.from_rows(weights.n_rows, rows, columns, weights.values, weights.similarities, n_source)


def _keep_rows(weights: SparseWeights, keep: np.ndarray) -> SparseWeights:
    kept = torch.from_numpy(keep)
    rows = weights.row_ids()
    entries = kept[rows]
    new_rows = (kept.cumsum(0) - 1)[rows[entries]]
    return SparseWeights.from_rows(
        int(kept.sum()),
        new_rows,
        weights.col_indices[entries],
        weights.values[entries],
        weights.similarities[entries],
        weights.n_columns,
    )
