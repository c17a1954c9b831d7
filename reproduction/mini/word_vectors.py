"""Makes the texts and word vectors that the baselines of the mini grid read: focus, ofa and wechsel.

    python reproduction/mini/word_vectors.py --data DATA --out OUT --languages ar zh hi ko ru

Writes, all but the first once a language; a .vec.gz that is there is kept:

    OUT/en.vec.gz                 English fastText word vectors (wechsel)
    OUT/{lang}.vec.gz             target word vectors (wechsel)
    OUT/multilingual-{lang}.vec   both languages in one space, from parallel text and dictionary (ofa)
    OUT/text-{lang}.txt           passages of the target language, one a line (focus)
    OUT/dictionary-{lang}.tsv     the dictionary, unpacked as it is (wechsel)

Words are those of `sembridge.encoders.words` (case-folded, between spaces and punctuation). Chinese is not written
with spaces: there a word is a piece of `mini/tokenizer-zh`, whose pieces are mostly words. Texts are the passages and
the parallel text that the target tokenizers were made from: never XQuAD, KorQuAD or QRCD.

A few thousand passages make poor fastText vectors beside the published ones (Wikipedia, Common Crawl). Turned onto each
other by Procrustes they find the translation of a Korean dictionary word among the ten nearest in 3 % of the cases, on
the very pairs of the alignment. So `ofa`, which takes any multilingual vectors, gets those that serve it best here:
33 % on entries that were held out. `wechsel` is its alignment and has to live with the former.
"""

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from development_data import LANGUAGES, corpora, dictionary_pairs, parallel_pairs
from scipy.sparse import csr_array, diags_array

from sembridge.encoders.loading import load_tokenizer
from sembridge.encoders.words import words
from sembridge.language_transfer.initialization.word_vectors import (
    FastTextSettings,
    WordVectors,
    read_word_vectors,
    train_fasttext,
)

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
        cut = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).tokens
        return [word for piece in cut if piece != tokenizer.unk_token for word in words(piece)]

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


def one_space(documents: list[list[str]], *, dim: int = 300, min_count: int = 2) -> WordVectors:
    """Unit vectors of the words of both languages from the aligned texts they occur in, the most frequent first.

    Sentence ids as features (Levy, Soegaard and Goldberg 2017): the leading singular vectors of the word by text
    matrix, normalised by words and by texts; the first of them says only how frequent a word is.
    """
    from sklearn.utils.extmath import randomized_svd

    counts = Counter(word for document in documents for word in set(document))
    known = [word for word, count in counts.most_common() if count >= min_count]
    row_of = {word: row for row, word in enumerate(known)}
    places = [(row_of[w], column) for column, d in enumerate(documents) for w in sorted(set(d)) if w in row_of]
    rows, columns = np.array(places).T
    matrix = csr_array((np.ones(len(places)), (rows, columns)), shape=(len(known), len(documents)))
    by_word, by_text = np.asarray(matrix.sum(1)), np.maximum(np.asarray(matrix.sum(0)), 1)
    normalised = diags_array(by_word**-0.5) @ matrix @ diags_array(by_text**-0.5)
    left, values, _ = randomized_svd(normalised, dim + 1, random_state=0, n_iter=2)
    return WordVectors(tuple(known), unit(left[:, 1:] * values[1:] ** 0.5).astype(np.float32))


def aligned_texts(data: Path, language: str, cut: Callable[[str], list[str]]) -> list[list[str]]:
    """The words of both sides of every parallel pair, and twice those of every dictionary entry."""
    parallel, dictionary = parallel_pairs(data, language), dictionary_pairs(data, language)
    return [words(english) + cut(target) for english, target in (*parallel, *dictionary, *dictionary)]


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def make(data: Path, out: Path, language: str, english: WordVectors) -> str:
    """All files of one language; what was made, in a line."""
    lines = list(texts(data, language))
    (out / f"text-{language}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    pairs = dictionary_pairs(data, language)
    (out / f"dictionary-{language}.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in pairs), encoding="utf-8")
    cut = word_cutter(language)
    multilingual = one_space(aligned_texts(data, language, cut))
    write(multilingual, out / f"multilingual-{language}.vec")
    target_file = out / f"{language}.vec.gz"
    if not target_file.exists():
        write(train(lines, cut), target_file)
    target = read_word_vectors(target_file)
    known = sum(a in english.row_of and b in target.row_of for a, b in pairs)
    return (
        f"{len(lines):,} lines, {len(target.words):,} words, {known:,} of {len(pairs):,} dictionary pairs known, "
        f"{len(multilingual.words):,} multilingual words"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--languages", nargs="+", default=LANGUAGES, choices=LANGUAGES)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    english_file = args.out / "en.vec.gz"
    if not english_file.exists():
        write(train(texts(args.data, "en"), words), english_file)
    english = read_word_vectors(english_file)
    print(f"en: {len(english.words):,} words, {time.perf_counter() - start:.0f} s", flush=True)
    for language in args.languages:
        start = time.perf_counter()
        summary = make(args.data, args.out, language, english)
        print(f"{language}: {summary}, {time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
