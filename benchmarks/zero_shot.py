"""Zero-shot retrieval after a transfer, against the baselines and BM25; no training.

    python benchmarks/zero_shot.py --data DATA --out benchmarks/results/zero_shot.json

DATA holds retrieval sets in BEIR layout (`xquad/ru`, `korquad/ko`, ...); without it only the bundled FAQ is searched.
Every set is cut to the same number of queries and documents (seeded; gold documents stay), so that the whole table is
made within an hour on two cores. Nothing here is chosen by these numbers: presets are chosen with `--split dev`.
"""

import argparse
import contextlib
import json
import platform
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import torch

from sembridge import evaluate, evaluate_bm25, load_bridge, load_encoder, load_retrieval_data, load_tokenizer, transfer
from sembridge.evaluation import Evaluation, compare_all
from sembridge.recipes import TransferRecipe
from sembridge.retrieval_data import RetrievalData
from sembridge.significance import PerQuery

LANGUAGES = ("ar", "zh", "hi", "ko", "ru")
SETS = {
    "test": ["xquad/ar", "arcd/ar", "xquad/zh", "cmrc2018/zh", "xquad/hi", "korquad/ko", "xquad/ru", "danetqa/ru"],
    "dev": ["arcd/ar", "cmrc2018/zh", "coursedocs/hi", "kobest_boolq/ko", "tydiqa/ko", "danetqa/ru"],
}
SYSTEMS: dict[str, dict[str, object]] = {
    "random": {"method": "random"},
    "univariate": {"method": "univariate"},
    "multivariate": {"method": "multivariate"},
    "sembridge paper": {"preset": "paper"},
    "sembridge default": {"preset": "default"},
}
MEASURE = "nDCG@10"


def data_sets(args: argparse.Namespace) -> Iterator[tuple[str, RetrievalData]]:
    """(language, data), sampled."""
    names = [args.data / name for name in SETS[args.split]] if args.data else []
    for name in [*names, *(f"mini/faq-{language}" for language in LANGUAGES)]:
        language = str(name)[-2:]
        if language in args.languages:
            data = load_retrieval_data(name, split=args.split, language=language)
            yield language, data.sample(args.queries, args.documents, seed=args.seed)


def row(data: RetrievalData, language: str, system: str, evaluation: Evaluation, seed: int | None) -> dict[str, object]:
    return {
        "data": data.name.split(" ")[0],
        "language": language,
        "system": system,
        "seed": seed,
        "n_queries": len(data.queries),
        "n_documents": len(data.corpus),
        MEASURE: evaluation.measures[MEASURE],
        "flops": evaluation.flops,
        "query_active_dims": evaluation.query_active_dims,
        "document_active_dims": evaluation.document_active_dims,
        "per_query": evaluation.per_query[MEASURE],
    }


def evaluations(args: argparse.Namespace) -> Iterator[dict[str, object]]:
    source, bridge = load_encoder(args.source), load_bridge(args.bridge)
    by_language: dict[str, list[RetrievalData]] = {}
    for language, data in data_sets(args):
        by_language.setdefault(language, []).append(data)
    for language, sets in by_language.items():
        tokenizer = load_tokenizer(f"mini/tokenizer-{language}")
        for data in sets:
            yield row(data, language, "bm25", evaluate_bm25(data, tokenizer, measures=[MEASURE]), None)
        for system, settings in {"untouched English encoder": None, **SYSTEMS}.items():
            if args.systems and system not in args.systems:
                continue
            drawn = settings is not None and "method" in settings
            for seed in range(args.seeds if drawn else 1):
                encoder = source
                if settings is not None:
                    recipe = TransferRecipe.build({**settings, "seed": seed})
                    encoder = transfer(source, tokenizer, None if drawn else bridge, recipe=recipe).encoder
                for data in sets:
                    start = time.perf_counter()
                    with autocast(args.bf16):
                        evaluation = evaluate(encoder, data, measures=[MEASURE])
                    result = row(data, language, system, evaluation, seed if drawn else None)
                    seconds = time.perf_counter() - start
                    print(f"{data.name} {system} {seed}: {result[MEASURE]:.3f} ({seconds:.0f} s)", flush=True)
                    yield result


def autocast(enabled: bool) -> contextlib.AbstractContextManager[object]:
    return torch.autocast("cpu", dtype=torch.bfloat16) if enabled else contextlib.nullcontext()


def significance(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """SemBridge (default) against every other system, set by set, Holm-corrected; a drawn system by its first seed."""
    by_set: dict[str, dict[str, PerQuery]] = {}
    for r in rows:
        if not r["seed"]:
            by_set.setdefault(str(r["data"]), {})[str(r["system"])] = {MEASURE: r["per_query"]}  # type: ignore[dict-item]
    results = []
    for data, systems in by_set.items():
        if ours := systems.pop("sembridge default", None):
            for system, comparisons in compare_all(ours, systems).items():
                found = comparisons[MEASURE]
                results.append({"data": data, "against": system, "gain": -found.difference, "p_holm": found.p_holm})
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--split", choices=sorted(SETS), default="test")
    parser.add_argument("--source", default="mini/splade-en")
    parser.add_argument("--bridge", default="mini/bridge")
    parser.add_argument("--languages", nargs="+", default=list(LANGUAGES))
    parser.add_argument("--systems", nargs="+", help="only these")
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--documents", type=int, default=800)
    parser.add_argument("--seeds", type=int, default=3, help="of the drawn initialisations")
    parser.add_argument("--seed", type=int, default=0, help="of the sample of queries and documents")
    parser.add_argument(
        "--bf16", action="store_true", help="encode under bfloat16 autocast: faster where the CPU has it"
    )
    args = parser.parse_args()
    rows = list(evaluations(args))
    settings = {key: str(value) if isinstance(value, Path) else value for key, value in vars(args).items()}
    settings.pop("data"), settings.pop("out")
    packages = {name: version(name) for name in ("sembridge", "sentence-transformers", "torch", "bm25s", "ir-measures")}
    result = {
        "settings": settings,
        "versions": {"python": platform.python_version(), **packages},
        "significance": significance(rows),
        "rows": [{key: value for key, value in r.items() if key != "per_query"} for r in rows],
    }
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
