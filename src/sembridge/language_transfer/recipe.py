"""The settings of a language transfer, and the presets."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from sembridge.errors import SembridgeError
from sembridge.files.recipe import Recipe

Method = Literal["sembridge", "random", "mean", "univariate", "multivariate", "focus", "ofa", "wechsel"]
Preset = Literal["default", "paper"]

# Every difference between the two presets, in one place; docs/method.md explains each line.
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {
        "alpha": 4.0,
        "merge_twins": False,
        "candidates": "all",
        "hub_neighbours": 0,
        "restore_norms": False,
        "residual": 0.0,
        "evidence": False,
        "match_activity": False,
        "firing_cap": 1.0,
        "min_similarity": 0.0,
        "fallback": "univariate",
    },
    "default": {
        "alpha": 6.0,
        "merge_twins": True,
        "candidates": "words",
        "hub_neighbours": 10,
        "restore_norms": False,
        "residual": 0.3,
        "evidence": True,
        "match_activity": True,
        "firing_cap": 0.02,
        "min_similarity": 0.0,
        "fallback": "multivariate",
    },
}

# The files a method cannot do without, and what each of them holds.
NEEDED_FILES: dict[str, tuple[str, ...]] = {
    "focus": ("target_text",),
    "ofa": ("word_vectors",),
    "wechsel": ("word_vectors", "source_word_vectors", "dictionary"),
}
_CONTENTS = {
    "target_text": "UTF-8 text of the target language, one passage a line, .gz allowed",
    "word_vectors": "word vectors of the target language (ofa: multilingual ones) in word2vec format, .gz allowed",
    "source_word_vectors": "English word vectors in word2vec format, .gz allowed",
    "dictionary": "lines of an English word, a tab and a target word, .gz allowed",
}


class TransferRecipe(Recipe):
    """Everything that decides what a language transfer makes, apart from the three models themselves."""

    preset: Preset = "default"
    method: Method = "sembridge"
    weighting: Literal["entmax", "softmax-topk"] = "entmax"
    alpha: float = Field(
        default=4.0, ge=1.0, description="entmax exponent: 1 softmax, 2 sparsemax, larger is sparser; presets set it"
    )
    top_k: int = Field(default=10, ge=1, description="source tokens a row under softmax-topk")
    temperature: float = Field(default=0.1, gt=0.0, description="of softmax-topk")
    covariance_scale: float = Field(
        default=1.0, gt=0.0, description="of multivariate rows; 1e-5 is transformers' mean_resizing"
    )
    target_text: Path | None = Field(
        default=None,
        description=f"focus; optional for sembridge's firing_cap and through_words: {_CONTENTS['target_text']}",
    )
    through_words: bool = Field(
        default=False, description="sembridge: place tokens also by the words of target_text that contain them"
    )
    word_vectors: Path | None = Field(default=None, description=f"ofa, wechsel: {_CONTENTS['word_vectors']}")
    source_word_vectors: Path | None = Field(
        default=None, description=f"wechsel: {_CONTENTS['source_word_vectors']}; ofa: in the space of word_vectors"
    )
    dictionary: Path | None = Field(default=None, description=f"wechsel: {_CONTENTS['dictionary']}")
    fuzzy: bool = Field(default=True, description="tokens equal up to case or word start count as overlap")
    merge_twins: bool = Field(description="source tokens of the same text (home, ##home) compete as one candidate")
    candidates: Literal["all", "words"] = Field(
        description="words: two or more letters of the source vocabulary's main script; rows seldom trained are out"
    )
    hub_neighbours: int = Field(ge=0, description="subtract each source token's mean similarity to this many targets")
    restore_norms: bool = Field(description="scale a combined row to its source rows' mean norm")
    residual: float = Field(
        ge=0.0, le=1.0, description="share of a fully trusted row's variance that is drawn, its own"
    )
    evidence: bool = Field(
        default=False, description="trust each row as far as its similarity is above chance; off: trust all fully"
    )
    match_activity: bool = Field(
        default=False, description="spread new rows so that texts have the source encoder's active dims"
    )
    firing_cap: float = Field(
        default=1.0,
        gt=0.0,
        le=1.0,
        description="share of texts that a new token may fire in before its bias is lowered; 1: any",
    )
    min_similarity: float = Field(ge=-1.0, le=1.0, description="below it a row falls back")
    fallback: Literal["random", "mean", "univariate", "multivariate"] = Field(
        description="rows of tokens without usable similarity"
    )
    extend: bool = Field(default=False, description="keep the English vocabulary and append the target's new tokens")
    add_special_tokens: bool = Field(
        default=False, description="put the target tokenizer's own [CLS] and [SEP] around texts where it adds none"
    )
    seed: int = Field(default=0, ge=0, lt=2**63)
    memory_budget_mb: int = Field(default=1024, ge=16)

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        preset = values.get("preset") or cls.model_fields["preset"].default
        return {**_preset_settings(preset), **values}

    @classmethod
    def _implied(cls, overrides: dict[str, Any]) -> dict[str, Any]:
        """A preset among the overrides brings all its settings: the recipe beside an output names every one."""
        return _preset_settings(overrides.get("preset"))

    @property
    def is_calibrated(self) -> bool:
        """Whether the new rows are changed after looking at what they do; no published baseline's are."""
        return self.method == "sembridge" and (self.match_activity or self.firing_cap < 1)

    @property
    def reads_words(self) -> bool:
        """Whether tokens are placed also by the words of a text; `through_words` without one changes nothing."""
        return self.method == "sembridge" and self.through_words and self.target_text is not None

    def check_files(self) -> None:
        """Nothing, if every file that the method reads is given and is there.

        Raises:
            SembridgeError: one is not.
        """
        for name in NEEDED_FILES.get(self.method, ()):
            self.file(name)
        if self.reads_words or (self.method == "sembridge" and self.firing_cap < 1 and self.target_text is not None):
            self.file("target_text")
        if self.method == "ofa" and self.source_word_vectors is not None:
            self.file("source_word_vectors")

    def file(self, name: str) -> Path:
        """The path under one of the file settings.

        Raises:
            SembridgeError: none is given, or it is no file.
        """
        path: Path | None = getattr(self, name)
        if path is None:
            option = f"--{name.replace('_', '-')}"
            raise SembridgeError(f"Method {self.method} needs {option} FILE (`{name}` in a recipe): {_CONTENTS[name]}.")
        if not path.is_file():
            problem = "is not a file" if path.exists() else "does not exist"
            raise SembridgeError(f"{name}: {path} {problem}; expected {_CONTENTS[name]}.")
        return path


def _preset_settings(preset: object) -> dict[str, Any]:
    return PRESETS.get(preset, {}) if isinstance(preset, str) else {}
