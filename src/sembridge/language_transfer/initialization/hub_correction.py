"""Similarities of target and source tokens in which no source token is near merely because it is near everything.

As in CSLS (Conneau et al. 2018, section 2.3), each source token loses its mean similarity to its nearest target tokens.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sembridge.language_transfer.entmax import TopKSoftmax
from sembridge.language_transfer.similarity import sparse_weights
from sembridge.language_transfer.sparse_matrix import SparseWeights


@dataclass(frozen=True, eq=False)
class HubCorrected:
    """Vectors whose products are similarities less the hub term of the source token; the term is (n_source,)."""

    target: Tensor
    source: Tensor
    hub_term: Tensor

    def placed(self, target_vectors: Tensor) -> Tensor:
        """Further target vectors, (n, dim), as they stand before `source`."""
        n_more = self.source.shape[1] - target_vectors.shape[1]
        return torch.cat([target_vectors, torch.ones(len(target_vectors), n_more)], 1)

    def plain(self, weights: SparseWeights) -> SparseWeights:
        """The same weights, with plain cosines beside them."""
        return replace(weights, similarities=weights.similarities + self.hub_term[weights.col_indices])


def hub_corrected(target: Tensor, source: Tensor, neighbours: int, *, memory_budget: int, device: str) -> HubCorrected:
    """Unit vectors (n_target, dim) and (n_source, dim) with the hub term of every source token over `neighbours` of its
    nearest target tokens, carried as one more coordinate, so that the kernel needs no second rule; 0 corrects nothing.
    """
    if neighbours == 0:
        return HubCorrected(target, source, torch.zeros(len(source)))
    nearest = sparse_weights(source, target, rule=TopKSoftmax(k=neighbours), memory_budget=memory_budget, device=device)
    # Sorted: the bits of a sum must not depend on the order of the target vocabulary.
    hub_term = nearest.similarities.view(len(source), -1).double().sort(1).values.mean(1).float()
    ones = torch.ones(len(target), 1)
    return HubCorrected(torch.cat([target, ones], 1), torch.cat([source, -hub_term[:, None]], 1), hub_term)
