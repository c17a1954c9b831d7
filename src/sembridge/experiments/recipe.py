"""A grid: source encoders x languages x methods x stages x seeds, and what each of its cells is measured by."""

import re
import string
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from sembridge.encoders.settings import BATCH_SIZE, EncodeWith
from sembridge.errors import SembridgeError
from sembridge.files.recipe import Recipe
from sembridge.language_transfer.recipe import TransferRecipe
from sembridge.training.recipe import TrainRecipe

Stage = Literal["zero-shot", "fine-tuned"]
Reference = Literal["bm25-words", "bm25-tokens", "bridge", "english"]

TRAINING, BRIDGE = "training", "bridge"  # keys of a method that are no settings of its transfer

# How tables tell references and alpha sweeps from transfers.
_NAMES_WITH_A_MEANING = re.compile(r"bm25|english$|bridge$|hybrid-|.*-alpha-[\d.e+-]+$")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataSet(_Part):
    """Retrieval data and its split; without one it is "test", "train" or "dev" by its role, or an mteb task's only one.

    Where it trains, it may also be a file of pairs, or `hub:NAME[:SUBSET]`.
    """

    name: str = Field(min_length=1, description="mini/NAME, mteb:TASK[:SUBSET], or a BEIR folder below the data root")
    split: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class GridLanguage(_Part):
    """What a grid needs in one language.

    Attributes:
        training_sets: what stage fine-tuned trains on, joined.
        dev_set: what its curves are measured on, and which checkpoint is kept.
        files: name -> path; `{name}` in a method's settings stands for it. A path may begin with a root.
        words: words of the qualitative table.
    """

    target_tokenizer: str = Field(min_length=1)
    test_sets: tuple[DataSet, ...] = Field(min_length=1)
    training_sets: tuple[DataSet, ...] = ()
    dev_set: DataSet | None = None
    files: dict[str, str] = {}
    words: tuple[str, ...] = ()


class AlphaSweep(_Part):
    """Cells of a method under several alphas, named METHOD-alpha-ALPHA; by default everywhere, with the first seed.

    Attributes:
        memory_budget_mb: of these transfers; alpha 1 gives every source token a weight and needs more than others.
    """

    method: str
    alphas: tuple[float, ...] = Field(min_length=1)
    source_encoders: tuple[str, ...] | None = None
    languages: tuple[str, ...] | None = None
    seeds: tuple[int, ...] | None = None
    memory_budget_mb: int | None = Field(default=None, ge=1)


class Sampling(_Part):
    """Caps of every test set, as in `RetrievalData.sample`; none keeps everything."""

    queries: int | None = Field(default=None, ge=1)
    documents: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0)


class FineTuning(_Part):
    """How stage fine-tuned trains: every method on the same pairs, with the same settings, in the same order.

    Attributes:
        settings: of `sembridge train`; those under a method's key `training` go over them.
        methods: those that are trained; all without it.
        once: methods that are trained with the first seed only; the others with every seed.
        pairs: cap of a language's training pairs.
        dev: caps of its dev set.
    """

    settings: dict[str, Any] = {}
    methods: tuple[str, ...] | None = None
    once: tuple[str, ...] = ()
    pairs: int | None = Field(default=None, ge=1)
    dev: Sampling = Sampling()


class GridRecipe(Recipe):
    """Everything that decides the rows of `results.jsonl`."""

    source_encoders: tuple[str, ...] = Field(min_length=1)
    bridge: str | tuple[str, ...] | None = Field(default=None, description="a name, or several that are combined")
    data: str | None = Field(default=None, description="root of data sets, relative to the recipe's file; {data}")
    vectors: str | None = Field(default=None, description="root of word vectors, relative to the file; {vectors}")
    languages: dict[str, GridLanguage] = Field(min_length=1)
    methods: dict[str, dict[str, Any]] = Field(
        min_length=1,
        description="name -> settings of a transfer; under `training` those of its fine-tuning alone, and `bridge` "
        "stands in for the grid's",
    )
    stages: tuple[Stage, ...] = ("zero-shot",)
    fine_tuning: FineTuning = FineTuning()
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1, description="of methods that draw their rows")
    once: tuple[str, ...] = Field(default=(), description="methods that draw their rows with the first seed only")
    alpha_sweeps: tuple[AlphaSweep, ...] = ()
    references: tuple[Reference, ...] = ("bm25-words", "bm25-tokens", "english")
    hybrids: tuple[str, ...] = Field(default=(), description="methods fused with BM25 over tokens")
    sampling: Sampling = Sampling()
    measures: tuple[str, ...] = Field(default=("nDCG@10", "R@100", "RR@10"), min_length=1)
    encode_with: EncodeWith = "stock"
    max_active_dims: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=BATCH_SIZE, ge=1)
    device: str = "cpu"
    allow_pickle: bool = Field(default=False, description="read pytorch_model.bin where there is no safetensors file")
    trust_remote_code: bool = Field(default=False, description="run Python code that comes with a model")
    documents_per_second: float = Field(default=30.0, gt=0, description="for estimates, until a cell was measured")

    @field_validator("source_encoders")
    @classmethod
    def _distinct_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return _distinct(names, key=short_name)

    @field_validator("seeds", "stages", "references", "hybrids", "measures")
    @classmethod
    def _distinct_values(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        return _distinct(values, key=str)

    @field_validator("methods", "languages")
    @classmethod
    def _plain_names(cls, values: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        for name in values:
            if not set(name) <= set(string.ascii_letters + string.digits + "._-") or name[:1] in (".", "-", ""):
                raise ValueError(
                    f"{name!r} of {info.field_name} becomes a file name: use letters, digits, '.', '_', '-'"
                )
        return values

    @field_validator("methods")
    @classmethod
    def _names_without_a_meaning(cls, methods: dict[str, Any]) -> dict[str, Any]:
        for name in methods:
            if _NAMES_WITH_A_MEANING.match(name):
                raise ValueError(
                    f"method {name!r} is named as a reference (bm25, bridge, english, hybrid-...) or as a step of an "
                    "alpha sweep (...-alpha-2) and would be taken for one in the tables; give another name"
                )
        return methods

    @model_validator(mode="after")
    def _check_test_sets(self) -> "GridRecipe":
        place_of: dict[str, str] = {}
        for language, settings in self.languages.items():
            for test_set in settings.test_sets:
                place = f"{language} (split {test_set.split or 'test'})"
                if test_set.name in place_of:
                    raise ValueError(
                        f"test set {test_set.name} stands under {place_of[test_set.name]} and {place}; results know a "
                        "set by its name alone: leave one out"
                    )
                place_of[test_set.name] = place
        return self

    @model_validator(mode="after")
    def _check_methods(self) -> "GridRecipe":
        for name in self.methods:
            try:
                recipe = self.transfer_recipe(name, next(iter(self.languages)))
            except SembridgeError as error:
                raise ValueError(str(error)) from None
            bridges = self.bridges(name, next(iter(self.languages)))
            if recipe.rule.needs_bridge and not bridges:
                raise ValueError(
                    f"method {name} needs a bridge: add the key `bridge`, e.g. intfloat/multilingual-e5-small"
                )
            if not recipe.rule.needs_bridge and BRIDGE in self.methods[name] and "fine-tuned" not in self.stages:
                raise ValueError(f"method {name} ({recipe.method}) uses no bridge: remove its key `bridge`")
        for name in (*self.hybrids, *self.once, *(sweep.method for sweep in self.alpha_sweeps)):
            if name not in self.methods:
                raise ValueError(
                    f"{name!r} of hybrids, once or alpha_sweeps is none of the methods: {', '.join(self.methods)}"
                )
        for sweep in self.alpha_sweeps:
            unknown = {*(sweep.source_encoders or ())} - {*self.source_encoders}
            unknown |= {*(sweep.languages or ())} - {*self.languages}
            if unknown:
                raise ValueError(
                    f"the alpha sweep of {sweep.method} names {min(unknown)!r}, which the grid does not have"
                )
            for alpha in sweep.alphas:
                self.transfer_recipe(sweep.method, next(iter(self.languages)), alpha=alpha)
        return self

    @model_validator(mode="after")
    def _check_references(self) -> "GridRecipe":
        if "bridge" in self.references and not isinstance(self.bridge, str):
            raise ValueError(
                f"reference bridge searches with the grid's bridge, which is {self.bridge!r}; give the key `bridge` "
                "one name, or leave the reference out"
            )
        return self

    @model_validator(mode="after")
    def _check_fine_tuning(self) -> "GridRecipe":
        trained = self.fine_tuning.methods or ()
        for name in (*trained, *self.fine_tuning.once):
            if name not in self.methods:
                raise ValueError(f"{name!r} of fine_tuning is none of the methods: {', '.join(self.methods)}")
        if "fine-tuned" not in self.stages:
            return self
        for language, settings in self.languages.items():
            if not settings.training_sets:
                raise ValueError(f"stage fine-tuned needs `training_sets` under language {language}")
        for name in self.methods:
            try:
                recipe = self.train_recipe(name)
            except SembridgeError as error:
                raise ValueError(str(error)) from None
            bridges = self.bridges(name, next(iter(self.languages)))
            if recipe.distill == "bridge" and len(bridges) != 1:
                advice = f"it has {', '.join(bridges)}; give it one" if bridges else "add the key `bridge`"
                raise ValueError(f"the training of {name} has a bridge as teacher: {advice}")
        return self

    def train_recipe(self, method: str, *, seed: int = 0) -> TrainRecipe:
        """The settings that a method is fine-tuned with."""
        own = self.methods[method].get(TRAINING, {})
        return TrainRecipe.build(
            {**self.fine_tuning.settings, **own, "seed": seed}, origin=f"fine-tuning of method {method}"
        )

    def bridges(self, method: str, language: str, *, roots: dict[str, str] | None = None) -> tuple[str, ...]:
        """The names of a method's bridges, its own or the grid's, sorted; `{name}` filled in as in its settings.

        The reference `bridge` has the grid's.

        Raises:
            ValueError: the method's key `bridge` is neither a name nor a list of names.
        """
        given = self.methods.get(method, {}).get(BRIDGE, self.bridge)
        names = list(given) if isinstance(given, list | tuple) else [] if given is None else [given]
        if not all(isinstance(name, str) and name for name in names) or (given is not None and not names):
            raise ValueError(f"bridge of method {method} is {given!r}; expected a name or a list of names")
        filled = self._names(language, roots)
        return tuple(sorted({_fill(name, filled) for name in names}))

    def target_tokenizer(self, language: str, *, roots: dict[str, str] | None = None) -> str:
        """The name or path of a language's tokenizer, a root filled in."""
        return str(_fill(self.languages[language].target_tokenizer, self._names(language, roots)))

    def transfer_recipe(
        self, method: str, language: str, *, roots: dict[str, str] | None = None, **overrides: Any
    ) -> TransferRecipe:
        """The settings of a method in a language, `{name}` of a file or root filled in where `roots` gives it."""
        names = self._names(language, roots)
        own = {key: value for key, value in self.methods[method].items() if key not in (TRAINING, BRIDGE)}
        settings = {key: _fill(value, names) for key, value in own.items()}
        return TransferRecipe.build({**settings, **overrides}, origin=f"method {method}")

    def _names(self, language: str, roots: dict[str, str] | None) -> dict[str, str]:
        """What {name} stands for in a method's settings: the language, the roots and the language's files."""
        names = {"language": language, **(roots or {})}
        return {**names, **{key: _fill(path, names) for key, path in self.languages[language].files.items()}}


def short_name(source_encoder: str) -> str:
    """What cells call a source encoder: the last part of its name."""
    return source_encoder.rstrip("/").rpartition("/")[2]


def _distinct(values: tuple[Any, ...], *, key: Any) -> tuple[Any, ...]:
    seen: dict[str, Any] = {}
    for value in values:
        if key(value) in seen:
            raise ValueError(f"{seen[key(value)]!r} and {value!r} have the same name in the results; leave one out")
        seen[key(value)] = value
    return values


def _fill(value: Any, names: dict[str, str]) -> Any:
    """`value` with every known {name} in it replaced; unknown ones stay, so that a message can show them."""
    if isinstance(value, str):
        for name, text in names.items():
            value = value.replace("{" + name + "}", text)
    return value
