"""Grids: every cell once, whatever interrupts them, and the same results."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from processes import exit_code, kill_this_process
from tiny_bridge import MEANINGS, save_tiny_bridge
from tiny_grid import settings, write_tiny_grid

from sembridge.encoders.loading import load_bridge
from sembridge.errors import SembridgeError
from sembridge.experiments.cells import fingerprint, grid_cells, select
from sembridge.experiments.contents import Contents
from sembridge.experiments.grid import run_grid
from sembridge.experiments.places import Places, find_places
from sembridge.experiments.plan import plan_grid
from sembridge.experiments.recipe import GridRecipe
from sembridge.experiments.results import read_results
from sembridge.experiments.score_tables import main_table
from sembridge.experiments.store import Store
from sembridge.experiments.workers import Job, Outcome, Worker
from sembridge.language_transfer.recipe import TransferRecipe
from sembridge.retrieval.dense import evaluate_dense
from sembridge.retrieval.sources import load_retrieval_data

pytestmark = pytest.mark.usefixtures("one_thread")
NAMES = {
    "any/ko/bm25-tokens/zero-shot",
    "tiny-en/ko/english/zero-shot",
    "tiny-en/ko/default/zero-shot/0",
    "tiny-en/ko/default/zero-shot/1",
    "tiny-en/ko/mean/zero-shot",
    "tiny-en/ko/paper/zero-shot",
    "tiny-en/ko/hybrid-paper/zero-shot",
    "tiny-en/ko/paper-alpha-1.5/zero-shot",
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_grid(tmp_path_factory.mktemp("world"))


@pytest.fixture(autouse=True, scope="module")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Bridge vectors of these tests do not go to the user's cache, nor those of processes that they start."""
    folder = str(tmp_path_factory.mktemp("assets"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ASSETS_CACHE", folder)
        patch.setattr("huggingface_hub.constants.HF_ASSETS_CACHE", folder)
        yield


@pytest.fixture(scope="module")
def finished(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a run that nothing disturbed."""
    out = tmp_path_factory.mktemp("finished") / "out"
    run = run_world(world, out)
    assert not run.failed
    assert run.n_missing == 0
    return out


def run_world(world: Path, out: Path, recipe: GridRecipe | None = None, **options: Any) -> Any:
    recipe = recipe or GridRecipe.read(world / "grid.yaml")
    return run_grid(recipe, out, places=find_places(recipe, world), **options)


def rows(out: Path) -> list[dict[str, Any]]:
    """results.jsonl without the time it took."""
    lines = (out / "results.jsonl").read_text(encoding="utf-8").splitlines()
    return [{key: value for key, value in json.loads(line).items() if key != "seconds"} for line in lines]


def write_times(out: Path) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in out.glob("cells/*/result.json")}


def test_a_grid_has_a_row_for_every_cell(finished: Path) -> None:
    by_name = {row["cell"]: row for row in rows(finished)}
    assert by_name.keys() == NAMES
    assert list(by_name) == sorted(NAMES)
    default, bm25 = by_name["tiny-en/ko/default/zero-shot/1"], by_name["any/ko/bm25-tokens/zero-shot"]
    alpha = TransferRecipe.build({"preset": "default"}).alpha
    assert (default["method"], default["seed"], default["alpha"], default["language"]) == ("default", 1, alpha, "ko")
    assert (default["n_queries"], default["n_documents"], default["data"]) == (6, 6, "school/ko")
    assert default["flops"] > 0
    assert (bm25["source_encoder"], bm25["flops"], bm25["seed"], bm25["engine"]) == (None, None, None, None)
    assert by_name["tiny-en/ko/paper-alpha-1.5/zero-shot"]["alpha"] == 1.5
    assert by_name["tiny-en/ko/mean/zero-shot"]["alpha"] is None


def test_the_bridge_itself_is_a_reference(world: Path, tmp_path: Path) -> None:
    changes = {"references": ["bridge"], "methods": {"mean": {"method": "mean"}}, "hybrids": [], "alpha_sweeps": []}
    recipe = GridRecipe.build(settings(world, **changes))
    run = run_world(world, tmp_path / "out", recipe, only=["/bridge/"])
    assert [cell.name for cell in run.computed] == ["any/ko/bridge/zero-shot"]
    (row,) = rows(tmp_path / "out")
    bridge = load_bridge(str(world / "bridge"))
    expected = evaluate_dense(bridge, load_retrieval_data(world / "data" / "school" / "ko", split="test"))
    assert row["measures"]["nDCG@10"] == pytest.approx(expected.measures["nDCG@10"], abs=1e-6)
    assert (row["source_encoder"], row["flops"], row["engine"]) == (None, None, None)
    assert row["bytes_per_document"] == 4 * bridge.get_embedding_dimension()
    results = read_results(tmp_path / "out")
    (group,) = main_table(results, results.table_rows("zero-shot"), "zero-shot", 9).groups
    assert (group.title.split(":")[0], group.rows[0][0]) == ("References", "bridge")
    again = GridRecipe.build(settings(world, **changes, bridge=str(save_tiny_bridge(tmp_path / "other"))))
    assert plan_grid(again, tmp_path / "out", places=find_places(again, world), only=["/bridge/"]).count("changed") == 1


@pytest.mark.parametrize("bridge", [None, ["one", "two"]])
def test_the_reference_bridge_needs_one_bridge(world: Path, bridge: Any) -> None:
    changes = {"references": ["bridge"], "methods": {"mean": {"method": "mean"}}, "hybrids": [], "alpha_sweeps": []}
    with pytest.raises(SembridgeError, match="reference bridge searches with the grid's bridge"):
        GridRecipe.build(settings(world, **changes, bridge=bridge))


def test_the_least_overlapping_third_is_measured_apart(finished: Path) -> None:
    row = next(row for row in rows(finished) if row["cell"] == "any/ko/bm25-tokens/zero-shot")
    # Five queries repeat their document's words; of `서울 2024` one of two.
    assert row["lexical_overlap"] == pytest.approx((5 + 0.5) / 6, abs=1e-6)
    result = json.loads((finished / "cells" / "any__ko__bm25-tokens__zero-shot" / "result.json").read_text("utf-8"))
    values = result["per_query"]["school/ko"]["nDCG@10"]
    assert row["least_overlapping"]["nDCG@10"] == pytest.approx((values["q2"] + values["q0"]) / 2, abs=1e-6)


def test_words_are_explained_or_said_to_have_no_weights(finished: Path) -> None:
    def words(slug: str) -> dict[str, Any]:
        result = json.loads((finished / "cells" / slug / "result.json").read_text(encoding="utf-8"))
        return {word["word"]: word for word in result["words"]}

    paper, mean = words("tiny-en__ko__paper__zero-shot"), words("tiny-en__ko__mean__zero-shot")
    assert paper["학교"]["parts"][0][0] == "school"
    assert sum(weight for _, weight in paper["학교"]["parts"]) == pytest.approx(1, abs=1e-3)
    assert mean["학교"]["parts"] == []
    assert mean["학교"]["note"].startswith("no weights: mean")
    assert "pieces" in paper["없음"]["note"]


def test_tables_and_figures_are_made(finished: Path) -> None:
    assert list((finished / "tables").glob("*.md"))
    assert list((finished / "figures").glob("*.svg"))
    assert GridRecipe.read(finished / "recipe.yaml").seeds == (0, 1)
    assert "torch" in json.loads((finished / "versions.json").read_text(encoding="utf-8"))


def test_the_recipe_in_the_results_leads_to_the_same_data_from_there(finished: Path) -> None:
    recipe = GridRecipe.read(finished / "recipe.yaml")
    store = Store(finished, Contents(recipe, find_places(recipe, finished)))
    cells = grid_cells(recipe)
    assert set(store.states(recipe, cells).values()) == {"done"}
    assert all("school/ko (test)" in store.contents.of(cell) for cell in cells if store.contents)  # it was found


def killed_run(world: Path, out: Path) -> None:
    finished = iter(range(1, 4))
    run_world(world, out, on_outcome=lambda outcome: kill_this_process() if next(finished) == 3 else None)


def test_a_killed_run_goes_on_where_it_stopped(world: Path, finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert exit_code(killed_run, world, out) == -signal.SIGKILL
    before = write_times(out)
    assert 3 <= len(before) < len(NAMES)
    assert not (out / "results.jsonl").exists()
    run = run_world(world, out)
    after = write_times(out)
    assert {slug: after[slug] for slug in before if "hybrid" not in slug} == {
        slug: time_ for slug, time_ in before.items() if "hybrid" not in slug
    }
    assert len(run.kept) + len(run.computed) == len(NAMES) - 1  # the hybrid comes with its method
    assert rows(out) == rows(finished)


def wait_for(condition: Callable[[], bool], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_several_processes_give_the_same_and_survive_a_death_and_an_interruption(
    world: Path, finished: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    outcomes: list[Outcome] = []

    def disturb(outcome: Outcome) -> None:
        outcomes.append(outcome)
        if len(outcomes) == 1:
            os.kill(multiprocessing.active_children()[0].pid or 0, signal.SIGKILL)
        if len(outcomes) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_world(world, out, n_jobs=2, on_outcome=disturb)
    assert not multiprocessing.active_children()
    failures = [outcome.failure or "" for outcome in outcomes if outcome.failure]
    assert all("code -9" in failure for failure in failures)
    assert len(failures) <= 1  # none if the process that was killed had nothing in hand
    run = run_world(world, out)
    kept = {outcome.cell for outcome in outcomes if outcome.failure is None}
    assert kept <= {*run.kept}
    assert rows(out) == rows(finished)


def test_a_second_run_in_the_same_folder_is_refused(world: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    refusals: list[str] = []

    def run_again(outcome: Outcome) -> None:
        with pytest.raises(SembridgeError) as refusal:
            run_world(world, out, only=["bm25"])
        refusals.append(str(refusal.value))

    run_world(world, out, only=["bm25"], on_outcome=run_again)
    assert refusals == [f"Another run computes in {out}; wait until it ends, or give another folder with --out."]
    assert run_world(world, out, only=["bm25"]).kept  # the lock is lifted


def test_what_a_killed_run_left_half_written_is_removed(world: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    cell = out / "cells" / "any__ko__bm25-tokens__zero-shot"
    cell.mkdir(parents=True)
    (cell / ".sembridge.partial-x1").write_text('{"cell": ', encoding="utf-8")
    run_world(world, out, only=["bm25"])
    assert [path.name for path in cell.iterdir()] == ["result.json"]


def test_a_process_that_died_with_nothing_in_hand_fails_its_next_cell_and_no_more(world: Path, tmp_path: Path) -> None:
    recipe = GridRecipe.read(world / "grid.yaml")
    worker = Worker(Job(recipe, find_places(recipe, world), Store(tmp_path)), 1)
    worker.process.kill()
    worker.process.join()
    cell = grid_cells(recipe)[0]
    worker.give(cell)
    outcome = worker.outcome()
    assert (outcome.cell, worker.died) == (cell, True)
    assert "ended with code -9" in outcome.reason


def test_a_failed_cell_stops_no_other_and_is_tried_again(world: Path, tmp_path: Path) -> None:
    late, out = tmp_path / "late-en", tmp_path / "out"
    changes = {"methods": {"mean": {"method": "mean"}}, "alpha_sweeps": [], "hybrids": [], "references": ["bm25-words"]}
    recipe = GridRecipe.build(settings(world, source_encoders=[str(late), str(world / "tiny-en")], **changes))
    first = run_world(world, out, recipe)
    assert [cell.name for cell in first.failed] == ["late-en/ko/mean/zero-shot"]
    assert [cell.name for cell in first.computed] == ["any/ko/bm25-words/zero-shot", "tiny-en/ko/mean/zero-shot"]
    assert {row["cell"] for row in rows(out)} == {cell.name for cell in first.computed}
    error = out / "cells" / "late-en__ko__mean__zero-shot" / "error.txt"
    assert "Traceback" in error.read_text(encoding="utf-8")
    assert f"The folder {late} does not exist" in next(iter(first.failed.values()))
    shutil.copytree(world / "tiny-en", late)
    second = run_world(world, out, recipe)
    assert [cell.name for cell in second.computed] == ["late-en/ko/mean/zero-shot"]
    assert second.n_missing == 0
    assert not error.exists()


def test_a_changed_setting_is_noticed_by_its_cells_only(
    world: Path, finished: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    methods = settings(world)["methods"] | {"mean": {"method": "mean", "fuzzy": "false"}}
    with caplog.at_level(logging.WARNING):
        run = run_world(world, out, GridRecipe.build(settings(world, methods=methods)))
    assert [cell.method for cell in run.computed] == ["mean"]
    assert "tiny-en/ko/mean/zero-shot was finished under other settings" in caplog.text


def test_other_data_or_models_under_the_same_names_are_noticed(world: Path, finished: Path, tmp_path: Path) -> None:
    """A cell keeps digests of what it was computed with; a plan compares them, and so does a run."""
    other = tmp_path / "world"
    shutil.copytree(world, other)
    # Its models by their absolute paths, which are part of a cell's settings; only the data lie in the other world.
    recipe = GridRecipe.build(settings(world))

    def states() -> dict[str, str]:
        store = Store(finished, Contents(recipe, find_places(recipe, other)))
        return {cell.method: store.changes(recipe, cell) for cell in grid_cells(recipe)}

    assert set(states().values()) == {""}
    (other / "data" / "school" / "ko" / "README.md").write_text("of no interest")
    (other / "data" / "school" / "ko" / "qrels" / "train.tsv").write_text("q0\td0\t1\n")
    assert set(states().values()) == {""}
    corpus = other / "data" / "school" / "ko" / "corpus.jsonl"
    corpus.write_text(corpus.read_text(encoding="utf-8").replace("2024", "2025"), encoding="utf-8")
    assert set(states().values()) == {"school/ko (test)"}


def test_another_bridge_under_the_same_name_is_noticed_by_the_cells_that_use_it(
    finished: Path, tmp_path: Path, world: Path
) -> None:
    recipe = GridRecipe.build(settings(world))
    contents = Contents(recipe, find_places(recipe, world))
    of_cells = {cell.name: contents.of(cell) for cell in grid_cells(recipe)}
    bridge, source, tokenizer = (str(world / name) for name in ("bridge", "tiny-en", "tokenizer"))
    assert set(of_cells["any/ko/bm25-tokens/zero-shot"]) == {tokenizer, "school/ko (test)"}
    assert set(of_cells["tiny-en/ko/mean/zero-shot"]) == {source, tokenizer, "school/ko (test)"}
    assert set(of_cells["tiny-en/ko/paper/zero-shot"]) == {bridge, source, tokenizer, "school/ko (test)"}
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    cell = next(cell for cell in grid_cells(recipe) if cell.method == "paper")
    store = Store(out, contents)
    result = store.read(cell)
    assert result is not None
    assert result["contents"] == of_cells[cell.name]
    store.write_result(cell, {**result, "contents": {**result["contents"], bridge: "of another bridge"}})
    assert store.states(recipe, [cell]) == {cell: "changed"}
    assert store.changes(recipe, cell) == bridge
    old = {key: value for key, value in result.items() if key != "contents"}  # as earlier versions wrote them
    store.write_result(cell, old)
    assert store.states(recipe, [cell]) == {cell: "done"}


def test_a_damaged_result_is_computed_again(world: Path, finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    (out / "cells" / "any__ko__bm25-tokens__zero-shot" / "result.json").write_text('{"cell": ', encoding="utf-8")
    assert [cell.method for cell in run_world(world, out).computed] == ["bm25-tokens"]
    assert rows(out) == rows(finished)


def test_only_computes_what_it_names_and_keeps_other_rows(world: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert [c.name for c in run_world(world, out, only=["bm25"]).computed] == ["any/ko/bm25-tokens/zero-shot"]
    run = run_world(world, out, only=["*/english/zero-shot"])
    assert [c.name for c in run.computed] == ["tiny-en/ko/english/zero-shot"]
    assert {row["method"] for row in rows(out)} == {"bm25-tokens", "english"}
    assert run.n_missing == len(NAMES) - 1 - 2
    with pytest.raises(SembridgeError, match="No cell matches --only 'nothing'"):
        run_world(world, out, only=["nothing"])


def test_a_sweep_has_its_memory_and_takes_the_methods_own_alpha_from_the_methods_cell(world: Path) -> None:
    sweep = {"method": "paper", "alphas": [1, 4], "memory_budget_mb": 5120}
    recipe = GridRecipe.build(settings(world, alpha_sweeps=[sweep]))
    cells = {cell.method: cell for cell in grid_cells(recipe) if cell.alpha is not None}
    assert {method for method in cells if "alpha" in method} == {"paper-alpha-1"}
    budgets = {method: its.memory_budget_mb for method, cell in cells.items() if (its := cell.transfer_recipe(recipe))}
    assert budgets == {"default": 1024, "paper": 1024, "paper-alpha-1": 5120}
    small = GridRecipe.build(settings(world, alpha_sweeps=[{**sweep, "memory_budget_mb": 16}]))
    assert fingerprint(cells["paper-alpha-1"], recipe) == fingerprint(cells["paper-alpha-1"], small)


def test_a_split_that_is_stated_changes_nothing(world: Path) -> None:
    recipe = GridRecipe.read(world / "grid.yaml")
    languages = settings(world)["languages"]
    ko = languages["ko"] | {"test_sets": [{"name": "school/ko", "split": "test"}]}
    stated = GridRecipe.build(settings(world, languages={"ko": ko}))
    assert all(fingerprint(cell, recipe) == fingerprint(cell, stated) for cell in grid_cells(recipe))
    dev = GridRecipe.build(
        settings(world, languages={"ko": ko | {"test_sets": [{"name": "school/ko", "split": "dev"}]}})
    )
    assert all(fingerprint(cell, recipe) != fingerprint(cell, dev) for cell in grid_cells(recipe))


def test_a_moved_data_folder_and_a_new_default_leave_cells_alone(world: Path) -> None:
    recipe = GridRecipe.read(world / "grid.yaml")
    moved = GridRecipe.build(settings(world, data="elsewhere"))
    same = settings(world)["methods"] | {"mean": {"method": "mean", "alpha": "4"}}
    stated = GridRecipe.build(settings(world, methods=same))
    for cell in grid_cells(recipe):
        assert fingerprint(cell, recipe) == fingerprint(cell, moved) == fingerprint(cell, stated)
    sampled = GridRecipe.build(settings(world, sampling={"queries": 2}))
    assert all(fingerprint(cell, recipe) != fingerprint(cell, sampled) for cell in grid_cells(recipe))


def test_what_presets_set_enters_no_baseline_s_fingerprint(world: Path) -> None:
    def of(method: str, **own: Any) -> str:
        recipe = GridRecipe.build(
            settings(world, methods={"one": {"method": method, **own}}, hybrids=[], alpha_sweeps=[])
        )
        (found,) = {fingerprint(cell, recipe) for cell in grid_cells(recipe) if (cell.method, cell.seed) == ("one", 0)}
        return found

    assert of("multivariate") == of("multivariate", preset="paper") == of("multivariate", firing_cap=0.5)
    assert of("multivariate") != of("multivariate", covariance_scale=0.5)
    assert len({of("sembridge"), of("sembridge", residual=0.5), of("sembridge", firing_cap=0.5)}) == 3


def test_the_fingerprint_of_a_finished_cell_stays_what_it_was() -> None:
    """Taken when FORMAT became 3; a change computes every grid anew, and the changelog says so."""
    recipe = GridRecipe.read(Path(__file__).parents[1] / "reproduction" / "mini" / "faq.yaml")
    found = {cell.name: fingerprint(cell, recipe) for cell in grid_cells(recipe)}
    assert found["splade-en/ko/sembridge-paper/zero-shot"] == "c2e336ff8b3bca1d723d422eeb58a90a"
    assert found["any/ko/bm25-tokens/zero-shot"] == "d03cd4faa6761b8ebf9bc276a367712c"


def with_bridges(world: Path, **bridges: Any) -> GridRecipe:
    """The grid with methods of the preset `paper` that have a bridge of their own."""
    methods = {name: {"preset": "paper", "bridge": bridge} for name, bridge in bridges.items()}
    return GridRecipe.build(
        settings(
            world, methods=settings(world)["methods"] | methods, references=["bm25-tokens"], hybrids=[], alpha_sweeps=[]
        )
    )


def test_a_method_s_own_bridge_enters_its_fingerprint_alone(world: Path) -> None:
    without = GridRecipe.read(world / "grid.yaml")
    recipe = with_bridges(world, one="b", two=["a", "b"], order=["b", "a"], same=str(world / "bridge"))
    found = {cell.method: fingerprint(replace(cell, method="x"), recipe) for cell in grid_cells(recipe)}
    assert len({found[method] for method in ("paper", "one", "two")}) == 3
    assert (found["two"], found["same"]) == (found["order"], found["paper"])
    for cell in grid_cells(without):
        if cell.method in ("default", "mean", "bm25-tokens"):
            assert fingerprint(cell, recipe) == fingerprint(cell, without)


def test_a_method_s_own_bridge_makes_its_rows(world: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(world / "data", data)
    save_tiny_bridge(
        data / "bridge-ko", meanings={"학교": MEANINGS["river"], **{w: MEANINGS[w] for w in ("river", "book")}}
    )
    recipe = with_bridges(
        world, own="{data}/bridge-{language}", both=["{data}/bridge-{language}", str(world / "bridge")]
    )
    recipe = recipe.model_copy(update={"bridge": str(world / "bridge"), "seeds": (0,)})
    assert recipe.bridges("own", "ko") == ("{data}/bridge-ko",)
    places = Places(data=data)
    assert plan_grid(recipe, tmp_path / "out", places=places).downloads == {}
    assert not run_grid(recipe, tmp_path / "out", places=places, only=["/own/", "/paper/", "/both/"]).failed
    parts = {}
    for method in ("own", "paper", "both"):
        file = tmp_path / "out" / "cells" / f"tiny-en__ko__{method}__zero-shot" / "result.json"
        parts[method] = json.loads(file.read_text(encoding="utf-8"))["words"][0]["parts"]
    assert (parts["own"][0][0], parts["paper"][0][0]) == ("river", "school")
    assert parts["both"] != parts["own"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"preset": "default"}, True),
        ({"preset": "paper"}, False),
        ({"preset": "default", "residual": 0}, True),
        ({"preset": "default", "residual": 0, "evidence": False}, False),
        ({"preset": "paper", "residual": 0.1}, True),
        ({"method": "mean"}, False),
        ({"method": "random"}, True),
        ({"method": "multivariate", "covariance_scale": 1e-5}, True),
    ],
)
def test_methods_that_draw_are_known_from_their_settings(given: dict[str, Any], expected: bool) -> None:
    assert TransferRecipe.build(given).is_seeded is expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metods": {}}, "metods is no setting"),
        ({"methods": {"x": {"method": "magic"}}, "alpha_sweeps": [], "hybrids": []}, "magic"),
        ({"methods": {"a/b": {"method": "mean"}}, "alpha_sweeps": [], "hybrids": []}, "becomes a file name"),
        ({"methods": {"bm25-x": {"method": "mean"}}, "alpha_sweeps": [], "hybrids": []}, "named as a reference"),
        ({"methods": {"english": {"method": "mean"}}, "alpha_sweeps": [], "hybrids": []}, "named as a reference"),
        ({"methods": {"mean-alpha-2": {"method": "mean"}}, "alpha_sweeps": [], "hybrids": []}, "step of an alpha"),
        (
            {"languages": {"ko": {"target_tokenizer": "t", "test_sets": ["a", {"name": "a", "split": "dev"}]}}},
            "test set a stands under ko (split test) and ko (split dev)",
        ),
        (
            {"languages": {code: {"target_tokenizer": "t", "test_sets": ["a"]} for code in ("ko", "ru")}},
            "test set a stands under ko (split test) and ru (split test)",
        ),
        ({"hybrids": ["unknown"]}, "'unknown' of hybrids"),
        ({"alpha_sweeps": [{"method": "paper", "alphas": [0.5]}]}, "alpha"),
        (
            {"alpha_sweeps": [{"method": "paper", "alphas": [2], "languages": ["xx"]}]},
            "names 'xx', which the grid does not have",
        ),
        ({"source_encoders": ["a/splade", "b/splade"]}, "same name"),
        ({"languages": {}}, "languages"),
        ({"encode_with": "warp"}, "encode_with"),
        ({"sampling": {"querys": 3}}, "sampling.querys is no setting."),
        ({"bridge": None}, "needs a bridge"),
        ({"methods": {"x": {"bridge": []}}, "alpha_sweeps": [], "hybrids": []}, "expected a name or a list of names"),
        ({"methods": {"x": {"bridge": {"a": "b"}}}, "alpha_sweeps": [], "hybrids": []}, "bridge of method x is {'a'"),
        ({"methods": {"x": {"method": "mean", "bridge": "b"}}, "alpha_sweeps": [], "hybrids": []}, "uses no bridge"),
        ({"stages": ["zero-shot", "fine-tuned"]}, "stage fine-tuned needs `training_sets` under language ko"),
        ({"fine_tuning": {"methods": ["unknown"]}}, "'unknown' of fine_tuning is none of the methods"),
    ],
)
def test_bad_recipes_are_refused_in_one_line(world: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SembridgeError) as refusal:
        GridRecipe.build(settings(world, **changes))
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_what_cannot_be_computed_is_refused_before_any_work(world: Path, tmp_path: Path) -> None:
    with pytest.raises(SembridgeError, match="school/ko of language ko: there is no folder"):
        run_grid(GridRecipe.build(settings(world)), tmp_path / "out")
    with pytest.raises(SembridgeError, match="Unknown measure 'nDGC@10'"):
        run_world(world, tmp_path / "out", GridRecipe.build(settings(world, measures=["nDGC@10"])))
    with pytest.raises(SembridgeError, match=r"R@100 lack nDCG@10, which tables and figures show"):
        run_world(world, tmp_path / "out", GridRecipe.build(settings(world, measures=["R@100"])))
    with pytest.raises(SembridgeError, match="deeper than the 1000 documents"):
        run_world(world, tmp_path / "out", GridRecipe.build(settings(world, measures=["nDCG@10", "R@2000"])))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("x", encoding="utf-8")
    with pytest.raises(SembridgeError, match="holds something else"):
        run_world(world, tmp_path / "other")
    assert not (tmp_path / "out").exists()


def test_a_plan_counts_texts_and_takes_the_speed_of_finished_cells(world: Path, finished: Path, tmp_path: Path) -> None:
    recipe = GridRecipe.read(world / "grid.yaml")
    places = find_places(recipe, world)
    plan = plan_grid(recipe, tmp_path / "out", places=places)
    assert [p.n_texts for p in plan.cells if p.cell.source_encoder] == [12] * 6
    assert plan.seconds == pytest.approx(6 * 12 / recipe.documents_per_second)
    assert not plan.measured
    assert plan.downloads == {}
    assert not (tmp_path / "out").exists()
    changed = GridRecipe.build(settings(world, seeds=[0, 1, 2]))
    later = plan_grid(changed, finished, places=places)
    assert later.measured
    assert [p.cell.name for p in later.cells if p.state == "missing"] == ["tiny-en/ko/default/zero-shot/2"]


def test_a_drawn_method_under_once_has_the_first_seed_only(world: Path) -> None:
    def seeds(**changes: Any) -> list[int | None]:
        cells = grid_cells(GridRecipe.build(settings(world, **changes)))
        return [cell.seed for cell in cells if cell.method in ("default", "mean")]

    assert seeds() == [0, 1, None]
    assert seeds(once=["default", "mean"]) == [0, None]
    with pytest.raises(SembridgeError, match="'gone' of hybrids, once or alpha_sweeps is none of the methods"):
        seeds(once=["gone"])


def test_select_takes_names_and_parts_of_names(world: Path) -> None:
    cells = grid_cells(GridRecipe.read(world / "grid.yaml"))
    assert [cell.seed for cell in select(cells, ["default/zero-shot/1"])] == [1]
    assert select(cells, []) == cells
    assert len(select(cells, ["/ko/", "mean"])) == len(cells)


@pytest.mark.parametrize(
    "name", ["paper/grid.yaml", "paper/grid_hard_negatives.yaml", "mini/grid.yaml", "mini/faq.yaml"]
)
def test_the_recipes_of_this_repository_are_grids(name: str) -> None:
    recipe = GridRecipe.read(Path(__file__).parents[1] / "reproduction" / name)
    cells = grid_cells(recipe)
    assert {cell.language for cell in cells} == {"ar", "zh", "hi", "ko", "ru"}
    assert {cell.source_encoder for cell in cells} == {None, *recipe.source_encoders}
    assert {"english", "bm25-tokens", "sembridge-paper"} <= {cell.method for cell in cells}
    assert len({cell.slug for cell in cells}) == len(cells)
