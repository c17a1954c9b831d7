"""Inverted lists added to the scores of their documents: the one loop of exact search that is not Python's."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array

try:  # the loop behind `csc_array @ vector`; through that every list of a query would be copied first, most of the time
    from scipy.sparse._sparsetools import csc_matvec
except ImportError:  # it is not public
    csc_matvec = None

Scores = NDArray[np.float32]


def add_list(lists: csr_array, dimension: int, weight: Scores, scores: Scores) -> None:
    """Adds `weight` (one number) times the list of a dimension to the scores of the documents, in place.

    Args:
        lists: (n_dims, n_documents) float32 with int32 indices.
        scores: (n_documents,).
    """
    if csc_matvec is None:
        add_list_by_product(lists, dimension, weight, scores)
    else:  # a matrix of one column, which begins and ends where the list does
        bounds = lists.indptr[dimension : dimension + 2]
        csc_matvec(len(scores), 1, bounds, lists.indices, lists.data, weight, scores)


def add_list_by_product(lists: csr_array, dimension: int, weight: Scores, scores: Scores) -> None:
    """The same by what scipy documents."""
    part = slice(*lists.indptr[dimension : dimension + 2].tolist())
    column = (lists.data[part], lists.indices[part], [0, part.stop - part.start])
    scores += csc_array(column, shape=(len(scores), 1)) @ weight
