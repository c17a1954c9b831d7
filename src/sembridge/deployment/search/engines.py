"""Search: engines under one protocol, and index folders that remember which encoder they were made with."""

import os
from collections.abc import Callable
from pathlib import Path

from sembridge.deployment.recipe import EMBEDDED, IndexRecipe
from sembridge.deployment.search.bulk import Patience
from sembridge.deployment.search.protocol import Engine

KEY_VARIABLE = "SEMBRIDGE_ENGINE_KEY"  # never an option or a line of the manifest: both are seen by others


def open_engine(recipe: IndexRecipe, folder: Path, *, n_dims: int) -> Engine:
    """The engine that a recipe names, not yet asked anything. Embedded ones live below `folder`.

    Raises:
        MissingExtraError: the client of a server's engine is not installed.
    """
    if recipe.engine in EMBEDDED:
        return _embedded(recipe.engine, folder, n_dims)
    return _SERVERS[recipe.engine](recipe, n_dims, os.environ.get(KEY_VARIABLE))


def _embedded(name: str, folder: Path, n_dims: int) -> Engine:
    if name == "exact":
        from sembridge.deployment.search.exact import ExactEngine

        return ExactEngine(folder / "exact", n_dims)
    from sembridge.deployment.search.qdrant_edge import QdrantEdgeEngine

    return QdrantEdgeEngine(folder / "qdrant-edge")


def _patience(recipe: IndexRecipe) -> Patience:
    return Patience(recipe.attempts, recipe.first_wait)


def _address(recipe: IndexRecipe) -> str:
    if recipe.url is None:
        raise AssertionError("unreachable: a recipe refuses a server without an address")
    return recipe.url


def _qdrant(recipe: IndexRecipe, n_dims: int, key: str | None) -> Engine:
    from sembridge.deployment.search.qdrant import QdrantEngine

    del n_dims  # Qdrant's sparse vectors have no width
    return QdrantEngine.connect(_address(recipe), recipe.collection, key=key, patience=_patience(recipe))


def _opensearch(recipe: IndexRecipe, n_dims: int, key: str | None) -> Engine:
    from sembridge.deployment.search.opensearch import OpenSearchEngine

    del n_dims
    ann = recipe.engine == "opensearch-ann"
    return OpenSearchEngine.connect(_address(recipe), recipe.collection, key=key, ann=ann, patience=_patience(recipe))


def _elasticsearch(recipe: IndexRecipe, n_dims: int, key: str | None) -> Engine:
    from sembridge.deployment.search.elasticsearch import ElasticsearchEngine

    del n_dims
    return ElasticsearchEngine.connect(_address(recipe), recipe.collection, key=key, patience=_patience(recipe))


def _milvus(recipe: IndexRecipe, n_dims: int, key: str | None) -> Engine:
    from sembridge.deployment.search.milvus import MilvusEngine

    return MilvusEngine.connect(_address(recipe), recipe.collection, n_dims, key=key, patience=_patience(recipe))


def _pgvector(recipe: IndexRecipe, n_dims: int, key: str | None) -> Engine:
    from sembridge.deployment.search.pgvector import PgvectorEngine

    return PgvectorEngine.connect(_address(recipe), recipe.collection, n_dims, key=key, patience=_patience(recipe))


_SERVERS: dict[str, Callable[[IndexRecipe, int, str | None], Engine]] = {
    "qdrant": _qdrant,
    "opensearch": _opensearch,
    "opensearch-ann": _opensearch,
    "elasticsearch": _elasticsearch,
    "milvus": _milvus,
    "pgvector": _pgvector,
}
