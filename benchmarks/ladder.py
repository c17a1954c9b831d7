"""What each setting between the presets `paper` and `default` brings: nDCG@10, cost, and whether a step is significant.

    python benchmarks/ladder.py --run "24,000 tokens"=LADDER --run "8,000 tokens"=LADDER_8K \
        --out benchmarks/results/ladder.json

LADDER and LADDER_8K are the folders that `sembridge reproduce` wrote for reproduction/mini/grid-ladder.yaml and
grid-ladder-8k.yaml, cells included: the test needs the values of single queries. Methods named `weak-...` stand for the
same rungs with the weakened bridge.
"""

import argparse
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from sembridge.experiments.results import (
    ZERO_SHOT,
    ResultRow,
    Results,
    mean_of,
    per_query_of,
    pooled,
    read_results,
    sets_by_language,
)
from sembridge.retrieval.significance import compare, compare_all, holm

MEASURE = "nDCG@10"
WEAK = "weak-"
TOP = "8-default"
FIGURES = {
    MEASURE: lambda row: row.measures[MEASURE],
    "flops": lambda row: row.evaluation.flops,
    "query_active_dims": lambda row: row.evaluation.query_active_dims,
    "document_active_dims": lambda row: row.evaluation.document_active_dims,
}


def ladders(results: Results) -> Iterator[tuple[str, str, dict[str, list[ResultRow]]]]:
    """Source encoder, bridge ("bundled" or "weakened"), and method -> rows; the Gaussian needs no bridge."""
    rows = results.table_rows(ZERO_SHOT)
    for encoder in dict.fromkeys(row.source_encoder for row in rows if row.source_encoder):
        own = [row for row in rows if row.source_encoder == encoder]
        for bridge in ("bundled", "weakened"):
            its: dict[str, list[ResultRow]] = {}
            for row in own:
                is_weak = row.method.startswith(WEAK)
                if is_weak == (bridge == "weakened") or "gaussian" in row.method or row.method == "multivariate":
                    its.setdefault(row.method.removeprefix(WEAK), []).append(row)
            if TOP in its:
                yield encoder, bridge, its


def steps(results: Results, methods: dict[str, list[ResultRow]]) -> list[dict[str, object]]:
    """A line a method: its means, and its difference from the rung below, or from the top where it is beside them."""
    groups = list(sets_by_language(methods[TOP]).values())
    values = {name: {"": pooled(per_query_of(results, rows), groups)} for name, rows in methods.items()}
    rungs = sorted(name for name in methods if re.match(r"\d-", name))
    beside = [name for name in methods if name not in rungs]
    pairs = [*itertools.pairwise(rungs), *((TOP, name) for name in beside)]
    compared = {name: compare(values[below], values[name], n_changes=0)[""] for below, name in pairs}
    corrected = dict(zip(compared, holm([c.p_permutation for c in compared.values()]), strict=True))
    lines = []
    for name in (*rungs, *beside):
        line = {
            "method": name,
            **{key: mean_of(methods[name], groups, figure).value for key, figure in FIGURES.items()},
        }
        if name in compared:
            line |= {"difference": compared[name].difference, "p_holm": corrected[name]}
        lines.append(line)
    return lines


def by_set(results: Results, methods: dict[str, list[ResultRow]]) -> list[dict[str, object]]:
    """The top of the ladder against the better of paper and Gaussian on every set, Holm-corrected over the sets."""
    values = {name: per_query_of(results, methods[name]) for name in (TOP, "0-paper", "multivariate")}
    lines = []
    for data in values[TOP]:
        rivals = {name: {MEASURE: values[name][data]} for name in ("0-paper", "multivariate")}
        found = compare_all({MEASURE: values[TOP][data]}, rivals, n_changes=0)
        rival, comparison = max(
            ((name, its[MEASURE]) for name, its in found.items()), key=lambda pair: pair[1].difference
        )
        lines.append(
            {"data": data, "rival": rival, "difference": -comparison.difference, "p": comparison.p_permutation}
        )
    for line, p_holm in zip(lines, holm([line["p"] for line in lines]), strict=True):
        line["p_holm"] = p_holm
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", action="append", required=True, help="NAME=FOLDER; repeatable")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    found = []
    for run in args.run:
        name, _, folder = run.partition("=")
        results = read_results(Path(folder))
        for encoder, bridge, methods in ladders(results):
            lines: Sequence[dict[str, object]] = steps(results, methods)
            found.append(
                {
                    "vocabulary": name,
                    "encoder": encoder,
                    "bridge": bridge,
                    "rows": lines,
                    "sets": by_set(results, methods),
                }
            )
    text = json.dumps({"versions": results.versions, "ladders": found}, indent=1)
    if args.out:
        args.out.write_text(text + "\n", encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
