"""Lines of a text of any length, evenly spread over it."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from sembridge.files.lines import spread_lines

N_TEXTS = 64


@pytest.mark.parametrize("n_lines", [3, N_TEXTS, N_TEXTS + 1, 5 * N_TEXTS + 7])
def test_lines_are_spread_over_a_text_of_any_length(n_lines: int, tmp_path: Path) -> None:
    path = tmp_path / "text.gz"
    path.write_bytes(gzip.compress("\n\n".join(f"line {i}" for i in range(n_lines)).encode()))
    numbers = [int(line.removeprefix("line ")) for line in spread_lines(path, N_TEXTS)]
    assert min(n_lines, N_TEXTS // 2) < len(numbers) + 1 <= N_TEXTS + 1
    assert numbers[0] == 0
    assert len({*np.diff(numbers)}) == 1
    assert n_lines - numbers[-1] <= np.diff(numbers)[0]
