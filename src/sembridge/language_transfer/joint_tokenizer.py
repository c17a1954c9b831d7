"""The models and normalizers of two tokenizers in one, family by family."""

import json
import unicodedata
from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tokenizers import Regex, Tokenizer, models, normalizers
from transformers import PreTrainedTokenizerFast

from sembridge.encoders.scripts import is_all_english, is_english
from sembridge.encoders.token_spelling import Spelling
from sembridge.encoders.vocabulary import Vocabulary
from sembridge.errors import SembridgeError

if TYPE_CHECKING:
    from tokenizers.normalizers import Normalizer
    from transformers import PreTrainedTokenizerBase

PLAIN_ENGLISH = "".join(  # ASCII, quotes, dashes, and letters up to Latin Extended-A; beyond it those with an accent
    char
    for char in map(chr, [*range(0x20, 0x7F), *range(0x2013, 0x201E), *range(0xC0, 0x250), *range(0x1E00, 0x1F00)])
    if ord(char) < 0x180 or not char.isalpha() or unicodedata.normalize("NFD", char) != char
)


ENGLISH_SENTENCES = ("It's  a test, isn't it?\tYes: 3.5 % of U.S. users!", "Zürich's “naïve” café – ‘open’")


@dataclass(frozen=True, eq=False)
class Side:
    """A tokenizer taken apart."""

    pipeline: dict[str, Any]
    normalizer: "Normalizer | None"
    spelling: Spelling
    vocabulary: Vocabulary
    id_of: dict[str, int]

    @property
    def model(self) -> dict[str, Any]:
        model: dict[str, Any] = self.pipeline["model"]
        return model

    @property
    def model_type(self) -> str:
        return str(self.model["type"])

    @property
    def family(self) -> str:
        if self.model_type != "BPE":
            return self.model_type
        spelling = self.spelling
        if spelling.byte_level:
            return "byte-level BPE"
        return f"BPE with word mark {spelling.space or spelling.end_suffix or spelling.continuing_prefix or 'none'}"


def _join_wordpiece(source: Side, target: Side, ids: Mapping[str, int], new: Sequence[str]) -> dict[str, Any]:
    return source.model | {"vocab": ids}


def _join_bpe(source: Side, target: Side, ids: Mapping[str, int], new: Sequence[str]) -> dict[str, Any]:
    is_new = set(new)
    by_rank = ["".join(merge) for merge in target.model["merges"]]
    merges = _join_merges(source.model["merges"], [token for token in [*by_rank, *new] if token in is_new], ids)
    return source.model | {"vocab": ids, "merges": merges} | _byte_fallback(source, target)


def _join_merges(merges: Iterable[Sequence[str]], tokens: Iterable[str], ids: Container[str]) -> list[tuple[str, str]]:
    """`merges`, then one for each of `tokens` that those before it leave in two pieces."""
    ranks = {(first, second): rank for rank, (first, second) in enumerate(merges)}
    for token in tokens:
        pieces = _merge(token, ranks)
        if len(pieces) == 2 and pieces[0] in ids and pieces[1] in ids:
            ranks[pieces[0], pieces[1]] = len(ranks)
    return list(ranks)


def _merge(token: str, ranks: Mapping[tuple[str, str], int]) -> list[str]:
    """The pieces of `token` as BPE cuts it when it stands alone."""
    pieces = list(token)
    while len(pieces) > 1:
        rank, first = min((ranks.get(pair, len(ranks)), first) for first, pair in enumerate(pairwise(pieces)))
        if rank == len(ranks):
            break
        pieces[first : first + 2] = [pieces[first] + pieces[first + 1]]
    return pieces


def _join_unigram(source: Side, target: Side, ids: Mapping[str, int], new: Sequence[str]) -> dict[str, Any]:
    scores, target_scores = dict(source.model["vocab"]), dict(target.model["vocab"])
    lowest = min(scores.values())
    scores = {token: scores.get(token, lowest) for token in ids}
    shared = (token for token in target_scores if token in source.id_of and not is_all_english(token))
    scores |= {token: target_scores[token] for token in (*shared, *new) if token in target_scores}
    by_id = sorted(ids, key=ids.__getitem__)
    return source.model | {"vocab": [(token, scores[token]) for token in by_id]} | _byte_fallback(source, target)


def _byte_fallback(source: Side, target: Side) -> dict[str, bool]:
    return {"byte_fallback": bool(source.model.get("byte_fallback") or target.model.get("byte_fallback"))}


JOIN_MODELS = {"WordPiece": _join_wordpiece, "BPE": _join_bpe, "Unigram": _join_unigram}


def joint_normalizer(source: Side, target: Side) -> "Normalizer | None":
    """A normalizer that treats plain English as the source's and the target's own letters as the target's.

    Of the source's, the target's, the target's with lower case, and both in turn, each with letters of English replaced
    up front where it would treat them otherwise: one that composes decomposed letters as the target's, if there is one,
    then the one with the fewest replacements.
    """
    letters = sorted({char for text in target.vocabulary.texts for char in text if _is_own_letter(char)})
    capitals = [char.upper() for char in letters]
    decomposed = [unicodedata.normalize("NFD", char) for char in letters]
    first, second = source.normalizer, target.normalizer
    candidates: dict[tuple[bool, int, int], list[Normalizer]] = {}
    for base in (first, second, _in_turn(second, normalizers.Lowercase()), _in_turn(first, second)):
        steps = _replace_english(base, first)
        if steps is not None and _agree(base, second, [*letters, *capitals]):
            candidates[not _agree(base, second, decomposed), len(steps), len(candidates)] = steps
    if not candidates:
        names = [_name(side.pipeline["normalizer"]) for side in (source, target)]
        raise SembridgeError(
            f"The normalizers of the source tokenizer ({names[0]}) and of the target tokenizer ({names[1]}) cannot be "
            "joined: none treats English as the source's and the target language as the target's. Use a target "
            "tokenizer that keeps case and accents where the source does, or transfer without --extend."
        )
    return _in_turn(*candidates[min(candidates)])


def _in_turn(*steps: "Normalizer | None") -> "Normalizer | None":
    present = [step for step in steps if step is not None]
    return normalizers.Sequence(present) if len(present) > 1 else present[0] if present else None


def _is_own_letter(char: str) -> bool:
    return not is_english(char) and unicodedata.category(char)[0] in "LM"


def _agree(base: "Normalizer | None", target: "Normalizer | None", probes: Iterable[str]) -> bool:
    """Whether `base` treats all probes as `target`, or at least as `target` treats their composed forms."""
    return all(
        normalize(base, probe) in (normalize(target, probe), normalize(target, unicodedata.normalize("NFC", probe)))
        for probe in probes
    )


def _replace_english(base: "Normalizer | None", source: "Normalizer | None") -> "list[Normalizer] | None":
    """Replacements of letters and then `base`, which together treat plain English as `source`; None if nothing does."""
    letters = defaultdict(list)
    for char in PLAIN_ENGLISH:
        if char.isalpha() and normalize(source, char) != normalize(base, char):
            letters[normalize(source, char)].append(char)
    steps: list[Normalizer] = []
    if normalize(base, "e\u0301") != normalize(source, "e\u0301") == "e":
        steps.append(normalizers.Replace(Regex(r"(?<=\p{Latin})\p{Mn}+"), ""))
    steps += [normalizers.Replace(Regex(f"[{''.join(group)}]"), letter) for letter, group in letters.items()]
    steps += [base] if base is not None else []
    joined, probes = _in_turn(*steps), (*PLAIN_ENGLISH, *ENGLISH_SENTENCES)
    return steps if all(normalize(joined, probe) == normalize(source, probe) for probe in probes) else None


def normalize(normalizer: "Normalizer | None", text: str) -> str:
    return text if normalizer is None else normalizer.normalize_str(text)


def _name(normalizer: Mapping[str, Any] | None) -> str:
    return "none" if normalizer is None else str(normalizer["type"])


def normalizer_json(normalizer: "Normalizer | None") -> dict[str, Any] | None:
    if normalizer is None:
        return None
    backend = Tokenizer(models.BPE())
    backend.normalizer = normalizer
    pipeline: dict[str, Any] = json.loads(backend.to_str())["normalizer"]
    return pipeline


def wrap(pipeline: Mapping[str, Any], source_tokenizer: "PreTrainedTokenizerBase") -> PreTrainedTokenizerFast:
    """The generic class: named ones rebuild parts of the pipeline from their code when loaded."""
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(pipeline)),
        **source_tokenizer.special_tokens_map,
        extra_special_tokens=source_tokenizer.extra_special_tokens,
        model_max_length=source_tokenizer.model_max_length,
        padding_side=source_tokenizer.padding_side,
        truncation_side=source_tokenizer.truncation_side,
        model_input_names=source_tokenizer.model_input_names,
        clean_up_tokenization_spaces=source_tokenizer.clean_up_tokenization_spaces,
    )
