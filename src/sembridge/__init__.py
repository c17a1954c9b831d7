"""SemBridge moves an English learned sparse retrieval encoder (SPLADE) to another language.

>>> from sembridge import load_bridge, load_encoder, load_tokenizer, transfer
>>> result = transfer(load_encoder("mini/splade-en"), load_tokenizer("mini/tokenizer-ko"), load_bridge("mini/bridge"))
>>> result.save("splade-ko")  # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sembridge.encoders.loading import load_bridge, load_encoder, load_tokenizer
    from sembridge.encoders.vocabulary import Vocabulary, read_vocabulary
    from sembridge.errors import MissingExtraError, SembridgeError
    from sembridge.language_transfer.alignment import Alignment
    from sembridge.language_transfer.assembly import transfer
    from sembridge.language_transfer.bridge import Bridge, embed_texts
    from sembridge.language_transfer.entmax import Entmax, TopKSoftmax
    from sembridge.language_transfer.explanation import Explainer
    from sembridge.language_transfer.folder import LanguageTransfer, Origin
    from sembridge.language_transfer.overlap import match_vocabularies
    from sembridge.language_transfer.recipe import TransferRecipe
    from sembridge.language_transfer.similarity import sparse_weights
    from sembridge.language_transfer.sparse_matrix import SparseWeights
    from sembridge.retrieval.data import RetrievalData
    from sembridge.retrieval.evaluation import Evaluation, evaluate, evaluate_bm25
    from sembridge.retrieval.sources import load_retrieval_data

_HOME = {
    "Alignment": "language_transfer.alignment",
    "Bridge": "language_transfer.bridge",
    "Entmax": "language_transfer.entmax",
    "Evaluation": "retrieval.evaluation",
    "Explainer": "language_transfer.explanation",
    "LanguageTransfer": "language_transfer.folder",
    "MissingExtraError": "errors",
    "Origin": "language_transfer.folder",
    "RetrievalData": "retrieval.data",
    "SembridgeError": "errors",
    "SparseWeights": "language_transfer.sparse_matrix",
    "TopKSoftmax": "language_transfer.entmax",
    "TransferRecipe": "language_transfer.recipe",
    "Vocabulary": "encoders.vocabulary",
    "embed_texts": "language_transfer.bridge",
    "evaluate": "retrieval.evaluation",
    "evaluate_bm25": "retrieval.evaluation",
    "load_bridge": "encoders.loading",
    "load_encoder": "encoders.loading",
    "load_retrieval_data": "retrieval.sources",
    "load_tokenizer": "encoders.loading",
    "match_vocabularies": "language_transfer.overlap",
    "read_vocabulary": "encoders.vocabulary",
    "sparse_weights": "language_transfer.similarity",
    "transfer": "language_transfer.assembly",
}
__all__ = [
    "Alignment",
    "Bridge",
    "Entmax",
    "Evaluation",
    "Explainer",
    "LanguageTransfer",
    "MissingExtraError",
    "Origin",
    "RetrievalData",
    "SembridgeError",
    "SparseWeights",
    "TopKSoftmax",
    "TransferRecipe",
    "Vocabulary",
    "embed_texts",
    "evaluate",
    "evaluate_bm25",
    "load_bridge",
    "load_encoder",
    "load_retrieval_data",
    "load_tokenizer",
    "match_vocabularies",
    "read_vocabulary",
    "sparse_weights",
    "transfer",
]


def __getattr__(name: str) -> object:
    # Imported on first use: torch and sentence-transformers take seconds.
    if name not in _HOME:
        raise AttributeError(f"module 'sembridge' has no attribute {name!r}")
    return getattr(import_module(f"sembridge.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
