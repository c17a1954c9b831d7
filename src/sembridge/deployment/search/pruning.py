"""Smaller document vectors at index time: the largest weights, or those above a threshold."""

import numpy as np
from scipy.sparse import csr_array


def prune(vectors: csr_array, *, max_active_dims: int | None, min_weight: float) -> csr_array:
    """The vectors without weights below `min_weight`, and of each row the `max_active_dims` largest at most.

    Equal weights go by dimension, lowest first, so the result does not depend on the order in memory.
    """
    vectors = csr_array(vectors)
    vectors.sum_duplicates()
    keep = (vectors.data >= min_weight) & (vectors.data != 0)
    row_of = np.repeat(np.arange(vectors.shape[0]), np.diff(vectors.indptr))
    if max_active_dims is not None:
        order = np.lexsort((vectors.indices, -vectors.data, row_of))  # the last key counts first
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order)) - vectors.indptr[row_of[order]]
        keep &= rank < max_active_dims
    starts = np.concatenate([[0], np.cumsum(np.bincount(row_of[keep], minlength=vectors.shape[0]))])
    return csr_array((vectors.data[keep], vectors.indices[keep], starts), shape=vectors.shape)
