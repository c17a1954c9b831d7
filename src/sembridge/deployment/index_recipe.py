"""The settings of an index: which engine holds the vectors, and what of them is kept."""

from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from sembridge.encoders.settings import BATCH_SIZE, EncodeWith
from sembridge.errors import SembridgeError
from sembridge.files.recipe import Recipe

EngineName = Literal[
    "qdrant-edge", "exact", "qdrant", "opensearch", "opensearch-ann", "elasticsearch", "milvus", "pgvector"
]
EMBEDDED: tuple[EngineName, ...] = ("qdrant-edge", "exact")


class IndexRecipe(Recipe):
    """Everything that decides what an index holds, apart from encoder and corpus."""

    engine: EngineName = "qdrant-edge"
    url: str | None = Field(default=None, description="of a server, without password; none for an embedded engine")
    collection: str = Field(
        default="sembridge", pattern=r"^[a-z][a-z0-9_]{0,62}$", description="collection, index or table on a server"
    )
    max_active_dims: int | None = Field(default=None, ge=1, description="largest weights of a document that are kept")
    min_weight: float = Field(default=0.0, ge=0.0, description="smaller weights of a document are dropped")
    batch_size: int = Field(default=BATCH_SIZE, ge=1, description="texts encoded at once, at most")
    encode_with: EncodeWith = Field(default="stock", description="how texts are encoded")
    bulk_size: int = Field(default=512, ge=1, description="documents between two safe points")
    attempts: int = Field(default=6, ge=1, description="tries of a call before a server is given up")
    first_wait: float = Field(default=0.5, ge=0.0, description="seconds before the second try; doubled at every try")

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
