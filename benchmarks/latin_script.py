"""Measures transfers to languages in Latin letters: German, Spanish, Turkish, Vietnamese, nDCG@10.

    python benchmarks/latin_script.py --bridge intfloat/multilingual-e5-small \
        --sources mini/splade-en SPLADE --out benchmarks/results/latin_script.json

The questions are those of `benchmarks/data/faq-LANGUAGE`: 40 answers and 60 questions of the bundled FAQ (its test
split), translated for this; question `-a` of an answer repeats words of it, `-b` hardly any. The tokenizer of a
language is made by `train_tokenizer` from its 40 answers, never from questions. Rows:

    english           the English encoder, untouched
    paper, default    transferred, by preset
    without accents   the default over a tokenizer that strips accents
    fused             the default with BM25 (`hybrid`, equal weights)
    bm25, bridge      BM25 over words; dense search with the bridge itself
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sembridge import (
    TokenizerRecipe,
    TransferRecipe,
    load_bridge,
    load_encoder,
    load_retrieval_data,
    load_tokenizer,
    train_tokenizer,
    transfer,
)
from sembridge.encoders.vectors import encode_corpus, encode_queries
from sembridge.retrieval.bm25 import bm25_run
from sembridge.retrieval.data import RetrievalData
from sembridge.retrieval.dense import evaluate_dense
from sembridge.retrieval.evaluation import evaluate_run
from sembridge.retrieval.runs import Run, exact_search, hybrid

MEASURE = "nDCG@10"
LANGUAGES = ("de", "es", "tr", "vi")
DATA = Path(__file__).parent / "data"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", nargs="+", default=["mini/splade-en"])
    parser.add_argument("--bridge", default="intfloat/multilingual-e5-small")
    parser.add_argument("--languages", nargs="+", default=LANGUAGES)
    parser.add_argument("--cache", type=Path, help="where bridge vectors are kept")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    bridge, sources = load_bridge(args.bridge), {Path(name).name: load_encoder(name) for name in args.sources}
    for language in args.languages:
        for row in measured(language, sources, bridge, args.cache):
            rows.append({"language": language, "bridge": Path(args.bridge).name, **row})
            print("  ".join(map(str, rows[-1].values())), flush=True)
            args.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def measured(language: str, sources: dict[str, Any], bridge: Any, cache: Path | None) -> Iterator[dict[str, Any]]:
    data = load_retrieval_data(DATA / f"faq-{language}", language=language)
    lexical = bm25_run(data)
    yield row("", "bm25", lexical, data)
    yield {"source": "", "row": "bridge", **split(evaluate_dense(bridge, data, measures=[MEASURE]).per_query, data)}
    with tempfile.TemporaryDirectory() as folder:
        tokenizers = {}
        for name, strip in (("kept", False), ("stripped", True)):
            made = train_tokenizer(list(data.corpus.values()), TokenizerRecipe(language=language, strip_accents=strip))
            tokenizers[name] = load_tokenizer(made.save(Path(folder) / name))
    for name, source in sources.items():
        yield row(name, "english", run_of(source, data), data)
        for label, preset, accents in (
            ("paper", "paper", "kept"), ("default", "default", "kept"), ("without accents", "default", "stripped"),
        ):  # fmt: skip
            recipe = TransferRecipe.build({"preset": preset})
            moved = transfer(source, tokenizers[accents], bridge, recipe=recipe, cache_folder=cache)
            run = run_of(moved.encoder, data)
            yield row(name, label, run, data)
            if label == "default":
                yield row(name, "fused", hybrid([run, lexical], [1, 1], n_documents=len(data.corpus)), data)


def run_of(encoder: Any, data: RetrievalData) -> Run:
    queries, documents = (
        encode_queries(encoder, list(data.queries.values())),
        encode_corpus(encoder, list(data.corpus.values())),
    )
    return exact_search(queries, documents, list(data.queries), list(data.corpus))


def split(per_query: dict[str, dict[str, float]], data: RetrievalData) -> dict[str, float]:
    """The mean over all questions, over those that share words with their answer (-a), and over the others (-b)."""
    found = {}
    for name, end in (("all", ""), ("a", "-a"), ("b", "-b")):
        values = [value for query, value in per_query[MEASURE].items() if query.endswith(end)]
        found[name] = round(sum(values) / len(values), 4)
    assert len(data.queries) == len(per_query[MEASURE])
    return found


def row(source: str, name: str, run: Run, data: RetrievalData) -> dict[str, Any]:
    return {"source": source, "row": name, **split(evaluate_run(run, data, measures=[MEASURE]).per_query, data)}


if __name__ == "__main__":
    main()
