"""Benchmark scripts that cannot be run everywhere run at a small size, so that one command is enough where they can."""

import importlib
import json
from pathlib import Path

import pytest
from project import ROOT


def test_the_benchmark_of_a_gpu_runs_on_a_cpu_at_a_small_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    module = importlib.import_module("gpu")
    out = tmp_path / "gpu.json"
    module.main(["--device", "cpu", "--small", "--repeats", "1", "--out", str(out)])
    rows = json.loads(out.read_text(encoding="utf-8"))["rows"]
    assert [row["what"].partition(",")[0] for row in rows] == [
        "initialisation", "bridging", "bridging", "encoding", "training step"
    ]  # fmt: skip
    assert all(row["seconds"] > 0 and row["baseline seconds"] > 0 for row in rows)
