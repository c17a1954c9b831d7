"""Stock tokenizer folders from the vocabulary files (`NAME/vocab.txt`) of published BERT models.

    python reproduction/published/tokenizers_from_vocabularies.py VOCABULARIES OUT

Case and accents are those the models were trained with: a folder made from a vocabulary alone does not know them.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

from transformers import BertTokenizerFast


@dataclass(frozen=True)
class Published:
    """A folder below VOCABULARIES and how its model reads text; accents None: stripped where case is."""

    vocabulary: str
    lower_case: bool
    strip_accents: bool | None = None


PUBLISHED = {
    "tokenizer-ar": Published("bert-base-arabic", lower_case=True, strip_accents=True),
    "tokenizer-hi": Published("bert-base-multilingual-cased", lower_case=False),
    "tokenizer-ko": Published("kobigbird-bert-base", lower_case=False),
    "tokenizer-ru": Published("rubert-base-cased-truncated", lower_case=False),
    "tokenizer-zh": Published("bert-base-chinese", lower_case=True),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vocabularies", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    for name, published in PUBLISHED.items():
        tokenizer = BertTokenizerFast(
            vocab=str(args.vocabularies / published.vocabulary / "vocab.txt"),
            do_lower_case=published.lower_case,
            strip_accents=published.strip_accents,
            model_max_length=512,
        )
        tokenizer.save_pretrained(args.out / name)
        print(f"{name}: {len(tokenizer):,} entries of {published.vocabulary}")


if __name__ == "__main__":
    main()
