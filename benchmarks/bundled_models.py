"""Whether the bundled models are what they should be: the encoder good and sparse, the bridge a translator of words.

    python benchmarks/bundled_models.py --data DATA --out benchmarks/results/bundled_models.json

The encoders are measured on whole test splits, and on the whole dev splits of the English sets on whose train splits
they were trained. `--parts development` computes that part again and keeps the others.

The bridge is tested on the headwords of the dictionaries that its recipe leaves out of training: for a target word, is
one of its English headwords the nearest (top 1), or among the five nearest, of all words of the encoder's vocabulary?
Only headwords of that vocabulary count, since the bridge chooses among its tokens. `all` lets every target word count,
`in vocabulary` those that are one token of the target tokenizer; `trained on` are a fifth of the others.
"""

import argparse
import json
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
from sentence_transformers import SentenceTransformer

from sembridge import evaluate, load_bridge, load_encoder, load_retrieval_data, load_tokenizer
from sembridge.encoders.vocabulary import read_vocabulary
from sembridge.language_transfer.bridge import embed_texts
from sembridge.retrieval.evaluation import evaluate_bm25

sys.path.insert(0, str(Path(__file__).parents[1] / "reproduction" / "mini"))
from bridge import dictionary
from development_data import LANGUAGES

MEASURE = "nDCG@10"
ENCODERS = ("mini/splade-en", "mini/splade-roberta-en")
DEVELOPMENT = ("squadshifts/en", "tydiqa/en", "fairytaleqa/en", "medquad/en", "qamr/en")
PACKAGES = ("sembridge", "sentence-transformers", "torch", "bm25s", "ir-measures")


def encoder_rows(sources: Sequence[str | Path], split: str, name: str) -> list[dict[str, object]]:
    encoder, rows = load_encoder(name), []
    for source in sources:
        collection = load_retrieval_data(source, language="en", split=split)
        ours = evaluate(encoder, collection, measures=[MEASURE], encode_with="fast")
        bm25 = evaluate_bm25(collection, measures=[MEASURE])
        rows.append(
            {
                "encoder": name,
                "data": collection.name,
                "n_queries": len(collection.queries),
                "n_documents": len(collection.corpus),
                MEASURE: ours.measures[MEASURE],
                f"bm25 {MEASURE}": bm25.measures[MEASURE],
                "query_active_dims": ours.query_active_dims,
                "document_active_dims": ours.document_active_dims,
                "flops": ours.flops,
            }
        )
        print(rows[-1], flush=True)
    return rows


def bridge_rows(data: Path) -> list[dict[str, object]]:
    bridge = load_bridge("mini/bridge")
    source = read_vocabulary(load_tokenizer("mini/splade-en"))
    words = sorted({text for text in source.texts if text.isalpha() and len(text) > 2})
    candidates = embed_texts(bridge, words)
    rows = []
    for language in LANGUAGES:
        target = read_vocabulary(load_tokenizer(f"mini/tokenizer-{language}"))
        one_token = set(target.texts)
        headwords = headwords_of(dictionary(data, language, test=True), words)
        seen = headwords_of(dictionary(data, language, test=False), words)
        for name, gold, tested in (
            ("all", headwords, sorted(headwords)),
            ("in vocabulary", headwords, sorted(word for word in headwords if word.lower() in one_token)),
            ("in vocabulary, trained on", seen, sorted(word for word in seen if word.lower() in one_token)[::5]),
        ):
            top_1, top_5 = accuracy(bridge, tested, gold, words, candidates)
            rows.append({"language": language, "words": name, "n_words": len(tested), "top 1": top_1, "top 5": top_5})
            print(rows[-1], flush=True)
    return rows


def headwords_of(pairs: list[tuple[str, str]], words: list[str]) -> dict[str, set[str]]:
    """Target word -> its English headwords among `words`."""
    known, found = set(words), {}
    for english, word in pairs:
        if english in known:
            found.setdefault(word, set()).add(english)
    return found


def accuracy(
    bridge: SentenceTransformer,
    tested: list[str],
    headwords: dict[str, set[str]],
    words: list[str],
    candidates: np.ndarray,
) -> tuple[float, float]:
    """Share of `tested` with a headword nearest, and among the five nearest."""
    similarity = embed_texts(bridge, tested) @ candidates.T
    nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :5]
    hits = np.array([[words[j] in headwords[word] for j in row] for word, row in zip(tested, nearest, strict=True)])
    return float(hits[:, 0].mean()), float(hits.any(1).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=["xquad/en", "tydiqa/en"])
    parser.add_argument("--encoders", nargs="+", default=ENCODERS)
    parts = {
        "encoder": lambda: encoders([*(args.data / name for name in args.sets), "mini/faq-en"], "test"),
        "development": lambda: encoders([args.data / name for name in DEVELOPMENT], "dev"),
        "bridge": lambda: bridge_rows(args.data),
    }
    parser.add_argument("--parts", nargs="+", choices=parts, default=tuple(parts))
    args = parser.parse_args()

    def encoders(sources: Sequence[str | Path], split: str) -> list[dict[str, object]]:
        return [row for name in args.encoders for row in encoder_rows(sources, split, name)]

    result = json.loads(args.out.read_text(encoding="utf-8")) if args.out.exists() else {}
    for part in args.parts:
        result[part] = parts[part]()
    result["versions"] = {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
