"""One cell computed: the transfer, its evaluation on every test set of the language, and the words of the table."""

import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

from sembridge.evaluation import Evaluation, evaluate, evaluate_bm25, evaluate_run
from sembridge.experiments.cells import Cell, fingerprint
from sembridge.experiments.fine_tuning import fine_tune
from sembridge.experiments.places import TOP_K, Places
from sembridge.experiments.store import Result
from sembridge.explain import Explainer
from sembridge.language_transfer import LanguageTransfer, transfer
from sembridge.lexical_overlap import least_overlapping, lexical_overlap
from sembridge.loading import load_bridge, load_encoder, load_tokenizer
from sembridge.recipes import DataSet, GridRecipe, TransferRecipe
from sembridge.retrieval_data import RetrievalData, load_retrieval_data
from sembridge.runs import Run, hybrid
from sembridge.training import TrainingData, joined, load_training_data

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer, SparseEncoder
    from transformers import PreTrainedTokenizerBase

_T = TypeVar("_T")

VERSIONS_OF = ("sembridge", "sentence-transformers", "transformers", "torch", "numpy", "bm25s", "ir-measures")
WORD_PARTS = 10  # source tokens a word, of all that have a weight
DECIMALS = 6  # of a row's figures: beyond them sums depend on the number of threads


class _LoadOptions(TypedDict):
    device: str
    allow_pickle: bool
    trust_remote_code: bool


@dataclass(frozen=True)
class MeasuredSet:
    """A test set as the grid measures it, with what all its cells share.

    Attributes:
        overlap: query id -> share of its words that a relevant document repeats.
        least: ids of the least overlapping third of the queries.
    """

    settings: DataSet
    data: RetrievalData
    overlap: dict[str, float]
    least: tuple[str, ...]


@dataclass
class Workbench:
    """What the cells of a process share: models and data sets of the language and the source encoder at hand.

    Loading follows the cells: another language drops the data sets of the last one, so memory stays that of one group.
    """

    recipe: GridRecipe
    places: Places
    _loaded: dict[str, tuple[str, Any]] = field(default_factory=dict)
    _bridges: dict[str, "SentenceTransformer"] = field(default_factory=dict)

    def source_encoder(self, name: str) -> "SparseEncoder":
        return self._kept("source encoder", name, lambda: load_encoder(name, **self._options()))

    def bridges(self, names: Sequence[str]) -> list["SentenceTransformer"]:
        """The bridges of these names; where there are some, those of earlier cells make room for them."""
        if not names:
            return []
        self._bridges = {name: bridge for name, bridge in self._bridges.items() if name in names}
        for name in names:
            if name not in self._bridges:
                self._bridges[name] = load_bridge(name, **self._options())
        return [self._bridges[name] for name in names]

    def tokenizer(self, language: str) -> "PreTrainedTokenizerBase":
        name = self.recipe.target_tokenizer(language, roots=self.places.roots())
        trusted = self.recipe.trust_remote_code
        return self._kept("tokenizer", name, lambda: load_tokenizer(name, trust_remote_code=trusted))

    def test_sets(self, language: str) -> list[MeasuredSet]:
        settings = self.recipe.languages[language].test_sets
        return self._kept("test sets", language, lambda: [self._measured_set(s, language) for s in settings])

    def training_data(self, language: str) -> TrainingData:
        """All training sets of the language in one, cut to the recipe's number of pairs."""
        recipe = self.recipe

        def load() -> TrainingData:
            sets = recipe.languages[language].training_sets
            parts = [load_training_data(self.places.data_set(s.name), split=s.split or "train") for s in sets]
            return joined(parts).sample(recipe.fine_tuning.pairs, seed=recipe.sampling.seed)

        return self._kept("training data", language, load)

    def dev_data(self, language: str) -> RetrievalData | None:
        settings, caps = self.recipe.languages[language].dev_set, self.recipe.fine_tuning.dev
        if settings is None:
            return None
        place, split = self.places.data_set(settings.name), settings.split or "dev"
        return self._kept(
            "dev set", language,
            lambda: load_retrieval_data(place, split=split, language=language)
            .sample(caps.queries, caps.documents, seed=caps.seed),
        )  # fmt: skip

    def bm25_runs(self, language: str) -> dict[str, Run]:
        """Test set -> its run of BM25 over the target tokenizer's tokens."""
        return self._kept("BM25", language, lambda: {
            measured.settings.name: evaluate_bm25(
                measured.data, self.tokenizer(language), measures=self.recipe.measures, top_k=TOP_K
            ).run
            for measured in self.test_sets(language)
        })  # fmt: skip

    def _measured_set(self, settings: DataSet, language: str) -> MeasuredSet:
        place = self.places.data_set(settings.name)
        data = load_retrieval_data(place, split=settings.split, language=language)
        caps = self.recipe.sampling
        data = data.sample(caps.queries, caps.documents, seed=caps.seed)
        return MeasuredSet(settings, data, lexical_overlap(data), tuple(least_overlapping(data).queries))

    def _options(self) -> "_LoadOptions":
        recipe = self.recipe
        return {
            "device": recipe.device,
            "allow_pickle": recipe.allow_pickle,
            "trust_remote_code": recipe.trust_remote_code,
        }

    def _kept(self, kind: str, name: str, load: Callable[[], _T]) -> _T:
        if self._loaded.get(kind, ("", None))[0] != name:
            self._loaded.pop(kind, None)  # before the next one is loaded: two would not always fit
            self._loaded[kind] = (name, load())
        kept: _T = self._loaded[kind][1]
        return kept


def compute_cell(cell: Cell, bench: Workbench, cell_folder: Path) -> dict[Cell, Result]:
    """The result of the cell, preceded by that of its hybrid if it has one.

    Args:
        cell_folder: where a training keeps its checkpoints.

    Raises:
        SembridgeError: a model, data set or file that is not there or does not fit.
    """
    start = time.perf_counter()
    settings = cell.transfer_recipe(bench.recipe, bench.places.roots())
    transferred = None if settings is None else _transfer(cell, settings, bench)
    encoder = transferred.encoder if transferred else None
    training = fine_tune(cell, transferred, bench, cell_folder) if cell.is_trained and transferred else None
    if cell.method == "english" and cell.source_encoder:
        encoder = bench.source_encoder(cell.source_encoder)
    rows, fused_rows = [], []
    for measured in bench.test_sets(cell.language):
        row_start = time.perf_counter()
        evaluation = _evaluate(cell, encoder, measured, bench)
        rows.append(_Measured(measured, evaluation, time.perf_counter() - row_start))
        if cell.hybrid:
            fused = _fuse(evaluation, measured, cell.language, bench)
            fused_rows.append(_Measured(measured, fused, time.perf_counter() - row_start))
    results = {}
    if cell.hybrid:
        results[cell.hybrid] = _result(cell.hybrid, fused_rows, bench, time.perf_counter() - start)
    results[cell] = _result(cell, rows, bench, time.perf_counter() - start)
    if transferred is not None:
        results[cell]["words"] = _words(cell, transferred, bench)
        results[cell]["rows_by_kind"] = transferred.report.counts
    if training is not None:
        results[cell] |= {"curve": training.curve, "training": {"steps": training.steps, "pairs": training.n_pairs}}
    return results


@dataclass(frozen=True, eq=False)
class _Measured:
    measured: MeasuredSet
    evaluation: Evaluation
    seconds: float


def _transfer(cell: Cell, settings: TransferRecipe, bench: Workbench) -> LanguageTransfer:
    settings.check_files()
    bridges = bench.bridges(cell.bridges(bench.recipe, bench.places.roots()))
    return transfer(
        bench.source_encoder(cell.source_encoder or ""),
        bench.tokenizer(cell.language),
        bridges or None,
        recipe=settings,
        device=bench.recipe.device,
    )


def _evaluate(cell: Cell, encoder: "SparseEncoder | None", measured: MeasuredSet, bench: Workbench) -> Evaluation:
    recipe = bench.recipe
    if encoder is None:
        tokenizer = bench.tokenizer(cell.language) if cell.method == "bm25-tokens" else None
        return evaluate_bm25(measured.data, tokenizer, measures=recipe.measures, top_k=TOP_K)
    return evaluate(
        encoder,
        measured.data,
        measures=recipe.measures,
        top_k=TOP_K,
        batch_size=recipe.batch_size,
        max_active_dims=recipe.max_active_dims,
        engine=recipe.engine,
    )


def _fuse(evaluation: Evaluation, measured: MeasuredSet, language: str, bench: Workbench) -> Evaluation:
    bm25 = bench.bm25_runs(language)[measured.settings.name]
    run = hybrid([bm25, evaluation.run], top_k=TOP_K)
    return evaluate_run(run, measured.data, measures=bench.recipe.measures, system="hybrid")


def _result(cell: Cell, rows: list[_Measured], bench: Workbench, seconds: float) -> Result:
    return {
        "cell": cell.name,
        "fingerprint": fingerprint(cell, bench.recipe),
        "versions": _versions(),
        "seconds": round(seconds, 1),
        "rows": [_row(cell, row, bench.recipe.engine) for row in rows],
        "per_query": {row.measured.settings.name: row.evaluation.per_query for row in rows},
        "lexical_overlap": {row.measured.settings.name: row.measured.overlap for row in rows},
        "health": {
            row.measured.settings.name: row.evaluation.health.to_dict() for row in rows if row.evaluation.health
        },
        "words": [],
    }


def _row(cell: Cell, row: _Measured, engine: str) -> dict[str, Any]:
    evaluation, data = row.evaluation, row.measured.data
    least = {measure: _mean(values, row.measured.least) for measure, values in evaluation.per_query.items()}
    return {
        "cell": cell.name,
        "source_encoder": cell.source_encoder,
        "language": cell.language,
        "method": cell.method,
        "stage": cell.stage,
        "seed": cell.seed,
        "alpha": cell.alpha,
        "data": row.measured.settings.name,
        "split": data.split,
        "n_queries": len(data.queries),
        "n_documents": len(data.corpus),
        "measures": {measure: _rounded(value) for measure, value in evaluation.measures.items()},
        "least_overlapping": least,
        "lexical_overlap": _mean(row.measured.overlap, row.measured.overlap),
        "flops": _rounded(evaluation.flops),
        "query_active_dims": _rounded(evaluation.query_active_dims),
        "document_active_dims": _rounded(evaluation.document_active_dims),
        "engine": engine if evaluation.flops is not None else None,
        "seconds": round(row.seconds, 2),
    }


def _words(cell: Cell, transferred: LanguageTransfer, bench: Workbench) -> list[dict[str, Any]]:
    """The heaviest source tokens of the recipe's words; a word that is no single token, or has no weights, says so."""
    explainer = Explainer(transferred.encoder, transferred.alignment)
    found = []
    for word in bench.recipe.languages[cell.language].words:
        ids = explainer.token_ids(word)
        # A word's own token before a continuation of the same letters.
        ids = sorted(ids, key=lambda token_id: (not explainer.vocabulary.starts_word[token_id], token_id))
        token = explainer.token(ids[0]) if ids else None
        found.append(
            {
                "word": word,
                "language": cell.language,
                "method": cell.method,
                "source_encoder": cell.source_encoder,
                "kind": token.kind if token else "no single token",
                "note": _word_note(token.kind if token else None, cell),
                "parts": [[part.token, round(part.weight, 4)] for part in token.parts[:WORD_PARTS]] if token else [],
            }
        )
    return found


def _word_note(kind: str | None, cell: Cell) -> str | None:
    """Why a word has no weights; None where it has some."""
    if kind is None:
        return "the target tokenizer cuts this word into pieces"
    return f"no weights: {cell.base} does not make this row of single source tokens" if kind == "fallback" else None


@lru_cache(maxsize=1)
def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{package: version(package) for package in VERSIONS_OF}}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DECIMALS)


def _mean(values: Mapping[str, float], ids: Iterable[str]) -> float | None:
    chosen = [values[i] for i in ids]
    return round(fmean(chosen), DECIMALS) if chosen else None
