"""`sembridge reproduce`: exit codes, the plan, and what goes to stdout and to stderr."""

from __future__ import annotations

import contextlib
import io
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_grid import settings, write_tiny_grid

from sembridge.cli import main


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_grid(tmp_path_factory.mktemp("world"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_ASSETS_CACHE", str(tmp_path / "assets"))


@pytest.fixture(autouse=True)
def same_signals() -> Iterator[None]:
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


def reproduce(*arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as exit_:
        main(["reproduce", *map(str, arguments)])
    return int(exit_.value.code or 0), out.getvalue(), err.getvalue()


def written(folder: Path, **changes: Any) -> Path:
    path = folder / "changed.yaml"
    path.write_text(yaml.safe_dump(changes, allow_unicode=True), encoding="utf-8")
    return path


def test_a_run_prints_json_on_stdout_and_its_cells_on_stderr(world: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = (world / "grid.yaml", "--out", out, "--only", "bm25", "--json")
    code, stdout, stderr = reproduce(*arguments)
    assert code == 0
    assert json.loads(stdout)["computed"] == ["any/ko/bm25-tokens/zero-shot"]
    assert "[1/1] any/ko/bm25-tokens/zero-shot" in stderr
    assert len((out / "results.jsonl").read_text(encoding="utf-8").splitlines()) == 1
    code, stdout, _ = reproduce(*arguments)
    assert code == 0
    assert json.loads(stdout)["kept"] == ["any/ko/bm25-tokens/zero-shot"]


def test_a_failed_cell_is_one_line_and_exit_code_1(world: Path, tmp_path: Path) -> None:
    bad = {"no-such": {"method": "focus", "target_text": "{vectors}/no.txt"}}
    recipe = written(tmp_path, **settings(world, methods=bad, alpha_sweeps=[], hybrids=[], data=str(world / "data")))
    code, stdout, stderr = reproduce(recipe, "--out", tmp_path / "out")
    assert code == 1
    assert "2 cells computed, 0 kept from earlier runs, 1 failed" in stdout
    (line,) = [line for line in stderr.splitlines() if "failed" in line]
    assert "tiny-en/ko/no-such/zero-shot failed: " in line
    assert "no.txt does not exist" in line


def test_a_dry_run_lists_cells_and_downloads_and_writes_nothing(world: Path, tmp_path: Path) -> None:
    before = sorted(world.rglob("*"))
    changed = settings(world, source_encoders=["nobody/such-splade"], data=str(world / "data"))
    recipe = written(tmp_path, **changed)
    code, stdout, _ = reproduce(recipe, "--out", tmp_path / "out", "--dry-run", "--only", "english", "--only", "bm25")
    assert code == 0
    assert ["missing", "12", "texts", "such-splade/ko/english/zero-shot"] in [
        line.split() for line in stdout.splitlines()
    ]
    assert "to download: nobody/such-splade (source encoder)" in stdout
    assert "2 cells: 0 done, 0 changed, 2 missing; about 0 s in one process (30 texts a second" in stdout
    assert not (tmp_path / "out").exists()
    assert sorted(world.rglob("*")) == before
    code, stdout, _ = reproduce(recipe, "--out", tmp_path / "out", "--dry-run", "--json")
    plan = json.loads(stdout)
    assert {"cell": "any/ko/bm25-tokens/zero-shot", "state": "missing", "n_texts": 0} in plan["cells"]


@pytest.mark.parametrize("name", ["paper/grid.yaml", "paper/grid_hard_negatives.yaml"])
def test_the_papers_grid_is_planned_without_the_network(name: str, tmp_path: Path) -> None:
    recipe = Path(__file__).parents[1] / "reproduction" / name
    code, stdout, _ = reproduce(recipe, "--out", tmp_path / "out", "--dry-run", "--json")
    assert code == 0
    plan = json.loads(stdout)
    assert {"naver/splade-v3", "BAAI/bge-m3", "monologg/kobigbird-bert-base"} <= plan["downloads"].keys()
    assert "splade-v3/ko/sembridge-paper/zero-shot" in {cell["cell"] for cell in plan["cells"]}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("no.yaml",), 1, "Recipe no.yaml cannot be read"),
        (("RECIPE", "--only", "xyz"), 1, "No cell matches --only 'xyz'"),
        (("RECIPE", "--data", "nowhere"), 1, "there is no folder nowhere/school/ko"),
        (("RECIPE", "--jobs", "0"), 2, "Invalid value for '--jobs'"),
    ],
)
def test_what_cannot_be_done_is_refused(
    world: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    given = [str(world / "grid.yaml") if argument == "RECIPE" else argument for argument in arguments]
    found, stdout, stderr = reproduce(*given, "--out", tmp_path / "out")
    assert found == code
    assert message in " ".join(stderr.split())
    assert stdout == ""
    assert not (tmp_path / "out").exists()
