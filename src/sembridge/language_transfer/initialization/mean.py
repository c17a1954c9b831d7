"""Mean rows: every new row is the mean of the source rows, so all of them are alike."""

import torch
from torch import Tensor


def draw(source_rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """(count, d) copies of the mean source row."""
    del generator
    return source_rows.mean(0, keepdim=True).repeat(count, 1)
