"""How long commands take from the shell to their last line, beside `python -c 'import torch'`, in one run.

    python benchmarks/start_up.py --out benchmarks/results/start_up.json

Each is a process of its own, and they take turns. Counted are seconds of the processor, own and of the system, and wall
time; a ratio is to the import of torch in the same round. `search` finds in an index of bundled FAQ texts, made first.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from outcome import versions, write

TORCH = "python -c 'import torch'"


def commands(folder: Path, n_documents: int) -> dict[str, list[str]]:
    """What is timed, by name; transfers a bundled encoder and indexes with it, not timed."""
    from sembridge.encoders.names import mini_folder

    sembridge = [sys.executable, "-m", "sembridge.cli"]
    corpus = (mini_folder("mini/faq-ko") / "corpus.jsonl").read_text(encoding="utf-8").splitlines()[:n_documents]
    (folder / "corpus.jsonl").write_text("\n".join(corpus) + "\n", encoding="utf-8")
    for words in (
        ["transfer", "mini/splade-en", "mini/tokenizer-ko", str(folder / "ko"), "--bridge", "mini/bridge"],
        ["index", str(folder / "ko"), str(folder / "corpus.jsonl"), "--out", str(folder / "index")],
    ):
        subprocess.run([*sembridge, *words], check=True, capture_output=True)
    return {
        TORCH: [sys.executable, "-c", "import torch"],
        "import sentence_transformers": [sys.executable, "-c", "from sentence_transformers import SparseEncoder"],
        "sembridge --version": [*sembridge, "--version"],
        "sembridge --help": [*sembridge, "--help"],
        "sembridge explain, a token": [*sembridge, "explain", str(folder / "ko"), "학교"],
        "sembridge search": [*sembridge, "search", str(folder / "index"), "학교"],
    }


def spent(command: list[str]) -> tuple[float, float]:
    """Seconds of wall time and of the processor."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--documents", type=int, default=20)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    seconds: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        timed = commands(Path(folder), arguments.documents)
        for _ in range(arguments.repeats):
            for name, command in timed.items():
                seconds.setdefault(name, []).append(spent(command))
    rows = [
        {
            "command": name,
            "wall seconds": statistics.median(wall for wall, _ in taken),
            "processor seconds": statistics.median(own for _, own in taken),
            "times torch": statistics.median(
                own / torch for (_, own), (_, torch) in zip(taken, seconds[TORCH], strict=True)
            ),
        }
        for name, taken in seconds.items()
    ]
    result = {
        "repeats": arguments.repeats,
        "rows": rows,
        "versions": versions(),
    }
    write(arguments.out, result)


if __name__ == "__main__":
    main()
