"""Quality against postings: what an index loses when only the largest weights of a document are kept.

    python benchmarks/pruning.py --data DATA --out benchmarks/results/pruning.json

`mini/splade-en` moved to Korean and Chinese (preset default), documents of korquad/ko, cmrc2018/zh and the bundled FAQ;
queries are never pruned. One encoding, pruned in every way: the rows of a set differ in nothing else.
"""

import argparse
import json
import platform
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from sembridge import load_bridge, load_encoder, load_retrieval_data, load_tokenizer, transfer
from sembridge.deployment.search.pruning import prune
from sembridge.encoders.vectors import encode_corpus, encode_queries
from sembridge.language_transfer.recipe import TransferRecipe
from sembridge.retrieval.evaluation import evaluate_vectors

MEASURE = "nDCG@10"
SETS = {"ko": ["korquad/ko", "mini/faq-ko"], "zh": ["cmrc2018/zh", "mini/faq-zh"]}
PRUNINGS = [
    (None, 0.0), (128, 0.0), (64, 0.0), (32, 0.0), (16, 0.0), (None, 0.1), (None, 0.2), (None, 0.4)
]  # fmt: skip


def rows(args: argparse.Namespace) -> Iterator[dict[str, object]]:
    source, bridge = load_encoder("mini/splade-en"), load_bridge("mini/bridge")
    for language, names in SETS.items():
        tokenizer = load_tokenizer(f"mini/tokenizer-{language}")
        encoder = transfer(source, tokenizer, bridge, recipe=TransferRecipe.build({"seed": args.seed})).encoder
        for name in names:
            place = name if name.startswith("mini/") else args.data / name
            data = load_retrieval_data(place, language=language).sample(args.queries, args.documents, seed=args.seed)
            documents = encode_corpus(encoder, list(data.corpus.values()), encode_with=args.engine)
            queries = encode_queries(encoder, list(data.queries.values()), encode_with=args.engine)
            for max_active_dims, min_weight in PRUNINGS:
                kept = prune(documents, max_active_dims=max_active_dims, min_weight=min_weight)
                found = evaluate_vectors(queries, kept, data, measures=[MEASURE])
                yield {
                    "data": name,
                    "n_queries": len(data.queries),
                    "n_documents": len(data.corpus),
                    "max_active_dims": max_active_dims,
                    "min_weight": min_weight,
                    "postings": int(kept.nnz),
                    "postings kept": kept.nnz / documents.nnz,
                    "flops": found.flops,
                    MEASURE: found.measures[MEASURE],
                }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--documents", type=int, default=1000)
    parser.add_argument("--engine", default="fast-bf16")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    found = []
    for row in rows(args):
        found.append(row)
        print(row, flush=True)
    packages = {name: version(name) for name in ("sembridge", "sentence-transformers", "torch")}
    settings = {key: value for key, value in vars(args).items() if key not in ("data", "out")}
    result = {"settings": settings, "versions": {"python": platform.python_version(), **packages}, "rows": found}
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
