"""Makes `mini/tokenizer-{ar,zh,hi,ko,ru}` (WordPiece), `mini/tokenizer-ko-bpe` and `mini/tokenizer-ko-unigram`.

    python reproduction/mini/target_tokenizers.py --data DATA --out mini/src/sembridge_mini

24k entries: whole words make every bridge better than fragments do. Accents are stripped for Arabic only (its vowel
signs are optional); elsewhere the stripping would take Devanagari's vowels and the Russian short i apart.
Chinese is not written with spaces, so its words have no start: no continuation marker there.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from development_data import LANGUAGES, compact_json, corpora, parallel_pairs
from tokenizers import Tokenizer, normalizers, trainers

from sembridge.encoders import tokenizer_pipelines as pipelines


def texts(data: Path, language: str) -> Iterator[str]:
    yield from corpora(data, language)
    for _, target in parallel_pairs(data, language):
        yield target


def wordpiece(language: str, size: int) -> tuple[Tokenizer, trainers.Trainer]:
    spaces = language != "zh"
    normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=spaces, strip_accents=language == "ar", lowercase=True
    )
    return pipelines.wordpiece(normalizer, size, spaces=spaces, limit_alphabet=5000)


def save(tokenizer: Tokenizer, folder: Path, *, language: str, data_names: str) -> None:
    """A stock Hugging Face tokenizer folder, without white space in its JSON."""
    pipelines.finished(tokenizer).save_pretrained(folder)
    compact_json(folder / "tokenizer.json")
    (folder / "README.md").write_text(
        f"---\nlanguage: {language}\nlicense: cc-by-sa-4.0\n---\n\n"
        f"{type(tokenizer.model).__name__} tokenizer with {tokenizer.get_vocab_size():,} entries, made by "
        f"`reproduction/mini/target_tokenizers.py` from {data_names}; sources and licences: "
        "`reproduction/mini/README.md`.\n",
        encoding="utf-8",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", type=int, default=24_000)
    args = parser.parse_args()
    kinds = {f"tokenizer-{language}": (language, wordpiece(language, args.size)) for language in LANGUAGES}
    kinds["tokenizer-ko-bpe"] = ("ko", pipelines.byte_level_bpe(normalizers.NFC(), args.size))
    kinds["tokenizer-ko-unigram"] = ("ko", pipelines.unigram(normalizers.NFKC(), args.size))
    for name, (language, (tokenizer, trainer)) in kinds.items():
        tokenizer.train_from_iterator(texts(args.data, language), trainer=trainer)
        save(tokenizer, args.out / name, language=language, data_names="the passages and parallel text of its language")
        print(name, tokenizer.get_vocab_size())


if __name__ == "__main__":
    main()
