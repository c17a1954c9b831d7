"""Eight threads that search in one process: every answer is the one that a single thread gets.

By default every thread asks every question twice; `SEMBRIDGE_LOAD_SECONDS=60` asks so long, and memory must stay flat.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from test_demo_page import small_collection

from sembridge.cli.demo.systems import BM25, SEMBRIDGE, Workshop
from sembridge.deployment.search.index import SearchIndex
from sembridge.encoders.loading import load_encoder

pytestmark = [
    pytest.mark.usefixtures("small_bundle"),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the memory as Linux tells it"),
]
N_THREADS = 8
SECONDS = float(os.environ.get("SEMBRIDGE_LOAD_SECONDS", "0"))
ROUNDS = 1  # where no seconds are given
MOST_GROWTH = 50_000_000  # bytes: allocators of eight threads keep some of what was freed

Ask = Callable[[], Any]


def resident() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * resource.getpagesize()


def asked_until(asks: list[Ask], expected: list[Any], thread: int, end: float) -> Iterator[bool]:
    """Whether each answer is the expected one; every thread begins with another question."""
    number = thread
    while time.monotonic() < end or number < thread + ROUNDS * len(asks):
        place = number % len(asks)
        yield asks[place]() == expected[place]
        number += 1


def wrong_and_all(asks: list[Ask]) -> tuple[int, int]:
    """How many answers of eight threads differ from those of one, and how many there were."""
    expected = [ask() for ask in asks]
    end = time.monotonic() + SECONDS
    with ThreadPoolExecutor(N_THREADS) as pool:
        found = [*pool.map(lambda thread: list(asked_until(asks, expected, thread, end)), range(N_THREADS))]
    return sum(not right for each in found for right in each), sum(map(len, found))


@pytest.mark.parametrize("what", ["exact", "demo"])
def test_eight_threads_get_the_answers_of_one_and_memory_stays_flat(
    what: str, specimens: Path, record_property: Callable[[str, object], None]
) -> None:
    if what == "demo":
        workshop, questions = Workshop(small_collection), list(small_collection("ko").examples)
        systems = [workshop.system("ko", way) for way in (SEMBRIDGE, BM25)]
        asks: list[Ask] = [lambda s=s, q=q: s.search(q) for s in systems for q in questions]  # type: ignore[misc]
        found = measured(asks)
    else:
        encoder = load_encoder(specimens / "ko")
        with SearchIndex.open(specimens / "index") as index:
            texts = ["학교", "дом река", "나무", "seoul 2024", "책 도시"]
            found = measured([lambda t=t: index.search(encoder, [t], top_k=3) for t in texts])  # type: ignore[misc]
    wrong, n_answers, growth = found
    record_property("answers", n_answers)
    print(f"{what}: {n_answers} answers, {wrong} wrong, memory {growth / 1e6:+.1f} MB")
    assert wrong == 0
    if SECONDS:  # in a moment an allocator's habits are as large as a leak
        assert growth < MOST_GROWTH


def measured(asks: list[Ask]) -> tuple[int, int, int]:
    wrong_before, n_before = wrong_and_all(asks)  # the threads' allocators take what they need
    memory = resident()
    wrong, n_answers = wrong_and_all(asks)
    return wrong_before + wrong, n_before + n_answers, resident() - memory
