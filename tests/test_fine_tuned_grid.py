"""Stage fine-tuned of a grid: what is trained, on what, and that an interruption changes nothing."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from processes import exit_code, kill_after_checkpoint
from tiny_grid import trained_settings, write_tiny_grid

pytest.importorskip("datasets", reason="training needs the extra train")
pytest.importorskip("accelerate", reason="training needs the extra train")

from sembridge.errors import SembridgeError
from sembridge.experiments.cells import fingerprint, grid_cells
from sembridge.experiments.grid import run_grid
from sembridge.experiments.places import find_places
from sembridge.experiments.plan import plan_grid
from sembridge.experiments.recipe import GridRecipe
from sembridge.experiments.results import read_results
from sembridge.experiments.tables import grid_tables
from sembridge.training.checkpoints import has_checkpoint

pytestmark = pytest.mark.usefixtures("one_thread")
ONE = "tiny-en/ko/default/fine-tuned/1"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_grid(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def finished(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "out"
    run = run_world(world, out)
    assert not run.failed
    return out


def recipe_of(world: Path, **changes: Any) -> GridRecipe:
    return GridRecipe.build(trained_settings(world, **changes))


def run_world(world: Path, out: Path, **options: Any) -> Any:
    recipe = options.pop("recipe", None) or recipe_of(world)
    return run_grid(recipe, out, places=find_places(recipe, world), **options)


def result(out: Path, cell: str) -> dict[str, Any]:
    text = (out / "cells" / cell.replace("/", "__") / "result.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def curve(out: Path, cell: str) -> list[dict[str, float]]:
    lines = (out / "cells" / cell.replace("/", "__") / "curve.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_references_are_no_training_and_every_training_has_a_seed(world: Path) -> None:
    names = [cell.name for cell in grid_cells(recipe_of(world))]
    assert [name for name in names if "fine-tuned" in name] == [
        "tiny-en/ko/default/fine-tuned/0", ONE, "tiny-en/ko/mean/fine-tuned/0",
    ]  # fmt: skip
    assert [name for name in names if "bm25" in name or "english" in name] == [
        "any/ko/bm25-tokens/zero-shot", "tiny-en/ko/english/zero-shot",
    ]  # fmt: skip
    alone = [cell.name for cell in grid_cells(recipe_of(world, stages=["fine-tuned"]))]
    assert "any/ko/bm25-tokens/zero-shot" in alone  # a table of trained encoders alone has BM25 in it too
    assert not any("default/zero-shot" in name or "alpha" in name for name in alone)


def test_a_curve_begins_with_the_zero_shot_encoder_and_ends_with_the_last_step(finished: Path) -> None:
    before = result(finished, "tiny-en/ko/default/zero-shot/1")["rows"][0]
    points = curve(finished, ONE)
    assert (points[0]["step"], points[-1]["step"]) == (0, 20)
    assert points[0]["nDCG@10"] == pytest.approx(
        before["measures"]["nDCG@10"], abs=1e-6
    )  # dev and test are one set here
    assert [point["step"] for point in points if "nDCG@10" in point] == [0, 5, 10, 15, 20]
    trained = result(finished, ONE)
    assert trained["training"] == {"steps": 20, "pairs": 6}
    best = max(point["nDCG@10"] for point in points[1:] if "nDCG@10" in point)
    assert trained["rows"][0]["measures"]["nDCG@10"] == pytest.approx(best, abs=1e-6)  # the best checkpoint is measured
    assert trained["rows"][0]["flops"] != before["flops"]
    assert trained["rows"][0]["stage"] == "fine-tuned"


def test_no_weights_and_checkpoints_stay_behind(finished: Path) -> None:
    assert {path.name for path in (finished / "cells").glob("*/*")} <= {"result.json", "curve.jsonl"}


def test_tables_of_the_stage_have_bm25_and_the_untouched_encoder_beside_the_trained_ones(finished: Path) -> None:
    tables = {table.name: table for table in grid_tables(read_results(finished), n_permutations=99)}
    labels = [str(row[0]) for group in tables["fine-tuned"].groups for row in group.rows]
    assert any(label.startswith("bm25-tokens") for label in labels)
    assert any(label.startswith("english") for label in labels)
    assert any(label.startswith("hybrid-default") for label in labels)
    assert any(label.startswith("default (2 seeds)") for label in labels)
    assert not any("paper" in label for label in labels)
    assert "steps-to-target" in tables
    assert (finished / "figures" / "training-curves.svg").is_file()


def killed_run(world: Path, out: Path) -> None:
    kill_after_checkpoint(5)
    run_world(world, out, only=[ONE])


def test_a_training_killed_within_a_cell_goes_on_from_its_checkpoint(
    world: Path, finished: Path, tmp_path: Path
) -> None:
    out, slug = tmp_path / "out", ONE.replace("/", "__")
    assert exit_code(killed_run, world, out) == -signal.SIGKILL
    (checkpoints,) = (out / "cells" / slug).glob("training-*.checkpoints")
    assert has_checkpoint(checkpoints.with_suffix(""))
    assert not (out / "cells" / slug / "result.json").exists()
    run_world(world, out, only=[ONE])
    whole, resumed = result(finished, ONE), result(out, ONE)
    assert resumed["per_query"] == whole["per_query"]
    assert [row["flops"] for row in resumed["rows"]] == [row["flops"] for row in whole["rows"]]
    assert curve(out, ONE) == curve(finished, ONE)


def test_training_settings_decide_trained_cells_alone(world: Path) -> None:
    def fingerprints(**changes: Any) -> dict[str, str]:
        recipe = recipe_of(world, **changes)
        return {cell.name: fingerprint(cell, recipe) for cell in grid_cells(recipe)}

    fine_tuning = trained_settings(world)["fine_tuning"]
    usual = fingerprints()
    faster = fingerprints(fine_tuning={**fine_tuning, "settings": {**fine_tuning["settings"], "learning_rate": 1e-2}})
    fewer = fingerprints(fine_tuning={**fine_tuning, "pairs": 4})
    for changed in (faster, fewer):
        assert {name for name in usual if usual[name] != changed[name]} == {n for n in usual if "fine-tuned" in n}
    methods = trained_settings(world)["methods"]
    own = fingerprints(methods={**methods, "default": {"preset": "default", "training": {"freeze_body_steps": 2}}})
    changed = {name for name in usual if usual[name] != own[name]}
    assert changed == {"tiny-en/ko/default/fine-tuned/0", ONE}


def test_trainings_count_in_the_plan(world: Path, tmp_path: Path) -> None:
    recipe = recipe_of(world)
    plan = plan_grid(recipe, tmp_path / "out", places=find_places(recipe, world))
    texts = {planned.cell.name: planned.n_texts for planned in plan.cells}
    assert texts[ONE] == texts["tiny-en/ko/default/zero-shot/1"] + 3 * 2 * 3 * 20  # forth and back, pairs, batch, steps


def test_training_data_that_is_not_there_is_said_before_any_work(world: Path, tmp_path: Path) -> None:
    language = trained_settings(world)["languages"]["ko"]
    for key, role in (("training_sets", "Training"), ("dev_set", "Dev")):
        missing = ["nowhere/ko"] if key == "training_sets" else "nowhere/ko"
        recipe = recipe_of(world, languages={"ko": {**language, key: missing}})
        with pytest.raises(SembridgeError, match=f"{role} set nowhere/ko of language ko: there is no folder"):
            run_world(world, tmp_path / "out", recipe=recipe)
        assert not (tmp_path / "out").exists()
    with pytest.raises(SembridgeError, match="fine-tuning of method default: stepps is no setting"):
        recipe_of(world, fine_tuning={"settings": {"stepps": 3}})
