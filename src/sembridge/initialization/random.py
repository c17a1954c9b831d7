"""Random rows, N(0, 0.02^2): the initialisation that knows nothing, not even the scale of the source rows."""

import torch
from torch import Tensor

STANDARD_DEVIATION = 0.02  # BERT's own initializer_range


def draw(source_rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """(count, d) rows of independent N(0, 0.02^2) values."""
    return torch.randn(count, source_rows.shape[1], generator=generator) * STANDARD_DEVIATION
