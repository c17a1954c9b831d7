"""Tables of a grid: means, spreads, ranks and tests computed by hand, and three formats that say the same."""

import csv
import io
import json
from pathlib import Path

import pytest
from synthetic_results import ENCODERS, LEVELS, realistic, row, scored, write

from sembridge.errors import SembridgeError
from sembridge.experiments.results import (
    Results,
    System,
    mean_of,
    per_query_of,
    read_results,
    sets_by_language,
    sweep_rows,
    systems,
)
from sembridge.experiments.store import ROW_KEYS, rows_of
from sembridge.experiments.table_formats import DASH, Group, Number, Table, to_csv, to_latex, to_markdown
from sembridge.experiments.tables import grid_tables, write_tables
from sembridge.retrieval.columns import COST_COLUMNS, KEPT_COLUMNS
from sembridge.retrieval.significance import bootstrap_interval, compare, holm

PERMUTATIONS = 99


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return read_results(realistic(tmp_path_factory.mktemp("grid") / "out"))


@pytest.fixture(scope="module")
def grid_by_name(grid: Results) -> dict[str, Table]:
    return {table.name: table for table in grid_tables(grid, n_permutations=PERMUTATIONS)}


def tables_of(folder: Path, rows: list[dict[str, object]], **more: object) -> dict[str, Table]:
    results = read_results(write(folder / "out", rows, **more))  # type: ignore[arg-type]
    return {table.name: table for table in grid_tables(results, n_permutations=999)}


def cell(table: Table, label: str, head: str, group: str | None = None) -> Number:
    found = [
        cells[table.columns.index(head)]
        for its in table.groups
        for cells in its.rows
        if cells[0] == label and group in (None, its.title)
    ]
    assert len(found) == 1
    assert isinstance(found[0], Number)
    return found[0]


def test_bundled_source_encoders_and_others_do_not_share_a_main_table(tmp_path: Path) -> None:
    cells = (
        "any/ko/bm25-words/zero-shot",
        "a-en/ko/english/zero-shot",
        "a-en/ko/mean/zero-shot",
        "b-en/ko/mean/zero-shot",
    )
    given = [scored(name, "klue/ko", 0.1 * place) for place, name in enumerate(cells)]
    given[3]["source_encoder"] = "models/b-en"
    found = tables_of(tmp_path, given)
    rows = {
        name: [cells[0] for group in found[name].groups for cells in group.rows] for name in found if "sets" not in name
    }
    assert rows["zero-shot"] == ["bm25-words", "mean"]
    assert rows["zero-shot-bundled"] == ["bm25-words", "english, mini/a-en", "mean"]
    assert found["zero-shot-bundled"].caption.endswith("source encoders bundled")
    assert "zero-shot-bundled" not in tables_of(tmp_path / "alike", given[:3])


# Means ----------------------------------------------------------------------------------------------------------


def test_a_drawn_method_shows_mean_and_deviation_over_the_means_of_its_seeds(tmp_path: Path) -> None:
    rows = [
        *(scored(f"e/ko/random/zero-shot/{seed}", "a", a) for seed, a in enumerate((0.1, 0.2, 0.6))),
        *(scored(f"e/ko/random/zero-shot/{seed}", "b", b) for seed, b in enumerate((0.3, 0.4, 0.2))),
    ]
    number = cell(tables_of(tmp_path, rows)["zero-shot"], "random (3 seeds)", "ko")
    assert number.value == pytest.approx(0.3)  # means of the seeds: .2, .3, .4
    assert number.spread == pytest.approx(0.1)
    assert number.text() == ".300 ± .100"


def test_the_average_counts_languages_not_sets(tmp_path: Path) -> None:
    rows = [
        scored("e/ko/mean/zero-shot", "a", 0.0),
        scored("e/ko/mean/zero-shot", "b", 0.2),
        scored("e/ru/mean/zero-shot", "c", 0.5),
    ]
    table = tables_of(tmp_path, rows)["zero-shot"]
    assert [cell(table, "mean", head).value for head in ("ko", "ru", "average")] == pytest.approx([0.1, 0.5, 0.3])


def test_missing_cells_are_dashes_and_means_over_fewer_sets_are_marked_and_not_ranked(tmp_path: Path) -> None:
    rows = [
        *(scored("e/ko/mean/zero-shot", data, 0.2) for data in ("a", "b")),
        *(scored("e/ko/focus/zero-shot", data, 0.1) for data in ("a", "b")),
        scored("e/ru/mean/zero-shot", "c", 0.5),
        scored("e/ko/sembridge-paper/zero-shot", "a", 0.9),
    ]
    table = tables_of(tmp_path, rows)["zero-shot"]
    partial = cell(table, "sembridge-paper", "ko")
    assert (partial.value, partial.partial, partial.rank) == (0.9, True, None)
    assert cell(table, "sembridge-paper", "ru") == Number(None)
    assert cell(table, "sembridge-paper", "average").partial
    assert not cell(table, "mean", "average").partial
    assert [cell(table, label, "ko").rank for label in ("mean", "focus")] == ["best", "second"]
    assert "| sembridge-paper | .900† | – | .900† |" in to_markdown(table)


def test_a_seed_that_misses_a_set_takes_the_spread_away(tmp_path: Path) -> None:
    rows = [scored(f"e/ko/random/zero-shot/{seed}", data, 0.2) for seed in (0, 1) for data in ("a", "b")]
    number = cell(tables_of(tmp_path, rows[:-1])["zero-shot"], "random (2 seeds)", "ko")
    assert (number.value, number.spread, number.partial) == (pytest.approx(0.2), None, True)


def test_bm25_is_one_row_whatever_the_encoders(tmp_path: Path) -> None:
    rows = [scored(f"{source}/ko/bm25-words/zero-shot", "a", 0.7) for source in ("any", "x")]
    assert systems(read_results(write(tmp_path / "out", rows)).rows) == [System(None, "bm25-words")]


def test_the_least_overlapping_third_has_its_own_table(tmp_path: Path) -> None:
    rows = [row("e/ko/mean/zero-shot", "a", least_overlapping={"nDCG@10": 0.123})]
    assert cell(tables_of(tmp_path, rows)["zero-shot-least-overlapping"], "mean", "ko").value == 0.123
    rows = [row("e/ko/mean/zero-shot", "a", least_overlapping=None)]
    assert "zero-shot-least-overlapping" not in tables_of(tmp_path, rows)


# Ranks and order ------------------------------------------------------------------------------------------------


def test_best_and_second_are_ranked_within_a_source_encoder_and_without_references(tmp_path: Path) -> None:
    rows = [
        scored("any/ko/bm25-words/zero-shot", "a", 0.9),
        scored("e/ko/english/zero-shot", "a", 0.8),
        *(scored(f"e/ko/{method}/zero-shot", "a", v) for method, v in (("mean", 0.3), ("ofa", 0.2), ("focus", 0.1))),
        *(scored(f"f/ko/{method}/zero-shot", "a", value) for method, value in (("mean", 0.1), ("ofa", 0.1004))),
        scored("f/ko/focus/zero-shot", "a", 0.05),
    ]  # fmt: skip
    table = tables_of(tmp_path, rows)["zero-shot"]
    ranks = {(group.title, str(cells[0])): cells[1].rank for group in table.groups for cells in group.rows}  # type: ignore[union-attr]
    assert {label: rank for (title, label), rank in ranks.items() if title.startswith("References")} == {
        "bm25-words": None,
        "english, mini/e": None,
    }
    assert {label: rank for (title, label), rank in ranks.items() if title == "mini/e"} == {
        "mean": "best",
        "focus": None,
        "ofa": "second",
    }
    # .100 and .1004 print alike, so neither is better than the other.
    assert {label: rank for (title, label), rank in ranks.items() if title == "mini/f"} == {
        "mean": "best",
        "focus": "second",
        "ofa": "best",
    }


def test_systems_come_as_in_the_paper_references_first_sembridge_last() -> None:
    methods = [
        "sembridge-default",
        "wechsel",
        "clp",
        "multivariate-1e-5",
        "mean",
        "multivariate",
        "sembridge-topk",
        "ofa",
    ]
    rows = [row(f"e/ko/{method}/zero-shot", "a") for method in (*methods, "hybrid-mean", "english")]
    rows.append(row("any/ko/bm25-tokens/zero-shot", "a"))
    results = Results(tuple(_row(values) for values in rows))
    assert [system.method for system in systems(results.rows)] == [
        *("bm25-tokens", "english", "hybrid-mean", "mean", "multivariate", "multivariate-1e-5"),
        *("ofa", "wechsel", "clp", "sembridge-default", "sembridge-topk"),
    ]  # fmt: skip


def _row(values: dict[str, object]):  # type: ignore[no-untyped-def]
    from sembridge.experiments.results import ResultRow

    return ResultRow.model_validate(values)


# Significance ---------------------------------------------------------------------------------------------------


def values_of(results: Results, encoder: str, method: str) -> dict[str, dict[str, float]]:
    rows = [r for r in results.table_rows("zero-shot") if (r.source_encoder, r.method) == (encoder, method)]
    return per_query_of(results, rows)


def test_seeds_are_averaged_per_query_before_pairing(tmp_path: Path) -> None:
    cells = [f"e/ko/random/zero-shot/{seed}" for seed in (0, 1)]
    values = {(cells[0], "a"): {"q1": 0.0, "q2": 1.0}, (cells[1], "a"): {"q1": 0.5, "q2": 0.0}}
    results = read_results(write(tmp_path / "out", [row(cell, "a") for cell in cells], per_query=values))
    assert per_query_of(results, results.rows) == {"a": {"q1": 0.25, "q2": 0.5}}


def test_seeds_on_different_queries_are_refused(tmp_path: Path) -> None:
    cells = [f"e/ko/random/zero-shot/{seed}" for seed in (0, 1)]
    values = {(cells[0], "a"): {"q1": 0.0}, (cells[1], "a"): {"q2": 0.5}}
    results = read_results(write(tmp_path / "out", [row(cell, "a") for cell in cells], per_query=values))
    with pytest.raises(SembridgeError, match="were not measured on the same queries"):
        per_query_of(results, results.rows)


def test_every_set_is_compared_with_its_best_baseline_and_corrected_over_the_table(
    grid: Results, grid_by_name: dict[str, Table]
) -> None:
    table = grid_by_name["zero-shot-significance-sets"]
    lines = [(group.title, cells) for group in table.groups for cells in group.rows]
    assert len(lines) == 2 * 2 * 3  # encoders, systems, sets
    p_values = []
    for encoder, (system, data, baseline, *numbers) in lines:
        baselines = {
            m: values_of(grid, encoder, m)[str(data)] for m in ("random", "mean", "univariate", "multivariate")
        }
        means = {method: sum(values.values()) / len(values) for method, values in baselines.items()}
        assert baseline == max(means, key=means.__getitem__)
        own = values_of(grid, encoder, str(system))[str(data)]
        expected = compare({"m": baselines[str(baseline)]}, {"m": own}, n_permutations=PERMUTATIONS)["m"]
        difference = [own[query] - baselines[str(baseline)][query] for query in own]
        low, high = bootstrap_interval([difference])
        found = [number.value for number in numbers if isinstance(number, Number)]
        assert found[:-1] == pytest.approx(
            [len(own), sum(own.values()) / len(own), means[str(baseline)], expected.difference, low, high,
             expected.p_permutation]
        )  # fmt: skip
        assert numbers[-1] == f"{expected.wins}/{expected.ties}/{expected.losses}"
        p_values.append((expected.p_permutation, found[-1]))
    assert [corrected for _, corrected in p_values] == pytest.approx(holm([p for p, _ in p_values]))


def test_every_other_method_is_compared_over_all_sets(grid_by_name: dict[str, Table]) -> None:
    group = grid_by_name["zero-shot-significance"].groups[0]
    opponents = [cells[2] for cells in group.rows if cells[0] == "sembridge-default"]
    assert opponents == [
        "bm25-words",
        "bm25-tokens",
        *(method for method in sorted_levels() if method != "sembridge-default"),
    ]
    assert {cells[3] for cells in group.rows} == {Number(120, 0)}


def sorted_levels() -> list[str]:
    order = ["english", "hybrid-sembridge-default", "random", "mean", "univariate", "multivariate", "sembridge-paper"]
    assert {*order, "sembridge-default"} == set(LEVELS)
    return order


def test_marks_show_who_is_significantly_ahead_of_or_behind_the_default(tmp_path: Path) -> None:
    levels = {"sembridge-default": 0.5, "mean": 0.1, "ofa": 0.9, "focus": 0.5}
    steps = {method: range(12) if method != "focus" else range(11, -1, -1) for method in levels}
    values = {
        (f"e/ko/{method}/zero-shot", "a"): {f"q{i}": level + 0.01 * step for i, step in enumerate(steps[method])}
        for method, level in levels.items()
    }
    rows = [scored(f"e/ko/{method}/zero-shot", "a", level) for method, level in levels.items()]
    table = tables_of(tmp_path, rows, per_query=values)["zero-shot"]
    marks = {method: cell(table, method, "ko").mark for method in levels}
    assert marks == {"sembridge-default": None, "mean": "behind", "ofa": "ahead", "focus": None}
    assert "| ofa | **.900** ▲ |" in to_markdown(table)
    assert "mean & .100$^{\\downarrow}$ &" in to_latex(table)


def test_marks_and_significance_are_about_the_mean_that_is_printed(tmp_path: Path) -> None:
    """A large set where the default is a little ahead and a small one where it is far behind: behind on the mean."""
    sizes = {"large": 60, "small": 12}
    gains = {"large": -0.05, "small": 0.4}  # of ofa over the default
    values = {
        (f"e/ko/{method}/zero-shot", data): {
            f"q{i}": 0.5 + 0.001 * i + (gains[data] if method == "ofa" else 0) for i in range(sizes[data])
        }
        for method in ("sembridge-default", "ofa")
        for data in sizes
    }
    rows = [scored(cell_, data, sum(v.values()) / len(v)) for (cell_, data), v in values.items()]
    tables = tables_of(tmp_path, rows, per_query=values)
    printed = {m: cell(tables["zero-shot"], m, "ko").value or 0 for m in ("sembridge-default", "ofa")}
    assert printed["ofa"] > printed["sembridge-default"]
    assert cell(tables["zero-shot"], "ofa", "ko").mark in (None, "ahead")
    ((_, sets, _, n_queries, own, theirs, difference, low, high, *_),) = tables["zero-shot-significance"].groups[0].rows
    assert (sets, n_queries) == ("2 sets", Number(72, 0))
    found = [number.value for number in (own, theirs, difference) if isinstance(number, Number)]
    assert found == pytest.approx(
        [printed["sembridge-default"], printed["ofa"], printed["sembridge-default"] - printed["ofa"]]
    )
    assert isinstance(low, Number)
    assert isinstance(high, Number)
    assert (low.value, high.value) == pytest.approx((-0.175, -0.175))  # constant within a set


def test_without_values_per_query_there_are_means_and_no_tests(tmp_path: Path) -> None:
    folder = write(tmp_path / "out", [scored("e/ko/sembridge-default/zero-shot/0", "a", 0.5)])
    for file in folder.glob("cells/*/*"):
        file.unlink()
    names = [table.name for table in grid_tables(read_results(folder))]
    assert "zero-shot" in names
    assert not [name for name in names if "significance" in name]


# Sweep, words, curves, captions -----------------------------------------------------------------------------------


def test_the_sweep_has_its_own_table_and_stays_out_of_the_others(grid: Results, grid_by_name: dict[str, Table]) -> None:
    table = grid_by_name["alpha-sweep"]
    assert [group.title for group in table.groups] == [f"sembridge-paper, {encoder}" for encoder in ENCODERS]
    assert [cells[0] for cells in table.groups[0].rows] == ["1", "1.5", "2", "3", "4", "8"]
    assert cell(table, "1.5", "document dims", table.groups[0].title).value == pytest.approx(400)
    assert "alpha" not in to_csv(grid_by_name["zero-shot"])


def test_the_methods_own_alpha_comes_with_the_seeds_of_the_sweep(tmp_path: Path) -> None:
    rows = [row(f"e/ko/sembridge-default/zero-shot/{seed}", "a", alpha=4.0) for seed in (0, 1)]
    rows += [row("e/ko/sembridge-default-alpha-2/zero-shot/0", "a", alpha=2.0)]
    by_alpha = sweep_rows(read_results(write(tmp_path / "out", rows)))[System("mini/e", "sembridge-default")]
    assert {alpha: [r.seed for r in found] for alpha, found in by_alpha.items()} == {2.0: [0], 4.0: [0]}


def test_a_method_with_alpha_in_its_name_is_no_sweep(tmp_path: Path) -> None:
    tables = tables_of(tmp_path, [scored("e/ko/alphabet/zero-shot", "a", 0.5)])
    assert cell(tables["zero-shot"], "alphabet", "ko").value == 0.5
    assert "alpha-sweep" not in tables


def test_the_methods_own_alpha_fills_the_sweep(tmp_path: Path) -> None:
    rows = [
        row("e/ko/sembridge-paper/zero-shot", "a", alpha=4.0),
        row("e/ko/sembridge-paper/zero-shot", "b", alpha=4.0),  # the sweep does not have this set
        row("e/ko/sembridge-paper-alpha-2/zero-shot", "a", alpha=2.0),
    ]
    by_alpha = sweep_rows(read_results(write(tmp_path / "out", rows)))[System("mini/e", "sembridge-paper")]
    assert {alpha: [r.data for r in found] for alpha, found in by_alpha.items()} == {2.0: ["a"], 4.0: ["a"]}


def test_tokens_of_other_scripts_stay_and_markup_in_tokens_is_escaped(tmp_path: Path) -> None:
    name = "e/ko/sembridge-paper/zero-shot"
    parts = [["a|b", 0.5], ["##ing_$", 0.25], ["*é*", 0.15], ["\\x", 0.1]]
    words = [
        {"word": word, "language": language, "method": "sembridge-paper", "source_encoder": "mini/e", "parts": parts}
        for word, language in (("مدرسة", "ar"), ("विद्यालय", "hi"))
    ]
    table = tables_of(tmp_path, [row(name, "a")], words={name: words})["words"]
    markdown, latex, text = to_markdown(table), to_latex(table), to_csv(table)
    for rendered in (markdown, latex, text):
        assert "مدرسة" in rendered
        assert "विद्यालय" in rendered
    assert r"a\|b 0.50, \#\#ing\_$ 0.25, \*é\* 0.15, \\x 0.10" in markdown
    assert r"a\textbar{}b 0.50, \#\#ing\_\$ 0.25, *é* 0.15, \textbackslash{}x 0.10" in latex
    assert next(csv.DictReader(io.StringIO(text)))["source tokens"] == "a|b 0.50, ##ing_$ 0.25, *é* 0.15, \\x 0.10"


def test_a_word_without_tokens_says_why(grid_by_name: dict[str, Table]) -> None:
    assert ("mini/splade-en", "multivariate", "no weights: drawn") in grid_by_name["words"].groups[0].rows


def test_steps_to_the_targets_are_the_first_step_that_reached_them(tmp_path: Path) -> None:
    cells = [f"e/ko/{method}/fine-tuned/{seed}" for method in ("random", "sembridge-default") for seed in (0, 1)]
    dev = ((0.1, 0.2, 0.3), (0.1, 0.25, 0.2), (0.2, 0.38, 0.4), (0.3, 0.3, 0.39))
    curves = {
        name: [*({"step": 10 * i, "loss": 1.0, "nDCG@10": value} for i, value in enumerate(values)), {"step": 25}]
        for name, values in zip(cells, dev, strict=True)
    }  # fmt: skip
    table = tables_of(tmp_path, [row(name, "a") for name in cells], curves=curves)["steps-to-target"]
    assert table.groups[0].title == "mini/e, ko: random's last .250, 95% of the best .380"

    def near(*values: float) -> tuple[Number, ...]:
        return tuple(Number(pytest.approx(value)) for value in values)

    assert table.groups[0].rows == (
        ("random", Number(15.0, 0), "2 of 2", Number(None, 0), "0 of 2", *near(0.1, 0.25, 0.275)),
        ("sembridge-default", Number(5.0, 0), "2 of 2", Number(15.0, 0), "2 of 2", *near(0.25, 0.395, 0.395)),
    )


def test_without_random_rows_there_is_one_target_only(tmp_path: Path) -> None:
    name = "e/ko/mean/fine-tuned/0"
    curves = {name: [{"step": 10 * i, "loss": 1.0, "nDCG@10": value} for i, value in enumerate((0.1, 0.2))]}
    table = tables_of(tmp_path, [row(name, "a")], curves=curves)["steps-to-target"]
    assert table.groups[0].title == "mini/e, ko: 95% of the best .190"
    assert table.groups[0].rows[0][:5] == ("mean", Number(None, 0), DASH, Number(10.0, 0), "1 of 1")


def test_the_fine_tuned_tables_have_what_nothing_trains_beside_them(tmp_path: Path) -> None:
    names = ("any/ko/bm25-tokens/zero-shot", "e/ko/english/zero-shot", "e/ko/mean/zero-shot", "e/ko/mean/fine-tuned/0")
    table = tables_of(tmp_path, [row(name, "a") for name in names])["fine-tuned"]
    assert [str(cells[0]) for group in table.groups for cells in group.rows] == [
        "bm25-tokens", "english, mini/e", "mean",
    ]  # fmt: skip


def test_every_cost_has_a_table_and_an_older_cell_without_it_none(tmp_path: Path) -> None:
    name = "splade-en/ko/random/zero-shot/0"
    costs = {column.name: 7.0 for column in COST_COLUMNS}
    assert {f"zero-shot-{column.key}" for column in COST_COLUMNS} <= tables_of(
        tmp_path / "new", [row(name, "a", **costs)]
    ).keys()
    older = row(name, "a")  # as grids wrote rows before they had postings
    assert "zero-shot-postings" not in tables_of(tmp_path / "old", [older])
    assert ROW_KEYS.index("flops") + len(KEPT_COLUMNS) == ROW_KEYS.index("engine")
    assert rows_of([{"rows": [older]}])[0]["postings"] is None


def test_stages_have_tables_of_their_own_and_absent_ones_none(grid_by_name: dict[str, Table], tmp_path: Path) -> None:
    assert {"zero-shot", "fine-tuned", "steps-to-target", "words", "alpha-sweep"} <= grid_by_name.keys()
    assert {*tables_of(tmp_path, [row("any/ko/bm25-words/zero-shot", "a", flops=None, query_active_dims=None,
                                      document_active_dims=None)])} == {
        "zero-shot", "zero-shot-sets-ko", "zero-shot-least-overlapping"
    }  # fmt: skip


def test_captions_say_what_was_measured_on_what(grid_by_name: dict[str, Table]) -> None:
    text = to_markdown(grid_by_name["zero-shot"])
    assert "Measured on 3 test sets (test); 30–50 queries and 300–500 documents a set" in text
    assert "seeds 0, 1, 2; engine stock; versions torch 2." in text
    assert "korquad/ko (40 q, 400 d, overlap 0.75)" in grid_by_name["zero-shot-sets-ko"].columns
    assert "favours the baseline" in to_markdown(grid_by_name["zero-shot-significance-sets"])


# Formats and files ----------------------------------------------------------------------------------------------


def test_the_three_formats_show_the_same_numbers() -> None:
    cells = (
        Number(0.4216, spread=0.0123, rank="best", mark="ahead", partial=True),
        Number(-0.0004),
        Number(12.345, 2),
        Number(None),
    )
    table = Table("t", "a_b: 100 %", ("x", "A", "B", "C & D", "E"), (Group("g|h", (("m_1", *cells),)),), ("n.",))
    assert to_markdown(table) == (
        "**a\\_b: 100 %**\n\n| x | A | B | C & D | E |\n| --- | ---: | ---: | ---: | ---: |\n"
        "| **g\\|h** |  |  |  |  |\n| m\\_1 | **.422 ± .012** ▲† | .000 | 12.35 | – |\n\nn.\n"
    ).replace("12.35", f"{12.345:.2f}")
    latex = to_latex(table)
    assert "x & A & B & C \\& D & E \\\\" in latex
    assert "m\\_1 & \\textbf{.422 $\\pm$ .012}$^{\\uparrow}$\\dag{} & .000 & " in latex
    assert "\\caption{a\\_b: 100 \\%. n.}" in latex
    assert "\\multicolumn{5}{l}{\\textit{g\\textbar{}h}} \\\\" in latex
    assert to_csv(table) == "group,x,A,A std,A remarks,B,C & D,E\ng|h,m_1,0.4216,0.0123,partial ahead,-0.0004,12.345,\n"


def test_every_latex_special_character_is_escaped() -> None:
    table = Table("t", "c", ("x",), (Group("", (("&%$#_{}~^\\",),)),))
    assert r"\&\%\$\#\_\{\}\textasciitilde{}\textasciicircum{}\textbackslash{} \\" in to_latex(table)


def test_same_results_same_bytes(grid: Results, tmp_path: Path) -> None:
    shuffled = Results(
        tuple(reversed(grid.rows)), dict(reversed(grid.per_query.items())), grid.words, grid.curves, grid.versions
    )
    first = write_tables(grid, tmp_path / "a", n_permutations=PERMUTATIONS)
    second = write_tables(shuffled, tmp_path / "b", n_permutations=PERMUTATIONS)
    assert [path.name for path in first] == [path.name for path in second]
    assert {path.suffix for path in first} == {".md", ".tex", ".csv"}
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
    assert not list((tmp_path / "a").glob(".*"))


def test_a_folder_that_cannot_be_written_is_refused(grid: Results, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SembridgeError, match=r"zero-shot\.md cannot be written"):
        write_tables(grid, tmp_path / "file" / "tables", n_permutations=PERMUTATIONS)


def test_tables_that_are_no_more_go_and_other_files_stay(tmp_path: Path) -> None:
    folder = tmp_path / "tables"
    write_tables(read_results(write(tmp_path / "a", [row("e/ko/mean/zero-shot", "a")])), folder)
    (folder / "notes.md").write_text("mine")
    assert (folder / "zero-shot-sets-ko.csv").exists()
    written = write_tables(read_results(write(tmp_path / "b", [row("e/ru/mean/zero-shot", "a")])), folder)
    assert {*folder.iterdir()} == {*written, folder / "notes.md"}
    assert not (folder / "zero-shot-sets-ko.csv").exists()


# Reading --------------------------------------------------------------------------------------------------------


def test_cells_of_other_settings_are_not_read(tmp_path: Path) -> None:
    folder = write(tmp_path / "out", [row("e/ko/mean/zero-shot", "a")])
    stale = {"cell": "e/ko/gone/zero-shot", "per_query": {"a": {"nDCG@10": {"q": 1.0}}}, "versions": {"torch": "1"}}
    (folder / "cells" / "stale").mkdir()
    (folder / "cells" / "stale" / "result.json").write_text(json.dumps(stale))
    results = read_results(folder)
    assert not results.per_query
    assert results.versions == {"torch": "2"}


def test_a_damaged_cell_of_other_settings_costs_nothing_and_one_that_is_needed_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "out", [row("e/ko/mean/zero-shot", "a")])
    (folder / "cells" / "stale").mkdir()
    (folder / "cells" / "stale" / "result.json").write_bytes(b"\xff{")
    assert len(read_results(folder).rows) == 1
    (folder / "cells" / "e__ko__mean__zero-shot" / "result.json").write_bytes(b"\xff{")
    with pytest.raises(SembridgeError, match=r"e__ko__mean__zero-shot/result\.json cannot be read \(not UTF-8\)"):
        read_results(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "has no results.jsonl; give the output folder"),
        ("", "is empty: no cell is finished"),
        ("{", "line 1 is not JSON"),
        ('{"cell": "e/ko/mean/zero-shot"}', "line 1: language: Field required"),
        (json.dumps(row("e/ko/mean/zero-shot", "a", measures={"nDCG@10": "x"})), "measures.nDCG@10"),
        (json.dumps(row("e/ko/mean/zero-shot", "a", flops=float("nan"))), "flops: Input should be a finite number"),
    ],
)
def test_what_is_no_result_is_refused_with_its_place(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "results.jsonl").write_text(text)
    with pytest.raises(SembridgeError, match=message):
        read_results(tmp_path)


def test_a_mean_of_nothing_is_nothing() -> None:
    assert mean_of([], [["a"]], lambda row: row.evaluation.flops).value is None
    assert sets_by_language([]) == {}
    assert Number(None).text() == DASH


# Bootstrap ------------------------------------------------------------------------------------------------------


def test_the_interval_holds_the_mean_and_narrows_with_more_queries() -> None:
    few, many = bootstrap_interval([[0.0, 1.0] * 10]), bootstrap_interval([[0.0, 1.0] * 1000])
    assert few[0] < many[0] < 0.5 < many[1] < few[1]
    assert many == pytest.approx((0.5 - 0.0219, 0.5 + 0.0219), abs=0.003)  # 1.96 x .5 / sqrt(2000)


def test_the_interval_weighs_strata_alike_and_constant_values_have_no_width() -> None:
    assert bootstrap_interval([[0.2] * 3, [0.6] * 100]) == pytest.approx((0.4, 0.4))


def test_the_interval_needs_queries() -> None:
    with pytest.raises(SembridgeError, match="at least one query"):
        bootstrap_interval([[0.1], []])
