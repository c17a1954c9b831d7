"""What the cells of one run share: models, data and vectors, loaded once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

from sembridge.encoders.loading import load_bridge, load_encoder, load_tokenizer
from sembridge.experiments.contents import Contents
from sembridge.experiments.places import TOP_K, Places
from sembridge.experiments.recipe import DataSet, GridRecipe
from sembridge.retrieval.data import RetrievalData
from sembridge.retrieval.evaluation import evaluate_bm25
from sembridge.retrieval.lexical_overlap import least_overlapping, lexical_overlap
from sembridge.retrieval.runs import Run
from sembridge.retrieval.sources import load_retrieval_data
from sembridge.training.data import TrainingData, joined, load_training_data

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer, SparseEncoder
    from transformers import PreTrainedTokenizerBase

_T = TypeVar("_T")


class _LoadOptions(TypedDict):
    device: str
    allow_pickle: bool
    trust_remote_code: bool


@dataclass(frozen=True)
class MeasuredSet:
    """A test set as the grid measures it, with what all its cells share.

    Attributes:
        overlap: query id -> share of its words that a relevant document repeats.
        least: ids of the least overlapping third of the queries.
    """

    settings: DataSet
    data: RetrievalData
    overlap: dict[str, float]
    least: tuple[str, ...]


@dataclass
class Workbench:
    """What the cells of a process share: models and data sets of the language and the source encoder at hand.

    Loading follows the cells: another language drops the data sets of the last one, so memory stays that of one group.
    """

    recipe: GridRecipe
    places: Places
    contents: Contents = field(init=False)
    _loaded: dict[str, tuple[str, Any]] = field(default_factory=dict)
    _bridges: dict[str, "SentenceTransformer"] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.contents = Contents(self.recipe, self.places)

    def source_encoder(self, name: str) -> "SparseEncoder":
        return self._kept("source encoder", name, lambda: load_encoder(name, **self._options()))

    def bridges(self, names: Sequence[str]) -> list["SentenceTransformer"]:
        """The bridges of these names; where there are some, those of earlier cells make room for them."""
        if not names:
            return []
        self._bridges = {name: bridge for name, bridge in self._bridges.items() if name in names}
        for name in names:
            if name not in self._bridges:
                self._bridges[name] = load_bridge(name, **self._options())
        return [self._bridges[name] for name in names]

    def tokenizer(self, language: str) -> "PreTrainedTokenizerBase":
        name = self.recipe.target_tokenizer(language, roots=self.places.roots())
        trusted = self.recipe.trust_remote_code
        return self._kept("tokenizer", name, lambda: load_tokenizer(name, trust_remote_code=trusted))

    def test_sets(self, language: str) -> list[MeasuredSet]:
        settings = self.recipe.languages[language].test_sets
        return self._kept("test sets", language, lambda: [self._measured_set(s, language) for s in settings])

    def training_data(self, language: str) -> TrainingData:
        """All training sets of the language in one, cut to the recipe's number of pairs."""
        recipe = self.recipe

        def load() -> TrainingData:
            sets = recipe.languages[language].training_sets
            parts = [load_training_data(self.places.data_set(s.name), split=s.split or "train") for s in sets]
            return joined(parts).sample(recipe.fine_tuning.pairs, seed=recipe.sampling.seed)

        return self._kept("training data", language, load)

    def dev_data(self, language: str) -> RetrievalData | None:
        settings, caps = self.recipe.languages[language].dev_set, self.recipe.fine_tuning.dev
        if settings is None:
            return None
        place, split = self.places.data_set(settings.name), settings.split or "dev"
        return self._kept(
            "dev set", language,
            lambda: load_retrieval_data(place, split=split, language=language)
            .sample(caps.queries, caps.documents, seed=caps.seed),
        )  # fmt: skip

    def bm25_runs(self, language: str) -> dict[str, Run]:
        """Test set -> its run of BM25 over the target tokenizer's tokens."""
        return self._kept("BM25", language, lambda: {
            measured.settings.name: evaluate_bm25(
                measured.data, self.tokenizer(language), measures=self.recipe.measures, top_k=TOP_K
            ).run
            for measured in self.test_sets(language)
        })  # fmt: skip

    def _measured_set(self, settings: DataSet, language: str) -> MeasuredSet:
        place = self.places.data_set(settings.name)
        data = load_retrieval_data(place, split=settings.split, language=language)
        caps = self.recipe.sampling
        data = data.sample(caps.queries, caps.documents, seed=caps.seed)
        return MeasuredSet(settings, data, lexical_overlap(data), tuple(least_overlapping(data).queries))

    def _options(self) -> "_LoadOptions":
        recipe = self.recipe
        return {
            "device": recipe.device,
            "allow_pickle": recipe.allow_pickle,
            "trust_remote_code": recipe.trust_remote_code,
        }

    def _kept(self, kind: str, name: str, load: Callable[[], _T]) -> _T:
        if self._loaded.get(kind, ("", None))[0] != name:
            self._loaded.pop(kind, None)  # before the next one is loaded: two would not always fit
            self._loaded[kind] = (name, load())
        kept: _T = self._loaded[kind][1]
        return kept
