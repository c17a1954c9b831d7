"""One cell computed: the transfer, its evaluation on every test set of the language, and the words of the table."""

import platform
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from sembridge.experiments.cells import Cell, fingerprint
from sembridge.experiments.fine_tuning import fine_tune
from sembridge.experiments.places import TOP_K
from sembridge.experiments.results import DENSE
from sembridge.experiments.store import Result
from sembridge.experiments.workbench import MeasuredSet, Workbench
from sembridge.language_transfer.assembly import transfer
from sembridge.language_transfer.explanation import Explainer
from sembridge.language_transfer.folder import LanguageTransfer
from sembridge.language_transfer.recipe import TransferRecipe
from sembridge.retrieval.dense import evaluate_dense
from sembridge.retrieval.evaluation import Evaluation, evaluate, evaluate_bm25, evaluate_run
from sembridge.retrieval.runs import BM25_WEIGHT, hybrid

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder

VERSIONS_OF = ("sembridge", "sentence-transformers", "transformers", "torch", "numpy", "bm25s", "ir-measures")
WORD_PARTS = 10  # source tokens a word, of all that have a weight
DECIMALS = 6  # of a row's figures: beyond them sums depend on the number of threads


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
    if cell.method == DENSE:
        (bridge,) = bench.bridges(cell.bridges(recipe, bench.places.roots()))
        return evaluate_dense(bridge, measured.data, measures=recipe.measures, top_k=TOP_K)
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
        encode_with=recipe.encode_with,
    )


def _fuse(evaluation: Evaluation, measured: MeasuredSet, language: str, bench: Workbench) -> Evaluation:
    bm25 = bench.bm25_runs(language)[measured.settings.name]
    weights = [BM25_WEIGHT, 1 - BM25_WEIGHT]
    run = hybrid([bm25, evaluation.run], weights, n_documents=len(measured.data.corpus), top_k=TOP_K)
    return evaluate_run(run, measured.data, measures=bench.recipe.measures, system="hybrid")


def _result(cell: Cell, rows: list[_Measured], bench: Workbench, seconds: float) -> Result:
    return {
        "cell": cell.name,
        "fingerprint": fingerprint(cell, bench.recipe),
        "contents": bench.contents.of(cell),
        "versions": _versions(),
        "seconds": round(seconds, 1),
        "rows": [_row(cell, row, bench.recipe.encode_with) for row in rows],
        "per_query": {row.measured.settings.name: row.evaluation.per_query for row in rows},
        "lexical_overlap": {row.measured.settings.name: row.measured.overlap for row in rows},
        "health": {
            row.measured.settings.name: row.evaluation.health.to_dict() for row in rows if row.evaluation.health
        },
        "words": [],
    }


def _row(cell: Cell, row: _Measured, encode_with: str) -> dict[str, Any]:
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
        **{name: _rounded(value) for name, value in evaluation.figures(speeds=False).items()},
        "engine": encode_with if evaluation.flops is not None else None,
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
