"""A small grid's results with known answers, as the grid writes them: two encoders, two languages, three sets."""

import json
import random
from pathlib import Path
from typing import Any

ENCODERS = ("mini/splade-en", "mini/splade-roberta-en")
SETS = {"ko": ("klue/ko", "korquad/ko"), "ru": ("xquad/ru",)}
N_QUERIES = {"klue/ko": 30, "korquad/ko": 40, "xquad/ru": 50}
OVERLAP = {"klue/ko": 0.2, "korquad/ko": 0.75, "xquad/ru": 0.5}
LEVELS = {  # mean nDCG@10 about which a method's queries lie
    "english": 0.05, "random": 0.1, "mean": 0.04, "univariate": 0.25, "multivariate": 0.45,
    "sembridge-paper": 0.4, "sembridge-default": 0.6, "hybrid-sembridge-default": 0.7,
}  # fmt: skip
SEEDED = ("random", "univariate", "multivariate", "sembridge-default")
ALPHAS = (1.0, 1.5, 2.0, 3.0, 4.0, 8.0)


def row(cell: str, data: str, **values: Any) -> dict[str, Any]:
    """A line of results.jsonl; `cell` is SOURCE/LANGUAGE/METHOD/STAGE[/SEED]."""
    source, language, method, stage, *seed = cell.split("/")
    given = {
        "cell": cell,
        "source_encoder": None if source == "any" else f"mini/{source}",
        "language": language,
        "method": method,
        "stage": stage,
        "seed": int(seed[0]) if seed else None,
        "alpha": None,
        "data": data,
        "split": "test",
        "n_queries": 10,
        "n_documents": 20,
        "measures": {"nDCG@10": 0.5},
        "least_overlapping": {"nDCG@10": 0.4},
        "lexical_overlap": 0.5,
        "flops": 1.0,
        "query_active_dims": 20.0,
        "document_active_dims": 100.0,
        "engine": "stock",
        "seconds": 1.0,
    }
    return {**given, **values}


def scored(cell: str, data: str, value: float, **values: Any) -> dict[str, Any]:
    """A row with this nDCG@10."""
    return row(cell, data, measures={"nDCG@10": value}, **values)


def write(
    folder: Path,
    rows: list[dict[str, Any]],
    *,
    per_query: dict[tuple[str, str], dict[str, float]] | None = None,
    words: dict[str, list[dict[str, Any]]] | None = None,
    curves: dict[str, list[dict[str, Any]]] | None = None,
) -> Path:
    """`folder`, holding the files of a grid: `per_query` of nDCG@10 by (cell, data), words and curves by cell."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.jsonl").write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), "utf-8")
    for cell in sorted({r["cell"] for r in rows}):
        own = folder / "cells" / cell.replace("/", "__")
        own.mkdir(parents=True, exist_ok=True)
        values = {data: {"nDCG@10": v} for (its, data), v in (per_query or {}).items() if its == cell}
        result = {"cell": cell, "per_query": values, "words": (words or {}).get(cell, []), "versions": {"torch": "2"}}
        (own / "result.json").write_text(json.dumps(result, ensure_ascii=False), "utf-8")
        if cell in (curves or {}):
            lines = (json.dumps(point) + "\n" for point in (curves or {})[cell])
            (own / "curve.jsonl").write_text("".join(lines), "utf-8")
    return folder


def realistic(folder: Path, *, sets: dict[str, tuple[str, ...]] = SETS, methods: dict[str, float] = LEVELS) -> Path:
    """`folder`, holding a whole grid: references, methods with seeds, hybrids, an alpha sweep, words and curves."""
    generator = random.Random(0)
    rows: list[dict[str, Any]] = []
    per_query: dict[tuple[str, str], dict[str, float]] = {}
    words: dict[str, list[dict[str, Any]]] = {}
    curves: dict[str, list[dict[str, Any]]] = {}

    def measure(cell: str, data: str, level: float, cost: float | None, alpha: float | None = None) -> None:
        level = max(level + 0.2 * (OVERLAP.get(data, 0.5) - 0.5), 0.02)
        draws = [
            generator.betavariate(2 * level + 0.02, 2 * (1 - level) + 0.02) for _ in range(N_QUERIES.get(data, 40))
        ]
        values = {f"q{place:03}": round(value, 6) for place, value in enumerate(draws)}
        per_query[cell, data] = values
        mean = sum(values.values()) / len(values)
        costs = {"flops": cost and cost / 20, "query_active_dims": cost and cost / 5, "document_active_dims": cost}
        rows.append(
            scored(
                cell, data, mean, **costs, alpha=alpha, n_queries=len(values), n_documents=10 * len(values),
                lexical_overlap=OVERLAP.get(data, round(generator.uniform(0.1, 0.9), 3)),
                least_overlapping={"nDCG@10": mean * 0.8},
            )
        )  # fmt: skip

    for language, names in sets.items():
        for data in names:
            measure(f"any/{language}/bm25-words/zero-shot", data, 0.7, None)
            measure(f"any/{language}/bm25-tokens/zero-shot", data, 0.75, None)
            for encoder in ("splade-en", "splade-roberta-en"):
                for method, level in methods.items():
                    level -= 0.1 if encoder == "splade-roberta-en" else 0.0
                    for seed in ("/0", "/1", "/2") if method in SEEDED else ("",):
                        cost = None if method.startswith("hybrid") else 40 + 300 * generator.random()
                        alpha = 4.0 if method.startswith("sembridge") else None
                        measure(f"{encoder}/{language}/{method}/zero-shot{seed}", data, level, cost, alpha)
                for alpha in ALPHAS:
                    name = f"{encoder}/{language}/sembridge-paper-alpha-{alpha:g}/zero-shot"
                    measure(name, data, 0.25 + 0.05 * min(alpha, 4), 600 / alpha, alpha)
    for encoder in ("splade-en", "splade-roberta-en"):
        for method, speed in (("multivariate", 300), ("sembridge-default", 120), ("sembridge-paper", 200)):
            cell = f"{encoder}/ko/{method}/fine-tuned/0"
            rows += [scored(cell, data, 0.7) for data in sets["ko"]]
            curves[cell] = [
                {"step": step, "loss": round(3 * speed / (step + speed), 4)}
                | ({"nDCG@10": round(0.8 * step / (step + speed), 4)} if step % 100 == 0 else {})
                for step in range(0, 801, 20)
            ]
            parts = [["home", 0.62], ["house", 0.3], ["a|b", 0.08]] if method.startswith("sembridge") else []
            word = {
                "word": "집",
                "language": "ko",
                "method": method,
                "source_encoder": f"mini/{encoder}",
                "parts": parts,
            }
            words[cell] = [word | ({} if parts else {"note": "no weights: drawn"})]
    return write(folder, rows, per_query=per_query, words=words, curves=curves)
