"""Measures search across languages: questions in one language, documents in another, nDCG@10.

    python benchmarks/across_languages.py --data DATA --bridge BRIDGE --split dev --sets coursedocs faq --out FILE.json

Every set has the same question and document ids in all its languages; `faq` is the bundled one. Rows, for questions in
a language against English documents and the other way round:

    English           English questions against English documents: the ceiling
    untouched         the English encoder on the other language as it is
    dictionary, BM25  every word replaced by its translations (`DATA/dictionaries`), BM25 over words
    mapped            vectors of the transferred encoder through W (`in_source_vocabulary`)
    pivot             the source's head over rows through W (`Pivot`), English in a text read as English
    pivot, words      the same with tokens for the words of the set's documents in that language (`with_words`)
    NAME              pivots of `--pivots NAME=FOLDER` (LANGUAGE in it stands for the language)
    bridge            dense search with the bridge itself
    bridge + pivot    the fusion of the bridge with the last pivot above (`hybrid`)

Words are taken from documents of the language, never from questions. Beside stand the dimensions of a question and of a
document, and the chance of a difference to the bridge (paired permutation test; `make_readme.py` corrects it by Holm).
`--more` adds, on the FAQ: `pairs`, every language against every other; `latency`, the milliseconds of a question;
`bilingual`, an encoder of both vocabularies (`--extend`) against two encoders on documents of two languages. FILE.json
keeps what it has of other bridges, sets, splits and languages.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
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
from sembridge.retrieval.evaluation import Evaluation, evaluate_run, evaluate_vectors
from sembridge.retrieval.runs import Run, exact_search, hybrid
from sembridge.retrieval.significance import compare_all

MEASURE = "nDCG@10"
PACKAGES = ("sembridge", "sentence-transformers", "transformers", "torch")
FAST = {"encode_with": "fast"}
ROWS = ("untouched", "dictionary", "mapped", "pivot", "pivot, words", "bridge")
BOTH = ("to English", "from English")
MORE = ("pairs", "latency", "bilingual")
OF_LATENCY = "ko"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of sets in BEIR layout, NAME/LANGUAGE")
    parser.add_argument("--sets", nargs="*", default=["faq", "coursedocs"])
    parser.add_argument("--languages", nargs="+", default=["ar", "hi", "ko", "ru", "zh"])
    parser.add_argument("--split", default="dev", choices=("dev", "test"))
    parser.add_argument("--source", default="mini/splade-en")
    parser.add_argument("--bridge", default="mini/bridge")
    parser.add_argument(
        "--pivots", nargs="*", default=[], help="NAME=FOLDER of saved pivots, such as out/pivot-LANGUAGE"
    )
    parser.add_argument("--bridge-weight", type=float, default=0.5, help="of the bridge in its fusion")
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--documents", type=int, default=300)
    parser.add_argument("--rows", nargs="*", default=ROWS, help="those that are computed, beside English and trained")
    parser.add_argument("--more", nargs="*", default=[], choices=MORE, help="on the FAQ, with its last pivot")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    kept = json.loads(args.out.read_text(encoding="utf-8"))["rows"] if args.out.exists() else []
    for row in measure(args):
        row = {"bridge": Path(args.bridge).name, "split": args.split, **row}
        print("  ".join(str(value) for value in row.values()), flush=True)
        kept = [*(other for other in kept if what(other) != what(row)), row]
        found = {"rows": kept, "versions": {name: version(name) for name in PACKAGES}}
        args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def what(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a row says something of."""
    return tuple(
        row.get(key) for key in ("bridge", "split", "set", "language", "row", "way", "asked in", "documents in")
    )


class Bench:
    """What all measurements share; models are loaded when a row needs them."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.source = load_encoder(args.source)
        self.n_dims = len(self.source.tokenizer)
        self.made: dict[tuple[Any, ...], tuple[Any, tuple[csr_array, csr_array]]] = {}

    @cached_property
    def bridge(self) -> Any:
        return load_bridge(self.args.bridge)

    @cached_property
    def dense(self) -> Any:
        return Remembering(self.bridge)

    def moved(self, language: str, **settings: Any) -> LanguageTransfer:
        tokenizer = load_tokenizer(f"mini/tokenizer-{language}")
        return transfer(self.source, tokenizer, self.bridge, recipe=TransferRecipe.build(settings))

    def data(self, name: str, language: str) -> RetrievalData:
        place = f"mini/faq-{language}" if name == "faq" else self.args.data / name / language
        return load_retrieval_data(place, split=self.args.split)

    def vectors(self, reader: Any, data: RetrievalData) -> tuple[csr_array, csr_array]:
        """Those of questions and documents in English dimensions, made once for all languages and tables."""
        key = (id(reader), *data.queries.values(), *data.corpus.values())
        if key not in self.made:
            self.made[key] = (reader, vectors(reader, data))  # the reader is kept: its id is its own while it lives
        queries, documents = self.made[key][1]
        return queries[:, : self.n_dims], documents[:, : self.n_dims]

    def with_words(self, moved: LanguageTransfer, texts: RetrievalData, language: str) -> Any:
        """The pivot with words of documents; without them for a language that is written without spaces."""
        pieces = reading_english(self.source, moved.encoder.tokenizer, moved.alignment)
        if language == "zh":
            return pivot_encoder(self.source, *pieces)
        its = words_of(texts.corpus.values(), place=texts.name)
        longer = with_words(self.source, *pieces, its, partial(embed_texts, self.bridge))
        return pivot_encoder(self.source, *longer)

    def saved(self, language: str) -> dict[str, Any]:
        """The pivots of `--pivots` that are there for a language."""
        pairs = (given.replace("LANGUAGE", language).split("=", 1) for given in self.args.pivots)
        return {name: Pivot.load(place, self.source).text_model for name, place in pairs if Path(place).is_dir()}


class Remembering:
    """A dense encoder that encodes the English texts of a set once for all languages."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.known: dict[tuple[str, tuple[str, ...]], Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def encode_query(self, texts: list[str], **options: Any) -> Any:
        return self._once("encode_query", texts, options)

    def encode_document(self, texts: list[str], **options: Any) -> Any:
        return self._once("encode_document", texts, options)

    def _once(self, method: str, texts: list[str], options: Mapping[str, Any]) -> Any:
        key = (method, tuple(texts))
        if key not in self.known:
            self.known[key] = getattr(self.model, method)(texts, **options)
        return self.known[key]


@dataclass(frozen=True, eq=False)
class Language:
    """One language: its transfer and its readers, made when asked for."""

    bench: Bench
    code: str

    @cached_property
    def moved(self) -> LanguageTransfer:
        return self.bench.moved(self.code)

    @cached_property
    def saved(self) -> dict[str, Any]:
        return self.bench.saved(self.code)

    def readers(self, texts: RetrievalData) -> dict[str, Any]:
        """Row -> pivot, in the order of the table; words are those of `texts`."""
        source, wanted = self.bench.source, self.bench.args.rows
        found: dict[str, Any] = {}
        if "pivot" in wanted:
            found["pivot"] = Pivot.of_transfer(source, self.moved).encoder
        if "pivot, words" in wanted:
            found["pivot, words"] = self.bench.with_words(self.moved, texts, self.code)
        return {**found, **self.saved}


def measure(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    bench = Bench(args)
    best = {}
    for code in args.languages:
        language = Language(bench, code)
        for name in args.sets:
            yield from set_rows(bench, language, name)
        if args.more:
            readers = language.readers(in_common(bench, "faq", code)[1])
            best[code] = list(readers.values())[-1]
            if code == OF_LATENCY and "latency" in args.more:
                yield from latency(bench, language, readers)
    if "pairs" in args.more:
        yield from every_pair(bench, best)
    if "bilingual" in args.more:
        yield from bilingual(bench, best[OF_LATENCY])


@dataclass(frozen=True, eq=False)
class Pairing:
    """Questions and documents of two languages, with the vectors that the English encoder gives to either side."""

    english: RetrievalData
    foreign: RetrievalData
    asked: csr_array
    held: csr_array

    def data(self, way: str) -> RetrievalData:
        queries, corpus = (self.foreign, self.english) if way == BOTH[0] else (self.english, self.foreign)
        return replace(self.english, queries=queries.queries, corpus=corpus.corpus)


def set_rows(bench: Bench, language: Language, name: str) -> Iterator[dict[str, Any]]:
    """The rows of one set and language, told apart from the bridge's where there is one."""
    english, foreign = in_common(bench, name, language.code)
    pairing = Pairing(english, foreign, *bench.vectors(bench.source, english))
    rows = list(systems(bench, language, name, pairing))
    for way in BOTH:
        values = {row: found.per_query for row, its, found in rows if its == way}
        others = {row: of_row for row, of_row in values.items() if row != "bridge"}
        tests = compare_all(values["bridge"], others) if "bridge" in values else {}
        for row, _, found in (each for each in rows if each[1] == way):
            told = line(name, language.code, row, way, found)
            yield {**told, "p": round(tests[row][MEASURE].p_permutation, 4)} if row in tests else told
    for row, way, found in rows:
        if way not in BOTH:
            yield line(name, language.code, row, way, found)


def systems(bench: Bench, language: Language, name: str, pairing: Pairing) -> Iterator[tuple[str, str, Evaluation]]:
    """Row, way and what was found."""
    wanted, english, foreign = bench.args.rows, pairing.english, pairing.foreign
    yield "English", "both", scored(pairing.asked, pairing.held, english)
    if "untouched" in wanted:
        asked = encode_queries(bench.source, list(foreign.queries.values()), **FAST)
        yield "untouched", BOTH[0], scored(asked, pairing.held, english)
    if "dictionary" in wanted:
        dictionary = translations(bench.args.data / "dictionaries" / f"en-{language.code}.tsv.gz")
        run = translated_run(replace(english, queries=foreign.queries), dictionary)
        yield "dictionary, BM25", BOTH[0], judged(run, english)
    if "mapped" in wanted:
        moved = language.moved
        queries, documents = (in_source_vocabulary(each, moved.alignment) for each in vectors(moved.encoder, foreign))
        yield "mapped", BOTH[0], scored(queries, pairing.held, english)
        yield "mapped", BOTH[1], scored(pairing.asked, documents, english)
    runs: dict[str, Run] = {}
    for row, reader in language.readers(foreign).items():
        queries, documents = bench.vectors(reader, foreign)
        for way, pair in zip(BOTH, ((queries, pairing.held), (pairing.asked, documents)), strict=True):
            yield row, way, scored(*pair, english)
            runs[way] = exact_search(*pair, list(english.queries), list(english.corpus))
        yield row, "within", scored(queries, documents, english)
    for way in BOTH if "bridge" in wanted else ():
        data = pairing.data(way)
        dense = evaluate_dense(bench.dense, data, measures=[MEASURE])
        yield "bridge", way, dense
        if way in runs:
            weight = bench.args.bridge_weight
            fused = hybrid([dense.run, runs[way]], [weight, 1 - weight], n_documents=len(data.corpus))
            yield "bridge + pivot", way, judged(fused, data)


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


def scored(queries: csr_array, documents: csr_array, data: RetrievalData) -> Evaluation:
    return evaluate_vectors(queries, documents, data, measures=[MEASURE])


def judged(run: Run, data: RetrievalData) -> Evaluation:
    return evaluate_run(run, data, measures=[MEASURE])


def line(name: str, language: str, row: str, way: str, found: Evaluation) -> dict[str, Any]:
    """The measure, and dimensions of a question and of a document where there are some."""
    told: dict[str, Any] = {"set": name, "language": language, "row": row, "way": way}
    told |= {"queries": found.n_queries, MEASURE: round(found.measures[MEASURE], 4)}
    if found.query_active_dims is not None and found.document_active_dims is not None:
        told |= {"dims": round(found.query_active_dims, 1), "document dims": round(found.document_active_dims, 1)}
    return told


def latency(bench: Bench, language: Language, readers: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Median milliseconds of a question, encoded alone: within the language, and over the English vocabulary."""
    questions = list(bench.data("faq", language.code).queries.values())[:40]
    narrow = {row: narrowed(encoder, bench.n_dims) for row, encoder in readers.items()}
    all_readers = {"within": language.moved.encoder, **narrow}
    taken: dict[str, list[float]] = {row: [] for row in all_readers}
    for question in [*questions[:3], *questions]:  # in turn, so that other work on the machine slows both
        for row, encoder in all_readers.items():
            start = time.perf_counter()
            encode_queries(encoder, [question])
            taken[row].append(1000 * (time.perf_counter() - start))
    for row, times in taken.items():
        found = round(statistics.median(times[3:]), 2)
        yield {"set": "faq, ms a question", "language": language.code, "row": row, "ms": found}


def every_pair(bench: Bench, readers: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """One index of all languages: a question in each, the documents of each (as by `--filter language=`)."""
    all_readers = {"en": bench.source, **readers}
    both = {language: in_common(bench, "faq", language) for language in readers}
    data = {"en": next(iter(both.values()))[0], **{language: foreign for language, (_, foreign) in both.items()}}
    encoded = {language: bench.vectors(reader, data[language]) for language, reader in all_readers.items()}
    for asking, (queries, _) in encoded.items():
        for answering, (_, documents) in encoded.items():
            asked = replace(data[asking], corpus=data[answering].corpus)
            value = scored(queries, documents, asked).measures[MEASURE]
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
    yield report("bilingual encoder", "one index", scored(*vectors(joint, mixed), mixed))
    parts = [bench.vectors(encoder, data) for encoder, data in ((bench.source, english), (pivot, korean))]
    queries, documents = (vstack([part[side] for part in parts], format="csr") for side in (0, 1))
    yield report("pivot", "one index", scored(queries, documents, mixed))
    two = [separate(encoder, mixed, tag) for tag, encoder in (("en", bench.source), ("ko", bench.moved("ko").encoder))]
    fused = hybrid(two, [0.5, 0.5], n_documents=len(mixed.corpus))
    yield report("two encoders", "two indexes, fused", judged(fused, mixed))
    own = {**of("en:", two[0]), **of("ko:", two[1])}
    yield report("two encoders", "of the question's language", judged(own, mixed))


def separate(encoder: Any, mixed: RetrievalData, tag: str) -> Run:
    """All questions against the documents of one language by its own encoder."""
    part = {doc: text for doc, text in mixed.corpus.items() if doc.startswith(tag)}
    queries = encode_queries(encoder, list(mixed.queries.values()), **FAST)
    return exact_search(queries, encode_corpus(encoder, list(part.values()), **FAST), list(mixed.queries), list(part))


def of(tag: str, run: Run) -> Run:
    return {query: found for query, found in run.items() if query.startswith(tag)}


if __name__ == "__main__":
    main()
