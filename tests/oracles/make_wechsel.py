"""Makes wechsel.json: rows that the authors' package wechsel builds from two tiny word vector spaces.

    python -m venv venv
    venv/bin/pip install wechsel==0.0.4 fasttext-wheel nltk gensim transformers
    venv/bin/python tests/oracles/make_wechsel.py

The words' counts follow Zipf's law exactly, 27720 / rank, which is what sembridge takes for a file without counts.
"""

import json
import random
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
from gensim.models import Word2Vec
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from wechsel import WECHSEL

ROLES = {f"{name}_token": f"[{name.upper()}]" for name in ("cls", "sep", "unk", "pad", "mask")}
SOURCE_WORDS = ["school", "house", "School", "river", "houses", "books", "book", "schools", "rivers", "tree", "trees"]
TARGET_WORDS = ["школа", "дом", "Дом", "река", "дома", "книга", "школы", "книги", "реки", "лес"]
# School is known in two spellings and so counts more often; sky and небо are in no file.
PAIRS = [("school", "школа"), ("House", "дом"), ("river", "река"), ("book", "книга"), ("tree", "лес"), ("sky", "небо")]
SOURCE = [*ROLES.values(), "school", "School", "house", "river", "book", "tree", "##s"]
TARGET = [*ROLES.values(), "школ", "дом", "Дом", "рек", "книг", "лес", "##а", "##ы", "##и", "нет"]
# Positive means: every nearest neighbour has a positive cosine. wechsel gives tokens without a vector the cosine zero.
DIM, WIDTH, NEIGHBOURS, TEMPERATURE = 4, 3, 3, 0.1


def tokenizer(tokens: list[str]) -> PreTrainedTokenizerFast:
    ids = {token: number for number, token in enumerate(tokens)}
    backend = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=False)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    return PreTrainedTokenizerFast(tokenizer_object=backend, **ROLES)


def word2vec(words: list[str], vectors: list[list[float]]) -> Word2Vec:
    model = Word2Vec(vector_size=DIM, min_count=1)
    model.build_vocab_from_freq({word: 27720 // rank for rank, word in enumerate(words, start=1)})
    assert model.wv.index_to_key == words
    model.wv.vectors = np.array(vectors, dtype=np.float32)
    return model


def main() -> None:
    draw = random.Random(1)

    def matrix(n_rows: int, width: int) -> list[list[float]]:
        return [[round(draw.gauss(1, 1), 2) for _ in range(width)] for _ in range(n_rows)]

    source_vectors, target_vectors = matrix(len(SOURCE_WORDS), DIM), matrix(len(TARGET_WORDS), DIM)
    source_rows = matrix(len(SOURCE), WIDTH)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "dictionary.txt"
        path.write_text("".join(f"{english}\t{other}\n" for english, other in PAIRS), encoding="utf-8")
        wechsel = WECHSEL(
            word2vec(SOURCE_WORDS, source_vectors),
            word2vec(TARGET_WORDS, target_vectors),
            bilingual_dictionary=str(path),
        )
    rows, info = wechsel.apply(
        tokenizer(SOURCE),
        tokenizer(TARGET),
        np.array(source_rows),
        use_subword_info=False,
        neighbors=NEIGHBOURS,
        temperature=TEMPERATURE,
    )
    found = [token for token in TARGET if token in info.sources]
    content = {
        "made_by": f"wechsel {version('wechsel')}",
        "source_words": dict(zip(SOURCE_WORDS, source_vectors, strict=True)),
        "target_words": dict(zip(TARGET_WORDS, target_vectors, strict=True)),
        "pairs": PAIRS,
        "source_tokens": SOURCE,
        "target_tokens": TARGET,
        "neighbours": NEIGHBOURS,
        "temperature": TEMPERATURE,
        "source_rows": source_rows,
        "rows": {token: [round(float(x), 6) for x in rows[TARGET.index(token)]] for token in found},
        "sources": {token: list(info.sources[token][0]) for token in found},
        "not_found": [token for token in info.not_found if token not in ROLES.values()],
    }
    path = Path(__file__).with_name("wechsel.json")
    path.write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
