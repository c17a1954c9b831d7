"""Measures search across languages: questions in one language, documents in another, nDCG@10.

    python benchmarks/across_languages.py --data DATA --bridge BRIDGE --split dev --sets coursedocs faq --out FILE.json

Every set has the same question and document ids in all its languages; `faq` is the bundled one. Rows, for questions in
a language against English documents and the other way round:

    English           English questions against English documents: the ceiling
    untouched         the English encoder on the other language as it is
    mapped            vectors of the transferred encoder through W (`in_source_vocabulary`)
    pivot             the source's head over rows through W (`Pivot`), English in a text read as English
    pivot, words      the same with tokens for the words of the set's documents in that language (`with_words`)
    trained           pivots of `--trained FOLDER` (LANGUAGE in the name stands for the language), where there are
    bridge            dense search with the bridge itself
    bridge + pivot    the fusion of the bridge with the best pivot above (`hybrid`, equal weights)
    dictionary, BM25  every word replaced by its translations (`DATA/dictionaries`), BM25 over words

Words are taken from documents of the language, never from questions. Dimensions a question are given beside. `--more`
adds, on the FAQ: every language against every other; the milliseconds of a question; a bilingual encoder (`--extend`)
against two encoders on documents of two languages.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from scipy.sparse import csr_array, vstack

from sembridge import TransferRecipe, load_bridge, load_encoder, load_retrieval_data, load_tokenizer, transfer
from sembridge.encoders.transplant import narrowed
from sembridge.encoders.vectors import encode_corpus, encode_queries
from sembridge.files.word_pairs import translations
from sembridge.language_transfer.bridge import embed_texts
from sembridge.language_transfer.folder import LanguageTransfer
from sembridge.language_transfer.pivot import Pivot, in_source_vocabulary, pivot_encoder
from sembridge.language_transfer.pivot_reading import reading_english
from sembridge.language_transfer.pivot_words import with_words, words_of
from sembridge.retrieval.across import across, translated_run
from sembridge.retrieval.data import RetrievalData
from sembridge.retrieval.dense import evaluate_dense
from sembridge.retrieval.evaluation import evaluate_run, evaluate_vectors
from sembridge.retrieval.runs import Run, exact_search, hybrid

MEASURE = "nDCG@10"
PACKAGES = ("sembridge", "sentence-transformers", "transformers", "torch")
FAST = {"encode_with": "fast"}
ROWS = ("untouched", "pivot", "pivot, words", "mapped", "bridge", "dictionary")
BOTH = ("to English", "from English")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of sets in BEIR layout, NAME/LANGUAGE")
    parser.add_argument("--sets", nargs="*", default=["faq", "coursedocs"])
    parser.add_argument("--languages", nargs="+", default=["ar", "hi", "ko", "ru", "zh"])
    parser.add_argument("--split", default="dev", choices=("dev", "test"))
    parser.add_argument("--source", default="mini/splade-en")
    parser.add_argument("--bridge", default="mini/bridge")
    parser.add_argument("--trained", help="folders of trained pivots, such as out/pivot-LANGUAGE")
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--documents", type=int, default=300)
    parser.add_argument("--rows", nargs="*", default=ROWS, help="those that are computed, beside English and trained")
    parser.add_argument("--more", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for row in measure(args):
        rows.append({"bridge": Path(args.bridge).name, "split": args.split, **row})
        print("  ".join(str(value) for value in row.values()), flush=True)
        found = {"rows": rows, "versions": {name: version(name) for name in PACKAGES}}
        args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


@dataclass(frozen=True, eq=False)
class Bench:
    """What all measurements share."""

    args: argparse.Namespace
    source: Any
    bridge: Any

    def moved(self, language: str, **settings: Any) -> LanguageTransfer:
        tokenizer = load_tokenizer(f"mini/tokenizer-{language}")
        return transfer(self.source, tokenizer, self.bridge, recipe=TransferRecipe.build(settings))

    def data(self, name: str, language: str) -> RetrievalData:
        place = f"mini/faq-{language}" if name == "faq" else self.args.data / name / language
        return load_retrieval_data(place, split=self.args.split)

    def with_words(self, moved: LanguageTransfer, name: str, language: str) -> Any:
        """The pivot with words of a set; without them for a language that is written without spaces."""
        pieces = reading_english(self.source, moved.encoder.tokenizer, moved.alignment)
        if language == "zh":
            return pivot_encoder(self.source, *pieces)
        its = words_of(self.data(name, language).corpus.values(), place=name)
        longer = with_words(self.source, *pieces, its, partial(embed_texts, self.bridge))
        return pivot_encoder(self.source, *longer)


def measure(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    bench = Bench(args, load_encoder(args.source), load_bridge(args.bridge))
    readers = {}
    for language in args.languages:
        moved = bench.moved(language)
        for name in args.sets:
            yield from set_rows(bench, moved, name, language)
        if args.more:
            readers[language] = bench.with_words(moved, "faq", language)
            yield from latency(bench, moved, readers[language], language)
    if args.more:
        yield from every_pair(bench, readers)
        yield from bilingual(bench, readers["ko"])


def set_rows(bench: Bench, moved: LanguageTransfer, name: str, language: str) -> Iterator[dict[str, Any]]:
    english, foreign = in_common(bench, name, language)
    n_dims = moved.alignment.weights.n_columns
    found = partial(line, name, language)
    asked, held = vectors(bench.source, english)
    yield found("English", "both", *scored(asked, held, english))
    wanted = bench.args.rows
    makers = {
        "untouched": lambda: bench.source,
        "pivot": lambda: Pivot.of_transfer(bench.source, moved).encoder,
        "pivot, words": lambda: bench.with_words(moved, name, language),
    }
    readers = {row: make() for row, make in makers.items() if row in wanted}
    if bench.args.trained and Path(place := bench.args.trained.replace("LANGUAGE", language)).is_dir():
        readers["trained"] = load_encoder(place)
    runs: dict[str, Run] = {}
    for row, reader in readers.items():
        queries, documents = (each[:, :n_dims] for each in vectors(reader, foreign))
        for way, pair in zip(BOTH, ((queries, held), (asked, documents)), strict=True):
            yield found(row, way, *scored(*pair, english))
            runs[way] = run_of(*pair, english)
        yield found(row, "within", *scored(queries, documents, english))
    if "mapped" in wanted:
        yield from mapped_rows(found, moved, english, foreign, asked, held)
    if "bridge" in wanted:
        yield from dense_rows(bench, found, english, foreign, runs)
    if "dictionary" in wanted:
        dictionary = translations(bench.args.data / "dictionaries" / f"en-{language}.tsv.gz")
        run = translated_run(replace(english, queries=foreign.queries), dictionary)
        yield found("dictionary, BM25", "to English", ndcg(run, english))


def mapped_rows(
    found: Any,
    moved: LanguageTransfer,
    english: RetrievalData,
    foreign: RetrievalData,
    asked: csr_array,
    held: csr_array,
) -> Iterator[dict[str, Any]]:
    queries, documents = (in_source_vocabulary(each, moved.alignment) for each in vectors(moved.encoder, foreign))
    yield found("mapped", "to English", *scored(queries, held, english))
    yield found("mapped", "from English", *scored(asked, documents, english))


def dense_rows(
    bench: Bench, found: Any, english: RetrievalData, foreign: RetrievalData, runs: Mapping[str, Run]
) -> Iterator[dict[str, Any]]:
    """The bridge, and its fusion with the last reader's runs."""
    for way, asking, answering in zip(BOTH, (foreign, english), (english, foreign), strict=True):
        data = replace(english, queries=asking.queries, corpus=answering.corpus)
        dense = evaluate_dense(bench.bridge, data, measures=[MEASURE])
        yield found("bridge", way, dense.measures[MEASURE])
        fused = hybrid([dense.run, runs[way]], [0.5, 0.5], n_documents=len(data.corpus))
        yield found("bridge + pivot", way, ndcg(fused, data))


def in_common(bench: Bench, name: str, language: str) -> tuple[RetrievalData, RetrievalData]:
    """English data and those of the language over the same ids, sampled alike."""
    own, other = bench.data(name, "en"), bench.data(name, language)
    both = across(own, other).data
    english = replace(both, corpus={doc: own.corpus[doc] for doc in sorted(own.corpus.keys() & other.corpus.keys())})
    known = {query: text for query, text in english.queries.items() if query in other.queries}
    english = replace(english, queries=known, qrels={query: english.qrels[query] for query in known})
    english = english.sample(bench.args.queries, bench.args.documents, seed=0)
    foreign = replace(
        english,
        queries={query: other.queries[query] for query in english.queries},
        corpus={doc: other.corpus[doc] for doc in english.corpus},
    )
    return english, foreign


def vectors(encoder: Any, data: RetrievalData) -> tuple[csr_array, csr_array]:
    queries = encode_queries(encoder, list(data.queries.values()), **FAST)
    return queries, encode_corpus(encoder, list(data.corpus.values()), **FAST)


def scored(queries: csr_array, documents: csr_array, data: RetrievalData) -> tuple[float, float]:
    """The measure, and dimensions a question."""
    figures = evaluate_vectors(queries, documents, data, measures=[MEASURE])
    return figures.measures[MEASURE], figures.query_active_dims or 0.0


def run_of(queries: csr_array, documents: csr_array, data: RetrievalData) -> Run:
    return exact_search(queries, documents, list(data.queries), list(data.corpus))


def ndcg(run: Run, data: RetrievalData) -> float:
    return evaluate_run(run, data, measures=[MEASURE]).measures[MEASURE]


def line(name: str, language: str, row: str, way: str, value: float, dims: float | None = None) -> dict[str, Any]:
    found = {"set": name, "language": language, "row": row, "way": way, MEASURE: round(value, 4)}
    return found if dims is None else {**found, "dims": round(dims, 1)}


def latency(bench: Bench, moved: LanguageTransfer, pivot: Any, language: str) -> Iterator[dict[str, Any]]:
    """Median milliseconds of a question, encoded alone: within the language, and over the English vocabulary."""
    questions = list(bench.data("faq", language).queries.values())[:40]
    readers = {"within": moved.encoder, "pivot": narrowed(pivot, moved.alignment.weights.n_columns)}
    taken: dict[str, list[float]] = {row: [] for row in readers}
    for question in [*questions[:3], *questions]:  # in turn, so that other work on the machine slows both
        for row, encoder in readers.items():
            start = time.perf_counter()
            encode_queries(encoder, [question])
            taken[row].append(1000 * (time.perf_counter() - start))
    for row, times in taken.items():
        found = round(statistics.median(times[3:]), 2)
        yield {"set": "faq", "language": language, "row": f"{row}, ms a question", "ms": found}


def every_pair(bench: Bench, readers: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """One index of all languages: a question in each, the documents of each (as by `--filter language=`)."""
    all_readers = {"en": bench.source, **readers}
    data = {language: bench.data("faq", language) for language in all_readers}
    n_dims = len(bench.source.tokenizer)
    encoded = {
        language: [each[:, :n_dims] for each in vectors(r, data[language])] for language, r in all_readers.items()
    }
    for asking, (queries, _) in encoded.items():
        for answering, (_, documents) in encoded.items():
            both = replace(data[asking], corpus=data[answering].corpus)
            value, _ = scored(queries, documents, both)
            yield {"set": "faq, six languages", "asked in": asking, "documents in": answering, MEASURE: round(value, 4)}


def bilingual(bench: Bench, pivot: Any) -> Iterator[dict[str, Any]]:
    """Korean and English documents in one collection, questions in both; both versions of a document are right."""
    english, korean = bench.data("faq", "en"), bench.data("faq", "ko")
    sides = (("en", english), ("ko", korean))
    mixed = RetrievalData(
        "mixed", None,
        corpus={f"{tag}:{doc}": text for tag, data in sides for doc, text in data.corpus.items()},
        queries={f"{tag}:{query}": text for tag, data in sides for query, text in data.queries.items()},
        qrels={
            f"{tag}:{query}": {f"{other}:{doc}": grade for other, _ in sides for doc, grade in grades.items()}
            for tag, data in sides for query, grades in data.qrels.items()
        },
    )  # fmt: skip
    report = partial(line, "faq, en and ko mixed", "en ko")
    joint = bench.moved("ko", extend=True).encoder
    yield report("bilingual encoder", "one index", *scored(*vectors(joint, mixed), mixed))
    n_dims = len(bench.source.tokenizer)
    parts = [vectors(encoder, data) for encoder, data in ((bench.source, english), (pivot, korean))]
    queries, documents = (vstack([part[side][:, :n_dims] for part in parts], format="csr") for side in (0, 1))
    yield report("pivot", "one index", *scored(queries, documents, mixed))
    two = [separate(encoder, mixed, tag) for tag, encoder in (("en", bench.source), ("ko", bench.moved("ko").encoder))]
    yield report(
        "two encoders", "two indexes, fused", ndcg(hybrid(two, [0.5, 0.5], n_documents=len(mixed.corpus)), mixed)
    )
    yield report("two encoders", "of the question's language", ndcg({**of("en:", two[0]), **of("ko:", two[1])}, mixed))


def separate(encoder: Any, mixed: RetrievalData, tag: str) -> Run:
    """All questions against the documents of one language by its own encoder."""
    part = {doc: text for doc, text in mixed.corpus.items() if doc.startswith(tag)}
    queries = encode_queries(encoder, list(mixed.queries.values()), **FAST)
    return exact_search(queries, encode_corpus(encoder, list(part.values()), **FAST), list(mixed.queries), list(part))


def of(tag: str, run: Run) -> Run:
    return {query: found for query, found in run.items() if query.startswith(tag)}


if __name__ == "__main__":
    main()
