"""Makes a static bridge out of multilingual-e5-small: words of six languages as they are, pieces for the rest.

    python reproduction/published/models.py e5-small models/e5-small
    python reproduction/mini/distilled_bridge.py --data DATA --teacher models/e5-small --work WORK --out bridge

*Teacher.* Every word is embedded alone. One linear map a language, learned on dictionary entries by contrast with other
English words, brings translations together: alone, the teacher finds 15 to 42 % of them.
*Words.* A word with dictionary entries lies halfway between its own vector and the mean of its English headwords'.
*Pieces.* One ridge regression for all rows: a text is the mean of its pieces, and lands on its word's vector. Frequent
words are pieces of their own.

Read are the dictionaries without every 20th headword, the corpora and parallel texts of `bridge.py`; XQuAD, KorQuAD and
QRCD never. Whoever bundles the result makes the tables of benchmarks/ anew.
"""

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from bridge import bag_of_pieces, cached_tokenizer, dictionary, solve_ridge
from development_data import LANGUAGES, compact_json, corpora, parallel_pairs
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer, models
from torch.nn import functional
from transformers import PreTrainedTokenizerFast

from sembridge.encoders.words import words
from sembridge.language_transfer.bridge import embed_texts

LONGEST_WORD = 20
WORD_SCORE = -4.0  # above that of any two pieces together: a word of the vocabulary is never cut
Map = Callable[[np.ndarray], np.ndarray]


def word_counts(data: Path, language: str) -> Counter[str]:
    """How often the words of a language occur in what may be read, in lower case."""
    counts: Counter[str] = Counter()
    for text in corpora(data, language):
        counts.update(words(text.lower()))
    for other in LANGUAGES if language == "en" else (language,):
        for pair in parallel_pairs(data, other):
            counts.update(words(pair[0 if language == "en" else 1].lower()))
    return Counter({word: n for word, n in counts.items() if len(word) <= LONGEST_WORD and not word.isdigit()})


def entries(data: Path, language: str, english: Iterable[str]) -> list[tuple[str, str]]:
    """The dictionary's pairs of single words whose headword is one of `english`, those of the test left out."""
    known = set(english)
    pairs = dictionary(data, language, test=False)
    return sorted(
        {(en.lower(), w) for en, w in pairs if en.lower() in known and " " not in w and len(w) <= LONGEST_WORD}
    )


def learned_maps(
    pairs: dict[str, list[tuple[str, str]]], vector: dict[str, np.ndarray], width: int, *, steps: int, seed: int
) -> dict[str, Map]:
    """Language -> (n, 384) to (n, width), "en" among them: translations near each other, other English words far.

    InfoNCE with the headwords of the batch and 2,048 more English words; all maps start from the same principal axes.
    """
    generator = torch.Generator().manual_seed(seed)
    headwords = sorted({en for of_language in pairs.values() for en, _ in of_language})
    row = {en: i for i, en in enumerate(headwords)}
    english = torch.from_numpy(np.stack([vector[en] for en in headwords]))
    centre_of = {"en": english.mean(0)}
    english = english - centre_of["en"]
    _, scales, axes = torch.linalg.svd(english[:: max(1, len(english) // 6000)], full_matrices=False)
    start = axes[:width].T / (scales[:width] / scales[:width].mean()).sqrt()
    weights, targets = {"en": start.clone().requires_grad_()}, {}
    for language, of_language in pairs.items():
        own = torch.from_numpy(np.stack([vector[w] for _, w in of_language]))
        centre_of[language] = own.mean(0)
        targets[language] = (own - centre_of[language], torch.tensor([row[en] for en, _ in of_language]))
        weights[language] = start.clone().requires_grad_()
    optimizer = torch.optim.Adam(weights.values(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    languages = list(pairs)
    for step in range(steps):
        language = languages[step % len(languages)]
        own, wanted = targets[language]
        batch = torch.randint(len(own), (512,), generator=generator)
        ids = torch.cat([wanted[batch], torch.randint(len(english), (2048,), generator=generator)])
        lenders = functional.normalize(english[ids] @ weights["en"], dim=1)
        scores = functional.normalize(own[batch] @ weights[language], dim=1) @ lenders.T / 0.05
        same = wanted[batch][:, None] == ids[None]
        same[torch.arange(len(batch)), torch.arange(len(batch))] = False
        loss = functional.cross_entropy(scores.masked_fill(same, -torch.inf), torch.arange(len(batch)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()

    def mapping(language: str) -> Map:
        centre, weight = centre_of[language].numpy(), weights[language].detach().numpy()
        return lambda vectors: unit((vectors - centre) @ weight)

    return {language: mapping(language) for language in weights}


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def with_words(tokenizer: Tokenizer, extra: Iterable[str]) -> Tokenizer:
    """The Unigram tokenizer with further words, each a piece that is never cut."""
    state = json.loads(tokenizer.to_str())
    pieces = [(piece, score) for piece, score in state["model"]["vocab"]]
    known = {piece for piece, _ in pieces}
    scored = [(piece, max(score, WORD_SCORE) if piece.startswith("▁") and len(piece) > 3 else score)
              for piece, score in pieces]  # fmt: skip
    scored += [(f"▁{word}", WORD_SCORE) for word in dict.fromkeys(extra) if f"▁{word}" not in known]
    made = Tokenizer(models.Unigram(scored, unk_id=state["model"]["unk_id"]))
    made.normalizer, made.pre_tokenizer = tokenizer.normalizer, tokenizer.pre_tokenizer
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--teacher", required=True, help="folder or name of multilingual-e5-small")
    parser.add_argument(
        "--work", type=Path, required=True, help="scratch folder; teacher vectors and pieces are kept there"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pieces", type=int, default=24_000)
    parser.add_argument("--words", type=int, default=5_500, help="of every language, the most frequent")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--ridge", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()

    counts = {language: word_counts(args.data, language) for language in ("en", *LANGUAGES)}
    english = [word for word, n in counts["en"].items() if n >= 2]
    pairs = {language: entries(args.data, language, english) for language in LANGUAGES}
    taught = {language: {w for _, w in pairs[language]} | {w for w, n in counts[language].items() if n >= 4}
              for language in LANGUAGES}  # fmt: skip
    taught["en"] = {en for of_language in pairs.values() for en, _ in of_language} | set(english)
    vector = teacher_vectors(args.teacher, sorted(set().union(*taught.values())), args.work)

    maps = learned_maps(pairs, vector, args.width, steps=args.steps, seed=args.seed)
    texts, wanted = [], []
    for language, of_language in taught.items():
        known = sorted(of_language)
        own = maps[language](np.stack([vector[w] for w in known]))
        if language != "en":
            own = drawn_to_headwords(known, own, pairs[language], vector, maps["en"])
        texts += known
        wanted.append(own)
    frequent = [w for of_language in counts.values() for w, _ in of_language.most_common(args.words)]
    tokenizer = with_words(
        cached_tokenizer(args.data, args.pieces, args.work), [*frequent, *single_words(pairs, counts)]
    )
    design = bag_of_pieces(tokenizer, texts).astype(np.float32)
    vectors = solve_ridge(design, np.concatenate(wanted).astype(np.float32), ridge=args.ridge, steps=80)

    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")
    module = StaticEmbedding(fast, embedding_weights=vectors.astype(np.float16))
    SentenceTransformer(modules=[module], device="cpu").save_pretrained(str(args.out), create_model_card=False)
    compact_json(args.out / "tokenizer.json")


def drawn_to_headwords(
    known: list[str], own: np.ndarray, pairs: list[tuple[str, str]], vector: dict[str, np.ndarray], english: Map
) -> np.ndarray:
    """`own` (n, width), halfway to the mean of the headwords' vectors where a word has some."""
    headwords: dict[str, list[str]] = {}
    for en, word in pairs:
        headwords.setdefault(word, []).append(en)
    moved = own.copy()
    for row, word in enumerate(known):
        if word in headwords:
            mean = unit(english(np.stack([vector[en] for en in headwords[word]])).mean(0, keepdims=True))[0]
            moved[row] = own[row] + mean
    return unit(moved)


def single_words(pairs: dict[str, list[tuple[str, str]]], counts: dict[str, Counter[str]]) -> list[str]:
    """Words of the dictionaries that occur in the texts at all: those that a tokenizer may have as a token."""
    return [w for language, of_language in pairs.items() for _, w in of_language if counts[language][w.lower()] >= 3]


def teacher_vectors(teacher: str, texts: list[str], work: Path) -> dict[str, np.ndarray]:
    """Text -> (384,) unit vector of the teacher in bfloat16, kept in `work`."""
    work.mkdir(parents=True, exist_ok=True)
    bridge = SentenceTransformer(teacher, device="cpu", model_kwargs={"dtype": torch.bfloat16})
    vectors = embed_texts(bridge, texts, cache_folder=work / "teacher", progress=True)
    return dict(zip(texts, vectors, strict=True))


if __name__ == "__main__":
    main()
