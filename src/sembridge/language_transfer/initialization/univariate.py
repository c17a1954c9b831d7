"""Univariate Gaussian rows: every dimension drawn by itself from the distribution of the source rows."""

import torch
from torch import Tensor


def draw(source_rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """(count, d) rows, every dimension drawn from its own N(mean, std^2)."""
    noise = torch.randn(count, source_rows.shape[1], generator=generator)
    return source_rows.mean(0) + noise * source_rows.std(0)
