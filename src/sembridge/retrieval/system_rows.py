"""The rows of an evaluation's table: encoders, and the references beside them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from sembridge.retrieval.evaluation import Evaluation

Kind = Literal["encoder", "bm25", "english", "dense", "hybrid", "ceiling"]

BM25_TOKENS, BM25_WORDS, ENGLISH, BRIDGE = "bm25-tokens", "bm25-words", "english", "bridge"
DICTIONARY, OWN_QUESTIONS = "dictionary", "english-questions"
HYBRID, BRIDGE_HYBRID = "hybrid-", "hybrid-bridge-"
BRIDGE_WEIGHT = 0.5  # in the latter: of a bridge that is not known


@dataclass(frozen=True, eq=False)
class SystemRow:
    """One row of the table; `evaluation.run` is empty, runs are as large as the corpus is deep."""

    name: str
    kind: Kind
    evaluation: "Evaluation"
