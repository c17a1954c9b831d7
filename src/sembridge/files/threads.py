"""How many threads this process may use: of its cores, its container's quota and its scheduler's share, the least.

torch starts a thread for every core of the host. In a container with a quota, or beside another program on the same
cores, threads then wait for each other: ten to forty times slower than one thread each was measured on two cores.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

VARIABLE = "OMP_NUM_THREADS"  # torch, its libraries and every process started from here read it


def set_threads(n_threads: int | None = None) -> None:
    """Before torch is imported: as many threads as asked for, else as OMP_NUM_THREADS says, else as may be used.

    Where nothing limits the process the choice is left to torch, which counts physical cores.
    """
    if n_threads is None:
        allowed = usable_threads()
        if stated_threads() is not None or allowed >= (os.cpu_count() or 1):
            return
        n_threads = allowed
    os.environ[VARIABLE] = str(n_threads)
    if "torch" in sys.modules:  # it has read the variable already
        import torch

        torch.set_num_threads(n_threads)


def threads() -> int:
    """Threads for all the work of this process, to be shared among those it starts."""
    return stated_threads() or usable_threads()


def stated_threads(environment: Mapping[str, str] = os.environ) -> int | None:
    """OMP_NUM_THREADS; of a list, one for each level of nesting, the first. None where it is unset or no number."""
    return _positive(environment.get(VARIABLE, "").partition(",")[0])


def usable_threads(environment: Mapping[str, str] = os.environ, root: Path = Path("/")) -> int:
    """The least of the cores that the process may run on, the CPU quota of its cgroups and SLURM's share; at least 1.

    A part of a core in a quota is left out: threads that wait for a throttled one cost more than it does.

    Args:
        environment: where SLURM_CPUS_PER_TASK may stand.
        root: of the file system that /proc and /sys are read from.
    """
    limits = [_cores(), *_quotas(root)]
    share = _positive(environment.get("SLURM_CPUS_PER_TASK", ""))
    return max(1, int(min([*limits, share] if share else limits)))


def _cores() -> int:
    counted = getattr(os, "process_cpu_count", None)  # since Python 3.13
    if counted is not None:
        return counted() or 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quotas(root: Path) -> Iterator[float]:
    """Cores' worth of time that each cgroup around this process may use, of version 2 (cpu.max) and 1 (cpu.cfs_*)."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:  # no Linux
        return
    for line in lines:
        _, controllers, group = [*line.split(":", 2), "", ""][:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        place = root / "sys/fs/cgroup" / controllers
        # Inside a container the group's own path may be the host's; its limits then lie at the top.
        for folder in dict.fromkeys([place, *(place / part for part in _with_parents(group))]):
            quota, period = _of_version_1(folder) if controllers else _of_version_2(folder)
            if quota and period:
                yield quota / period


def _with_parents(group: str) -> Iterator[str]:
    parts = [part for part in group.split("/") if part not in ("", "..")]
    yield from ("/".join(parts[:depth]) for depth in range(1, len(parts) + 1))


def _of_version_2(folder: Path) -> tuple[int | None, int | None]:
    quota, _, period = _read(folder / "cpu.max").partition(" ")  # "max 100000" without a limit
    return _positive(quota), _positive(period)


def _of_version_1(folder: Path) -> tuple[int | None, int | None]:
    return _positive(_read(folder / "cpu.cfs_quota_us")), _positive(_read(folder / "cpu.cfs_period_us"))  # -1: no limit


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _positive(text: str) -> int | None:
    return int(text) if text.strip().isdecimal() and int(text) > 0 else None
