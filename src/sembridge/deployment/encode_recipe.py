"""The settings of encoded shards: everything that can change a byte of them, encoder and corpus aside."""

from typing import Literal

from pydantic import Field

from sembridge.files.recipe import Recipe


class EncodeRecipe(Recipe):
    """How a corpus becomes shards."""

    engine: Literal["stock", "fast", "fast-bf16"] = Field(default="stock", description="as of encode_corpus")
    max_active_dims: int | None = Field(default=None, ge=1, description="largest weights of a document that are kept")
    batch_size: int = Field(default=32, ge=1, description="texts encoded at once, at most")
    # A killed run loses at most one shard of work; a shard of 10,000 documents is about 10 MB.
    shard_size: int = Field(default=10_000, ge=1, description="documents of a Parquet file")
