"""SemBridge moves an English learned sparse retrieval encoder (SPLADE) to another language.

>>> from sembridge import load_bridge, load_encoder, load_tokenizer, transfer
>>> result = transfer(load_encoder("mini/splade-en"), load_tokenizer("mini/tokenizer-ko"), load_bridge("mini/bridge"))
>>> result.save("splade-ko")  # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sembridge.alignment import Alignment
    from sembridge.bridge import Bridge, embed_texts
    from sembridge.errors import MissingExtraError, SembridgeError
    from sembridge.evaluation import Evaluation, evaluate, evaluate_bm25
    from sembridge.explain import Explainer
    from sembridge.language_transfer import LanguageTransfer, Origin, transfer
    from sembridge.loading import load_bridge, load_encoder, load_tokenizer
    from sembridge.recipes import TransferRecipe
    from sembridge.retrieval_data import RetrievalData, load_retrieval_data
    from sembridge.vocabulary import Vocabulary, match_vocabularies, read_vocabulary
    from sembridge.weights import Entmax, SparseWeights, TopKSoftmax, sparse_weights

_HOME = {
    "Alignment": "alignment",
    "Bridge": "bridge",
    "Entmax": "weights",
    "Evaluation": "evaluation",
    "Explainer": "explain",
    "LanguageTransfer": "language_transfer",
    "MissingExtraError": "errors",
    "Origin": "language_transfer",
    "RetrievalData": "retrieval_data",
    "SembridgeError": "errors",
    "SparseWeights": "weights",
    "TopKSoftmax": "weights",
    "TransferRecipe": "recipes",
    "Vocabulary": "vocabulary",
    "embed_texts": "bridge",
    "evaluate": "evaluation",
    "evaluate_bm25": "evaluation",
    "load_bridge": "loading",
    "load_encoder": "loading",
    "load_retrieval_data": "retrieval_data",
    "load_tokenizer": "loading",
    "match_vocabularies": "vocabulary",
    "read_vocabulary": "vocabulary",
    "sparse_weights": "weights",
    "transfer": "language_transfer",
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
