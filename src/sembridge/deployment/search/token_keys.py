"""Keys of dimensions for engines that name features by text (Elasticsearch, OpenSearch).

The key is the dimension's number in decimal. A token's spelling would be readable but is not safe: both engines refuse
a dot inside a feature name, an empty one, and long ones; several tokens of one vocabulary may have one spelling for a
reader; OpenSearch's `sparse_vector` takes numbers only. Numbers are collision-free by construction, reversible, short,
and the same for every vocabulary; `sembridge search --explain` shows the spelling.
"""

from collections.abc import Mapping

import numpy as np

from sembridge.deployment.search.protocol import SparseVector


def to_keys(vector: SparseVector) -> dict[str, float]:
    """Key -> weight of the active dimensions. Weights are the shortest decimals that read back as the same float32."""
    return {
        str(dimension): float(str(value))
        for dimension, value in zip(vector.indices.tolist(), vector.values, strict=True)
    }


def from_keys(weights: Mapping[str, float]) -> SparseVector:
    """The vector of such a mapping."""
    pairs = sorted((int(key), value) for key, value in weights.items())
    return SparseVector(
        np.array([dimension for dimension, _ in pairs], np.int32), np.array([value for _, value in pairs], np.float32)
    )
