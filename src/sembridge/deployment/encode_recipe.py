"""The settings of encoded shards: everything that can change a byte of them, encoder and corpus aside."""

from pydantic import Field

from sembridge.encoders.settings import BATCH_SIZE, EncodeWith
from sembridge.files.recipe import Recipe


class EncodeRecipe(Recipe):
    """How a corpus becomes shards."""

    encode_with: EncodeWith = Field(default="stock", description="as of encode_corpus")
    max_active_dims: int | None = Field(default=None, ge=1, description="largest weights of a document that are kept")
    batch_size: int = Field(default=BATCH_SIZE, ge=1, description="texts encoded at once, at most")
    # A killed run loses at most one shard of work; a shard of 10,000 documents is about 10 MB.
    shard_size: int = Field(default=10_000, ge=1, description="documents of a Parquet file")
