"""Makes the texts and word vectors that the baselines of the mini grid read: focus, ofa and wechsel.

    python recipes/mini/word_vectors.py --data DATA --out OUT --languages ar zh hi ko ru

Writes, all but the first once a language:

    OUT/en.vec.gz                 English fastText word vectors (wechsel)
    OUT/{lang}.vec.gz             target word vectors (wechsel)
    OUT/multilingual-{lang}.vec   both in one space: English turned by Procrustes on the dictionary (ofa)
    OUT/text-{lang}.txt           passages of the target language, one a line (focus)
    OUT/dictionary-{lang}.tsv     the dictionary, unpacked as it is (wechsel)

Words are those of `sembridge.runs.words` (case-folded, between spaces and punctuation). Chinese is not written with
spaces: there a word is a piece of `mini/tokenizer-zh`, whose pieces are mostly words. Texts are the passages and the
parallel text that the target tokenizers were made from: never XQuAD, KorQuAD or QRCD. A few thousand passages make
poor word vectors beside the published ones of fastText (Wikipedia, Common Crawl); figures of the mini grid for ofa and
wechsel speak of these vectors.
"""

import argparse
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from development_data import LANGUAGES, corpora, dictionary_pairs, parallel_pairs

from sembridge.initialization.wechsel import alignment
from sembridge.initialization.word_vectors import FastTextSettings, WordVectors, train_fasttext
from sembridge.loading import load_tokenizer
from sembridge.runs import words

# Shorter n-grams and more passes than FOCUS trains with: words of few letters, few texts.
SETTINGS = FastTextSettings(dim=100, epochs=10, min_count=3, negative=10, min_n=2, max_n=5)


def texts(data: Path, language: str) -> Iterator[str]:
    """Every passage that may be trained on, and the language's side of the parallel text, each once."""
    seen = set()
    other = LANGUAGES if language == "en" else (language,)
    side = 0 if language == "en" else 1
    parallel = (pair[side] for target in other for pair in parallel_pairs(data, target))
    for source in (corpora(data, language), parallel):
        for text in source:
            line = " ".join(text.split())
            if line and line not in seen:
                seen.add(line)
                yield line


def word_cutter(language: str) -> Callable[[str], list[str]]:
    if language != "zh":
        return words
    tokenizer = load_tokenizer("mini/tokenizer-zh")

    def pieces(text: str) -> list[str]:
        cut = (piece.removeprefix("##") for piece in tokenizer.tokenize(text))
        return [word for piece in cut for word in words(piece)]

    return pieces


def train(lines: Iterable[str], cut: Callable[[str], list[str]]) -> WordVectors:
    """fastText vectors of the words, the most frequent first."""
    sentences = [cut(line) for line in lines]

    def read() -> Sequence[list[str]]:
        return sentences

    wv = train_fasttext(read, SETTINGS)
    return WordVectors(tuple(wv.index_to_key), np.asarray(wv.vectors))


def write(words_: WordVectors, path: Path) -> None:
    from gensim.models import KeyedVectors

    keyed = KeyedVectors(words_.dim)
    keyed.add_vectors(list(words_.words), words_.vectors)
    keyed.save_word2vec_format(str(path))


def one_space(english: WordVectors, target: WordVectors, pairs: list[tuple[str, str]]) -> WordVectors:
    """Unit vectors of the words of both languages, English turned into the target's space; a word of both languages
    (a name, a year) has the mean of its two vectors."""
    turned = unit(unit(english.vectors) @ alignment(normalised(english), normalised(target), pairs))
    vectors = dict(zip(english.words, turned, strict=True))
    for word, vector in zip(target.words, unit(target.vectors), strict=True):
        vectors[word] = unit((vectors[word] + vector)[None])[0] if word in vectors else vector
    return WordVectors(tuple(vectors), np.stack(list(vectors.values())).astype(np.float32))


def normalised(words_: WordVectors) -> WordVectors:
    return WordVectors(words_.words, unit(words_.vectors))


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def make(data: Path, out: Path, language: str, english: WordVectors) -> str:
    """All files of one language; what was made, in a line."""
    lines = list(texts(data, language))
    (out / f"text-{language}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    pairs = dictionary_pairs(data, language)
    (out / f"dictionary-{language}.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in pairs), encoding="utf-8")
    target = train(lines, word_cutter(language))
    write(target, out / f"{language}.vec.gz")
    write(one_space(english, target, pairs), out / f"multilingual-{language}.vec")
    known = sum(a in english.row_of and b in target.row_of for a, b in pairs)
    return f"{len(lines):,} lines, {len(target.words):,} words, {known:,} of {len(pairs):,} dictionary pairs known"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--languages", nargs="+", default=LANGUAGES, choices=LANGUAGES)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    english = train(texts(args.data, "en"), words)
    write(english, args.out / "en.vec.gz")
    print(f"en: {len(english.words):,} words, {time.perf_counter() - start:.0f} s", flush=True)
    for language in args.languages:
        start = time.perf_counter()
        summary = make(args.data, args.out, language, english)
        print(f"{language}: {summary}, {time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
