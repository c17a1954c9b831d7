"""Random rows, N(0, 0.02^2): the initialisation that knows nothing, not even the scale of the source rows."""

import torch
from torch import Tensor

from sembridge.language_transfer.initialization import univariate

STANDARD_DEVIATION = 0.02  # BERT's own initializer_range


def draw(source_rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """(count, d) rows of independent N(0, 0.02^2) values; a single column is drawn as `univariate` does.

    A column is a bias or static weights. A trained head's biases lie far below zero: under biases near zero nearly
    every new token would fire for every text, and the baseline would be judged by that and not by its rows.
    """
    if source_rows.shape[1] == 1:
        return univariate.draw(source_rows, count, generator)
    return torch.randn(count, source_rows.shape[1], generator=generator) * STANDARD_DEVIATION
