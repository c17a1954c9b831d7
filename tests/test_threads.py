"""Laws of `sembridge.files.threads`: no more threads than the process may use."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sembridge.files.threads import stated_threads, usable_threads

CORES = usable_threads({}, Path("/nowhere"))


def machine(root: Path, cgroup: str, files: dict[str, str]) -> Path:
    """A file system with the cgroups of a process."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(cgroup)
    for name, content in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")
    return root


@pytest.mark.parametrize(
    ("cgroup", "files"),
    [
        ("0::/pod/main\n", {"pod/main/cpu.max": "100000 100000"}),
        ("0::/pod/main\n", {"pod/cpu.max": "150000 100000", "pod/main/cpu.max": "max 100000"}),
        ("0::/\n", {"cpu.max": "50000 100000"}),
        ("0::/../../host/path\n", {"cpu.max": "100000 100000"}),
        (
            "5:memory:/m\n4:cpu,cpuacct:/docker/abc\n",
            {"cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "100000", "cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000"},
        ),
        (
            "4:cpu,cpuacct:/docker/abc\n",  # mounted at the top, as inside a container
            {"cpu,cpuacct/cpu.cfs_quota_us": "199999", "cpu,cpuacct/cpu.cfs_period_us": "100000"},
        ),
    ],
)
def test_a_quota_of_less_than_two_cores_is_one_thread(tmp_path: Path, cgroup: str, files: dict[str, str]) -> None:
    assert usable_threads({}, machine(tmp_path, cgroup, files)) == 1


@pytest.mark.parametrize(
    ("cgroup", "files"),
    [
        ("0::/pod\n", {"pod/cpu.max": "max 100000"}),
        ("0::/pod\n", {"pod/cpu.max": "99900000 100000"}),
        ("4:cpu:/a\n", {"cpu/a/cpu.cfs_quota_us": "-1", "cpu/a/cpu.cfs_period_us": "100000"}),
        ("3:memory:/a\nnonsense\n", {"cpu.cfs_quota_us": "1000", "cpu.cfs_period_us": "100000"}),
        ("0::/pod\n", {}),
    ],
)
def test_without_a_quota_the_cores_count(tmp_path: Path, cgroup: str, files: dict[str, str]) -> None:
    assert usable_threads({}, machine(tmp_path, cgroup, files)) == CORES


def test_the_share_of_a_scheduler_counts(tmp_path: Path) -> None:
    assert usable_threads({"SLURM_CPUS_PER_TASK": "1"}, tmp_path) == 1
    assert usable_threads({"SLURM_CPUS_PER_TASK": "4096"}, tmp_path) == CORES
    assert usable_threads({"SLURM_CPUS_PER_TASK": "no number"}, tmp_path) == CORES


@pytest.mark.parametrize(("value", "expected"), [("3", 3), ("4,2", 4), ("", None), ("0", None), ("many", None)])
def test_what_is_stated_is_read(value: str, expected: int | None) -> None:
    assert stated_threads({"OMP_NUM_THREADS": value}) == expected


def run(environment: dict[str, str], *arguments: str) -> str:
    """What a process of its own prints; OMP_NUM_THREADS is set by `environment` alone."""
    inherited = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=inherited | environment, capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif((os.cpu_count() or 1) == 1, reason="one core: nothing limits the process")
@pytest.mark.parametrize(
    ("asked", "environment", "expected"),
    [
        ("3", {"OMP_NUM_THREADS": "2", "SLURM_CPUS_PER_TASK": "1"}, "3"),
        ("None", {"OMP_NUM_THREADS": "2", "SLURM_CPUS_PER_TASK": "1"}, "2"),
        ("None", {"SLURM_CPUS_PER_TASK": "1"}, "1"),
    ],
)
def test_what_was_asked_comes_before_what_is_stated_before_what_is_allowed(
    asked: str, environment: dict[str, str], expected: str
) -> None:
    script = f"import os; from sembridge.files.threads import set_threads; set_threads({asked}); "
    assert run(environment, "-c", script + "print(os.environ['OMP_NUM_THREADS'])").strip() == expected


def test_the_program_sets_them_before_torch_counts_and_the_doctor_says_so() -> None:
    said = run({"OMP_NUM_THREADS": "2"}, "-m", "sembridge.cli", "--threads", "1", "doctor")
    assert "threads: 1 of " in said
    for part in ("Python ", "torch ", "bfloat16: ", "memory: ", "cache: ", "extras: "):
        assert part in said
