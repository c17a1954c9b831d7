"""Laws of false friends: words are suspected for what stands around them, true ones are not, nor any by little text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from commands import sembridge
from transformers import BertTokenizer

from sembridge.encoders.vocabulary import read_vocabulary
from sembridge.language_transfer.false_friends import FEWEST_JUDGED, FEWEST_PLACES, false_friends
from sembridge.language_transfer.overlap import Vocabularies, match_vocabularies

SHARED = ("gift", "film", "hotel", "radio", "sand", "wolf", "winter", "museum", "butter", "name", "arm", "plan")
POISON = ("poison", *["venom", "toxin", "toxic", "lethal", "deadly", "fatal", "snake", "cobra", "viper", "bane"])
SENSES = {word: axis for axis, word in enumerate(SHARED)} | dict.fromkeys(POISON, len(SHARED))
N_SENSES = len(SHARED) + 1
AROUND = {  # what stands beside a word in the other language
    "gift": ("schlange", "tödlich"), "film": ("kino", "regisseur"), "hotel": ("zimmer", "gast"),
    "radio": ("sender", "musik"), "sand": ("wüste", "düne"), "wolf": ("rudel", "wald"), "winter": ("schnee", "frost"),
    "museum": ("bild", "münze"), "butter": ("brot", "milch"), "name": ("urkunde", "taufe"), "arm": ("elle", "schulter"),
    "plan": ("entwurf", "skizze"),
}  # fmt: skip
MEANING = SENSES | {
    around: SENSES["poison" if word == "gift" else word] for word, some in AROUND.items() for around in some
}


def embed(texts: Sequence[str]) -> np.ndarray:
    """Every word that has a sense turns the vector of its text there; what all texts share is an axis of its own."""
    vectors = np.zeros((len(texts), N_SENSES + 1), np.float32)
    vectors[:, -1] = 3.0
    for row, text in enumerate(texts):
        for word in text.lower().replace(".", "").split():
            if word in MEANING:
                vectors[row, MEANING[word]] += 1
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def tokenizer(*words: str) -> BertTokenizer:
    tokens = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words)
    return BertTokenizer(vocab={token: id_ for id_, token in enumerate(tokens)}, strip_accents=False)


def vocabularies() -> Vocabularies:
    around = [word for some in AROUND.values() for word in some]
    source, target = (read_vocabulary(tokenizer(*words)) for words in ([*SENSES], [*SHARED, *around]))
    return Vocabularies(source, target, match_vocabularies(source, target))


def lines(places: int = FEWEST_PLACES, shared: Sequence[str] = SHARED) -> list[str]:
    return [f"Das {AROUND[word][n % 2]} und {word.title()}." for word in shared for n in range(places)]


def test_a_word_whose_surroundings_speak_of_something_else_is_suspected() -> None:
    found = false_friends(vocabularies(), lines(), embed)
    assert found.n_judged == len(SHARED)
    (suspect,) = found.suspects
    assert (suspect.word, suspect.places) == ("gift", FEWEST_PLACES)
    assert set(suspect.nearest) < set(POISON)


def test_the_word_itself_does_not_speak_for_itself() -> None:
    """In another place of the same passage it would: it is taken out everywhere."""
    text = [line.replace("Gift.", "Gift, Gift und gift.") for line in lines()]
    assert [one.word for one in false_friends(vocabularies(), text, embed).suspects] == ["gift"]


@pytest.mark.parametrize(
    "text",
    [[], lines(FEWEST_PLACES - 1), lines(shared=SHARED[: FEWEST_JUDGED - 1])],
    ids=["empty", "rare", "few words"],
)
def test_too_little_text_suspects_nobody(text: list[str]) -> None:
    assert false_friends(vocabularies(), text, embed).n_judged == 0


def test_the_verb_lists_them_and_says_what_it_needs(tmp_path: Path) -> None:
    tokenizer(*SHARED, *(word for some in AROUND.values() for word in some)).save_pretrained(tmp_path / "german")
    (tmp_path / "text.txt").write_text("\n".join(lines()), encoding="utf-8")
    asked = ("inspect", "mini/splade-en", tmp_path / "german", "--text", tmp_path / "text.txt", "--false-friends")
    assert sembridge(*asked).line.endswith("add --bridge NAME and --text FILE.")
    done = sembridge(*asked, "--bridge", "mini/bridge", "--cache", tmp_path / "cache")
    assert done.code == 0, done.err
    assert "copied words stand in the text often enough" in done.out
