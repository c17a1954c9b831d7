"""Measures search across languages: questions in one language, documents in another, nDCG@10.

    python benchmarks/across_languages.py --data DATA --bridge BRIDGE --split dev --sets coursedocs faq --out FILE.json

Every set has the same question and document ids in all its languages. Rows, for questions in a language against English
documents and the other way round:

    English           English questions against English documents: the ceiling
    untouched         the English encoder on the other language as it is
    mapped            vectors of the transferred encoder through W (`in_source_vocabulary`)
    pivot             the source's head over rows through W (`pivot_encoder`)
    pivot, words      the same with tokens for the words of the set's documents in that language (`with_words`)
    bridge            dense search with the bridge itself
    dictionary, BM25  every word replaced by its translations (`DATA/dictionaries`), BM25 over words

Words are taken from documents of the language, never from questions. Dimensions a question are given beside.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from scipy.sparse import csr_array

from sembridge import TransferRecipe, load_bridge, load_encoder, load_retrieval_data, load_tokenizer, transfer
from sembridge.encoders.vectors import encode_corpus, encode_queries
from sembridge.encoders.words import words
from sembridge.language_transfer.bridge import embed_texts
from sembridge.language_transfer.pivot import in_source_vocabulary, pivot_encoder
from sembridge.language_transfer.pivot_words import with_words, words_of
from sembridge.retrieval.bm25 import bm25_run
from sembridge.retrieval.data import RetrievalData
from sembridge.retrieval.dense import evaluate_dense
from sembridge.retrieval.evaluation import evaluate_run, evaluate_vectors

MEASURE = "nDCG@10"
FAST = {"encode_with": "fast"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of sets in BEIR layout, NAME/LANGUAGE")
    parser.add_argument("--sets", nargs="+", default=["faq", "coursedocs"], help="faq is the bundled one")
    parser.add_argument("--languages", nargs="+", default=["ar", "hi", "ko", "ru", "zh"])
    parser.add_argument("--split", default="dev", choices=("dev", "test"))
    parser.add_argument("--source", default="mini/splade-en")
    parser.add_argument("--bridge", default="mini/bridge")
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--documents", type=int, default=300)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for language in args.languages:
        for row in measure(language, args):
            rows.append(row)
            print("  ".join(str(value) for value in row.values()), flush=True)
            args.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def measure(language: str, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    source, bridge = load_encoder(args.source), load_bridge(args.bridge)
    embed = partial(embed_texts, bridge)
    result = transfer(source, load_tokenizer(f"mini/tokenizer-{language}"), bridge, recipe=TransferRecipe.build({}))
    tokenizer = result.encoder.tokenizer
    pivot = pivot_encoder(source, tokenizer, result.alignment)
    for name in args.sets:
        english, foreign = (data_of(name, each, args) for each in ("en", language))
        english, foreign = in_common(english, foreign, args)
        readers = {"pivot": pivot}
        if language != "zh":  # written without spaces
            its_words = words_of(data_of(name, language, args).corpus.values(), place=name)
            longer, alignment = with_words(source, tokenizer, result.alignment, its_words, embed)
            readers["pivot, words"] = pivot_encoder(source, longer, alignment)
        found = partial(row_of, name, language)
        english_q, english_d = vectors(source, english)
        yield found("English", "both", english, english_q, english_d)
        for row, encoder in {"untouched": source, **readers}.items():
            queries, documents = (each[:, : english_d.shape[1]] for each in vectors(encoder, foreign))
            yield found(row, "to English", english, queries, english_d)
            yield found(row, "from English", english, english_q, documents)
            yield found(row, "within", english, queries, documents)
        queries, documents = (in_source_vocabulary(each, result.alignment) for each in vectors(result.encoder, foreign))
        yield found("mapped", "to English", english, queries, english_d)
        yield found("mapped", "from English", english, english_q, documents)
        yield from dense_rows(found, bridge, english, foreign)
        yield dictionary_row(found, args.data / "dictionaries" / f"en-{language}.tsv.gz", english, foreign)


def data_of(name: str, language: str, args: argparse.Namespace) -> RetrievalData:
    place = f"mini/faq-{language}" if name == "faq" else args.data / name / language
    return load_retrieval_data(place, split=args.split)


def in_common(english: RetrievalData, foreign: RetrievalData, args: argparse.Namespace) -> tuple[RetrievalData, ...]:
    """Both over the questions and documents that both have, sampled alike; judgments are the English ones."""
    documents = english.corpus.keys() & foreign.corpus.keys()
    judged = {q: {d: g for d, g in grades.items() if d in documents} for q, grades in english.qrels.items()}
    qrels = {q: grades for q, grades in judged.items() if grades and q in foreign.queries}
    both = replace(english, corpus={d: english.corpus[d] for d in sorted(documents)},
                   queries={q: english.queries[q] for q in sorted(qrels)}, qrels=qrels)  # fmt: skip
    shared = both.sample(args.queries, args.documents, seed=0)
    other = replace(foreign, corpus={d: foreign.corpus[d] for d in shared.corpus},
                    queries={q: foreign.queries[q] for q in shared.queries}, qrels=shared.qrels)  # fmt: skip
    return shared, other


def vectors(encoder: Any, data: RetrievalData) -> tuple[csr_array, csr_array]:
    queries = encode_queries(encoder, list(data.queries.values()), **FAST)
    return queries, encode_corpus(encoder, list(data.corpus.values()), **FAST)


def row_of(
    name: str, language: str, row: str, way: str, data: RetrievalData, queries: csr_array, documents: csr_array
) -> dict[str, Any]:
    figures = evaluate_vectors(queries, documents, data, measures=[MEASURE])
    return line(name, language, row, way, figures.measures, dims=round(figures.query_active_dims or 0, 1))


def line(name: str, language: str, row: str, way: str, figures: Mapping[str, float], **more: Any) -> dict[str, Any]:
    return {"set": name, "language": language, "row": row, "way": way, MEASURE: round(figures[MEASURE], 4), **more}


def dense_rows(found: Any, bridge: Any, english: RetrievalData, foreign: RetrievalData) -> Iterator[dict[str, Any]]:
    for way, asking, answering in (("to English", foreign, english), ("from English", english, foreign)):
        data = replace(english, queries=asking.queries, corpus=answering.corpus)
        yield line(*found.args, "bridge", way, evaluate_dense(bridge, data, measures=[MEASURE]).measures)


def dictionary_row(found: Any, path: Path, english: RetrievalData, foreign: RetrievalData) -> dict[str, Any]:
    translations: dict[str, list[str]] = {}
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for one in lines:
            source, target = one.rstrip("\n").split("\t")
            translations.setdefault(target.casefold(), []).append(source)
    asked = {q: " ".join(e for w in words(t) for e in translations.get(w, [w])) for q, t in foreign.queries.items()}
    translated = replace(english, queries=asked)
    figures = evaluate_run(bm25_run(translated), english, measures=[MEASURE]).measures
    return line(*found.args, "dictionary, BM25", "to English", figures)


if __name__ == "__main__":
    main()
