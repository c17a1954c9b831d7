"""Benchmark scripts that cannot be run everywhere run at a small size, so that one command is enough where they can."""

import importlib.util
import json
from pathlib import Path

from project import ROOT


def test_the_benchmark_of_a_gpu_runs_on_a_cpu_at_a_small_size(tmp_path: Path) -> None:
    specification = importlib.util.spec_from_file_location("gpu_benchmark", ROOT / "benchmarks" / "gpu.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    out = tmp_path / "gpu.json"
    module.main(["--device", "cpu", "--small", "--repeats", "1", "--out", str(out)])
    rows = json.loads(out.read_text(encoding="utf-8"))["rows"]
    assert [row["what"].partition(",")[0] for row in rows] == [
        "initialisation", "bridging", "bridging", "encoding", "training step"
    ]  # fmt: skip
    assert all(row["seconds"] > 0 and row["baseline seconds"] > 0 for row in rows)
