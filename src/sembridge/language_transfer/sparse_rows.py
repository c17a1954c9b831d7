"""What a sparse matrix of weights must fulfil, told without torch."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sembridge.errors import SembridgeError


def check_rows(
    starts: NDArray[np.int64],
    columns: NDArray[np.int64],
    values: NDArray[np.float32],
    similarities: NDArray[np.float32],
    n_columns: int,
    *,
    allow_empty_rows: bool = False,
) -> None:
    """Nothing, if W is sound; arrays as of `SparseWeights`.

    Raises:
        SembridgeError: a malformed index, a weight that is not positive, or a row that does not sum to one.
    """
    sizes, n_weights = np.diff(starts), len(values)
    if int(starts[0]) != 0 or int(starts[-1]) != n_weights or bool((sizes < 0).any()):
        raise SembridgeError(f"crow_indices do not ascend from 0 to {n_weights}; build W with from_rows().")
    if not len(columns) == len(similarities) == n_weights:
        raise SembridgeError("col_indices, values and similarities differ in length; build W with from_rows().")
    row_ids: NDArray[Any] = np.repeat(np.arange(len(sizes)), sizes)
    out_of_range = (columns < 0) | (columns >= n_columns)
    if bool(out_of_range.any()) or bool((np.diff(row_ids * n_columns + columns) <= 0).any()):
        raise SembridgeError(f"Column ids do not ascend within 0..{n_columns - 1}; build W with from_rows().")
    if not bool((values > 0).all()):
        raise SembridgeError("The weights hold values that are not above zero; leave zeros out, refuse negatives.")
    sums = np.bincount(row_ids, weights=values.astype(np.float64), minlength=len(sizes))
    wrong = (np.abs(sums - 1) > 1e-5) & ~((sizes == 0) & allow_empty_rows)
    if bool(wrong.any()):
        row = int(np.flatnonzero(wrong)[0])
        raise SembridgeError(f"Row {row} of the weights sums to {sums[row]:.6g}, expected 1 (in {wrong.sum()} rows).")
