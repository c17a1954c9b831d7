"""A tokenizer made from a corpus of its language: what a transfer needs where no good one is published."""

import itertools
import logging
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedTokenizerFast

from sembridge.encoders.text_statistics import TextStatistics, text_statistics
from sembridge.encoders.tokenizer_pipelines import (
    OPTIONAL_VOWEL_SIGNS,
    alphabet,
    byte_level_bpe,
    finished,
    normalizer,
    unigram,
    without_named_pieces,
    wordpiece,
)
from sembridge.encoders.tokenizer_recipe import TokenizerRecipe
from sembridge.encoders.vocabulary import read_vocabulary
from sembridge.encoders.words import has_no_spaces, words
from sembridge.errors import SembridgeError
from sembridge.files.atomic import write_folder
from sembridge.files.progress import watched

if TYPE_CHECKING:
    from tokenizers.normalizers import Normalizer

logger = logging.getLogger(__name__)

SMALLEST, LARGEST, LARGEST_WITHOUT_SPACES = 2_000, 48_000, 24_000
_COVERED = 0.95
_PROFILED_TEXTS = 200_000
_HELD_OUT_OF = 100
_FEWEST_HELD_OUT = 10
_MOST_MEASURED = 2_000
_LONGEST_RUN = 2_000  # characters of a text without spaces between two marks of punctuation
_COMMON_LETTER = 0.001  # share of a text's letters from which on a letter speaks for its alphabet


@dataclass(frozen=True)
class TrainedTokenizer:
    """A tokenizer and what is known of it.

    Attributes:
        tokenizer: with the special tokens of a BERT, and [CLS] and [SEP] around every text.
        recipe: its settings, with those that the corpus decided.
        n_texts: that it was made from.
        statistics: how it cuts texts of the corpus.
        n_held_out: of these texts, those that it was not made from; 0 for a corpus too small for it, whose figures are
            better than those of new text.
    """

    tokenizer: PreTrainedTokenizerFast
    recipe: TokenizerRecipe
    n_texts: int
    statistics: TextStatistics
    n_held_out: int

    def save(self, folder: Path, *, overwrite: bool = False) -> Path:
        """`folder`: what `load_tokenizer` and transformers read, `tokenizer_recipe.yaml` and a card; whole or not at
        all.

        Raises:
            SembridgeError: as `write_folder`.
        """
        return write_folder(folder, self._write, overwrite=overwrite)

    def _write(self, folder: Path) -> None:
        self.tokenizer.save_pretrained(folder)
        self.recipe.write(folder / "tokenizer_recipe.yaml")
        language = f"language: {self.recipe.language}\n" if self.recipe.language else ""
        figures = self.statistics
        (folder / "README.md").write_text(
            f"---\n{language}tags: [sembridge]\n---\n\n"
            f"{self.recipe.family} tokenizer with {len(self.tokenizer):,} tokens, made by `sembridge tokenizer` from "
            f"{self.n_texts:,} texts: {figures.fertility} tokens a word, {figures.unknown_rate:.2%} unknown "
            f"({self.measured_on}).\n",
            encoding="utf-8",
        )

    @property
    def measured_on(self) -> str:
        """On which texts the figures were taken, in words."""
        if self.n_held_out:
            return f"on {self.n_held_out:,} texts that it was not made from"
        return "on the texts it was made from, too few to keep some aside; new texts will have more"


@dataclass(frozen=True)
class _Profile:
    """What the texts are like."""

    n_texts: int
    words: Counter[str]
    characters: Counter[str]
    spaces: bool
    held_out: list[str]

    @property
    def keeps_some(self) -> bool:
        return len(self.held_out) >= _FEWEST_HELD_OUT

    @property
    def letters(self) -> Counter[str]:
        """Letters and marks of the texts."""
        return Counter({c: n for c, n in self.characters.items() if unicodedata.category(c)[0] in "LM"})

    @property
    def common_letters(self) -> list[str]:
        letters = self.letters
        return [letter for letter, n in letters.items() if n >= _COMMON_LETTER * letters.total()]

    def within_words(self, normalizer: "Normalizer", most: int) -> set[str]:
        """The most frequent characters that can stand within a word, in their normalized form."""
        frequent = sorted(self.characters, key=lambda character: (-self.characters[character], character))[:most]
        normal = {normalizer.normalize_str(character) for character in frequent}
        return {c for c in normal if len(c) == 1 and not c.isspace() and unicodedata.category(c)[0] != "P"}


def train_tokenizer(
    texts: Iterable[str], recipe: TokenizerRecipe | None = None, *, progress: bool = False
) -> TrainedTokenizer:
    """A tokenizer of the texts' language for the result of a transfer.

    Of a thousand texts and more, every hundredth is kept aside to measure it on.

    Args:
        texts: passages of the language; they are read more than once.
        recipe: settings; `TokenizerRecipe()` by default.
        progress: say on stderr how far it is.

    Raises:
        SembridgeError: there is no text, or `texts` can be read only once.

    Example:
        >>> train_tokenizer(open("texts.txt").readlines()).save(Path("tokenizer-de"))  # doctest: +SKIP
    """
    if isinstance(texts, Iterator):
        raise SembridgeError("The texts can be read only once, and are needed three times: give a list of them.")
    profile = _profile(texts)
    recipe = _settled(recipe or TokenizerRecipe(), profile)
    n_read = 0

    def read() -> Iterator[str]:
        nonlocal n_read
        for text in _training_texts(texts, keeps_some=profile.keeps_some):
            n_read += 1
            yield text

    passages = watched(read(), "reading", unit="passages", shown=progress)
    tokenizer = _train(passages, recipe, profile, progress=progress and sys.stderr.isatty())
    measured = profile.held_out if profile.keeps_some else list(itertools.islice(texts, _MOST_MEASURED))
    statistics = text_statistics(tokenizer, read_vocabulary(tokenizer), "\n".join(measured))
    return TrainedTokenizer(tokenizer, recipe, n_read, statistics, len(measured) if profile.keeps_some else 0)


def _profile(texts: Iterable[str]) -> _Profile:
    """Of the first texts; a pass over a corpus of any size would not tell more."""
    first = list(itertools.islice(texts, 100))
    counted: Counter[str] = Counter()
    characters: Counter[str] = Counter()
    held_out: list[str] = []
    n_texts = 0
    for n_texts, text in enumerate(itertools.islice(texts, _PROFILED_TEXTS), start=1):
        counted.update(words(text))
        characters.update(unicodedata.normalize("NFC", text))
        if _is_held_out(n_texts) and len(held_out) < _MOST_MEASURED:
            held_out.append(text)
    profile = _Profile(n_texts, counted, characters, not has_no_spaces(first), held_out)
    if not profile.letters:
        raise SembridgeError(f"{n_texts:,} texts hold no letter; expected text of the language to learn from.")
    return profile


def _is_held_out(number: int) -> bool:
    return number % _HELD_OUT_OF == 0


def _training_texts(texts: Iterable[str], *, keeps_some: bool) -> Iterator[str]:
    return (text for number, text in enumerate(texts, start=1) if not (keeps_some and _is_held_out(number)))


def _settled(recipe: TokenizerRecipe, profile: _Profile) -> TokenizerRecipe:
    """With what the corpus and the language decide where nothing was said."""
    code = (recipe.language or "").partition("-")[0]
    strips = recipe.strip_accents if recipe.strip_accents is not None else code in OPTIONAL_VOWEL_SIGNS
    return recipe.model_copy(
        update={
            # one unknown character makes a word of WordPiece unknown, and without spaces a whole sentence
            "family": recipe.family or ("wordpiece" if profile.spaces else "unigram"),
            "vocabulary_size": recipe.vocabulary_size or _fitting_size(profile),
            "strip_accents": strips,
        }
    )


def _fitting_size(profile: _Profile) -> int:
    """Words that are tokens as a whole are placed best by a bridge; so as many as cover most of the text.

    Where no spaces are set there are no words to count; four tokens a character that is written then.
    """
    if not profile.spaces:
        return max(SMALLEST, min(4 * len(profile.letters), LARGEST_WITHOUT_SPACES))
    covered = itertools.accumulate(count for _, count in profile.words.most_common())
    needed = sum(share < _COVERED * profile.words.total() for share in covered) + 1
    return max(SMALLEST, min(needed + 2 * len(profile.letters), LARGEST))


def _train(
    texts: Iterator[str], recipe: TokenizerRecipe, profile: _Profile, *, progress: bool
) -> PreTrainedTokenizerFast:
    size, spaces = int(recipe.vocabulary_size or SMALLEST), profile.spaces
    normal = normalizer(
        recipe.language, keep_case=recipe.keep_case, strip_accents=bool(recipe.strip_accents), spaces=spaces
    )
    known, most = alphabet(profile.common_letters, normal), size // 2
    if recipe.family == "bpe":
        tokenizer, trainer = byte_level_bpe(normal, size)
    elif recipe.family == "unigram":
        tokenizer, trainer = unigram(normal, size, spaces=spaces, alphabet=known)
    else:
        letters = {c for c in known if unicodedata.category(c)[0] in "LMN"}
        continuing = letters | profile.within_words(normal, min(most, (size - len(known)) // 4))
        own: dict[str, Any] = {"continuing": continuing} if spaces else {"longest_word": _LONGEST_RUN}
        tokenizer, trainer = wordpiece(
            normal, size, spaces=spaces, alphabet=known, limit_alphabet=len(known) + most,
            **own,
        )  # fmt: skip
    trainer.show_progress = progress  # type: ignore[attr-defined]  # of every trainer, but not of their base class
    tokenizer.train_from_iterator(texts, trainer=trainer)
    return finished(without_named_pieces(tokenizer) if recipe.family == "wordpiece" and spaces else tokenizer)
