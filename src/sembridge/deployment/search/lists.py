"""An inverted list added to the scores of its documents: the one loop of exact search that is not Python's."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array

try:  # the loop behind `csc_array @ vector`; through that every list of a query would be copied first, most of the time
    from scipy.sparse._sparsetools import csc_matvec
except ImportError:  # it is not public
    csc_matvec = None


def add_list(
    documents: NDArray[np.int32], weights: NDArray[np.float32], query: NDArray[np.float32], scores: NDArray[np.float32]
) -> None:
    """Adds `query[0] * weights` to the scores of the documents, in place.

    All of them are contiguous and of these very types, which are not checked again.
    """
    if csc_matvec is None:
        add_list_by_product(documents, weights, query, scores)
    else:
        csc_matvec(len(scores), 1, np.array([0, len(documents)], np.int32), documents, weights, query, scores)


def add_list_by_product(
    documents: NDArray[np.int32], weights: NDArray[np.float32], query: NDArray[np.float32], scores: NDArray[np.float32]
) -> None:
    """The same by what scipy documents."""
    scores += csc_array((weights, documents, [0, len(documents)]), shape=(len(scores), 1)) @ query
