"""The settings of what serves an encoder: of encoded shards, and of an index."""

from typing import Literal
from urllib.parse import urlsplit

from pydantic import model_validator

from sembridge.encoders.settings import BATCH_SIZE, EncodeWith
from sembridge.errors import SembridgeError
from sembridge.files.recipe import RUNNING, Recipe, setting

EngineName = Literal[
    "qdrant-edge", "exact", "qdrant", "opensearch", "opensearch-ann", "elasticsearch", "milvus", "pgvector"
]
EMBEDDED: tuple[EngineName, ...] = ("qdrant-edge", "exact")

# Said of both recipes.
_ENCODE_WITH = "fast: the same vectors within 1e-4, sooner on a CPU; fast-bf16: in bfloat16; auto: fast or stock"
_MAX_ACTIVE_DIMS = "of a document that are kept, the largest"
_BATCH_SIZE = "encoded at once, at most"


class EncodeRecipe(Recipe):
    """How a corpus becomes shards: everything that can change a byte of them, encoder and corpus aside."""

    encode_with: EncodeWith = setting("auto", help=_ENCODE_WITH)
    max_active_dims: int | None = setting(None, ge=1, unit="dims", help=_MAX_ACTIVE_DIMS)
    batch_size: int = setting(BATCH_SIZE, ge=1, unit="texts", help=_BATCH_SIZE, group=RUNNING)
    # A killed run loses at most one shard of work; a shard of 10,000 documents is about 10 MB.
    shard_size: int = setting(10_000, ge=1, unit="documents", help="of a Parquet file")


class IndexRecipe(Recipe):
    """Everything that decides what an index holds, apart from encoder and corpus."""

    engine: EngineName = setting("qdrant-edge", help="who holds the vectors; qdrant-edge and exact run in this process")
    url: str | None = setting(None, unit="address", help="of a server; none for an engine in this process")
    collection: str = setting(
        "sembridge", pattern=r"^[a-z][a-z0-9_]{0,62}$", unit="name", help="of the server's collection, index or table"
    )
    max_active_dims: int | None = setting(None, ge=1, unit="dims", help=_MAX_ACTIVE_DIMS)
    min_weight: float = setting(0.0, ge=0.0, unit="weight", help="smaller ones of a document are dropped")
    batch_size: int = setting(BATCH_SIZE, ge=1, unit="texts", help=_BATCH_SIZE, group=RUNNING)
    encode_with: EncodeWith = setting("auto", help=_ENCODE_WITH)
    bulk_size: int = setting(512, ge=1, unit="documents", help="between two safe points", group=RUNNING)
    attempts: int = setting(6, ge=1, unit="tries", help="of a call before a server is given up", group=RUNNING)
    first_wait: float = setting(
        0.5, ge=0.0, unit="seconds", help="before the second try; doubled at every try", group=RUNNING
    )

    @model_validator(mode="after")
    def _check_url(self) -> "IndexRecipe":
        if self.engine in EMBEDDED:
            if self.url is not None:
                raise SembridgeError(f"Engine {self.engine} runs in this process: leave --url {self.url} away.")
        elif self.url is None:
            raise SembridgeError(
                f"Engine {self.engine} is a server: give its address, e.g. --url {_EXAMPLES[self.engine]}."
            )
        elif "://" not in self.url or not urlsplit(self.url).scheme:
            raise SembridgeError(f"--url {self.url!r} is no address; expected e.g. {_EXAMPLES[self.engine]}.")
        return self


_EXAMPLES = {
    "qdrant": "http://localhost:6333",
    "opensearch": "http://localhost:9200",
    "opensearch-ann": "http://localhost:9200",
    "elasticsearch": "http://localhost:9200",
    "milvus": "http://localhost:19530",
    "pgvector": "postgresql://localhost:5432/postgres",
}
