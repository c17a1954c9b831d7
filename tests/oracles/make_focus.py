"""Makes focus.json: rows that the authors' package deepfocus builds from given token vectors.

    python -m venv venv
    venv/bin/pip install deepfocus==1.0.1 entmax fastdist fasttext-wheel print-on-steroids transformers torch
    venv/bin/python tests/oracles/make_focus.py

Only the training of fastText is left out (its C++ draws other random numbers than gensim): deepfocus is handed a table
of vectors in its place. It knows a WordPiece vocabulary by its hundred continuation pieces, hence the fillers.
"""

import json
import random
from importlib.metadata import version
from pathlib import Path

import deepfocus.focus
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

ROLES = {f"{name}_token": f"[{name.upper()}]" for name in ("cls", "sep", "unk", "pad", "mask")}
SHARED = ["2024", "seoul", "tree", "##s", "kbs", "12", "##ing", "tv"]
SOURCE = [*ROLES.values(), "home", "school", *SHARED, *(f"##q{number}" for number in range(120))]
TARGET = [*ROLES.values(), *reversed(SHARED), "학교", "##에서", "나무", "강", "도시", "책", "희귀",
          *(f"##하{number}" for number in range(120))]  # fmt: skip
WITHOUT_VECTOR = ("희귀", "tv")
DIM, WIDTH = 5, 3


def tokenizer(tokens: list[str]) -> PreTrainedTokenizerFast:
    ids = {token: number for number, token in enumerate(tokens)}
    backend = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=False)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    return PreTrainedTokenizerFast(tokenizer_object=backend, **ROLES)


def main() -> None:
    draw = random.Random(0)
    named = [token for token in TARGET[5:] if not token.startswith("##하") and token not in WITHOUT_VECTOR]
    vectors = {token: [round(draw.gauss(0, 1), 2) for _ in range(DIM)] for token in named}
    source_rows = [[round(draw.gauss(0, 1), 2) for _ in range(WIDTH)] for _ in SOURCE]
    table = {token: torch.tensor(vector).numpy() for token, vector in vectors.items()}
    deepfocus.focus.load_target_token_embedding = lambda **_: table
    rows = deepfocus.focus.FOCUS(
        tokenizer(TARGET),
        tokenizer(SOURCE),
        torch.tensor(source_rows),
        target_training_data_path="none",
        exact_match_all=True,
        fuzzy_match_all=False,
    )
    content = {
        "made_by": f"deepfocus {version('deepfocus')}",
        "source_tokens": SOURCE,
        "target_tokens": TARGET,
        "vectors": vectors,
        "source_rows": source_rows,
        "rows": {token: [round(float(x), 6) for x in rows[TARGET.index(token)]] for token in [*named, "tv"]},
    }
    path = Path(__file__).with_name("focus.json")
    path.write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
