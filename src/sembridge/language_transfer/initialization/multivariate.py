"""Multivariate Gaussian rows: drawn from the distribution of the source rows, their correlations included.

The rule is Hewitt (2021), "Initializing new word embeddings for pretrained language models"; transformers'
`mean_resizing` is the same with 1e-5 times the covariance, which is nearly the mean row and another baseline.
"""

import torch
from torch import Tensor


def draw(source_rows: Tensor, count: int, generator: torch.Generator, *, covariance_scale: float = 1.0) -> Tensor:
    """(count, d) rows from N(mean, covariance_scale * full covariance).

    The noise is shaped by the symmetric root of the covariance, so a singular covariance (fewer rows than dimensions)
    is no special case, and the signs of the eigenvectors do not matter.
    """
    rows = source_rows.double()
    centred = rows - rows.mean(0)
    covariance = centred.T @ centred / max(len(rows) - 1, 1)
    values, vectors = torch.linalg.eigh(covariance)
    root = (vectors * (values.clamp_min(0) * covariance_scale).sqrt()) @ vectors.T
    noise = torch.randn(count, rows.shape[1], generator=generator).double()
    drawn: Tensor = rows.mean(0) + noise @ root
    return drawn.float()
