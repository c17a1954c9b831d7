"""The settings of a language transfer, and the presets."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import model_validator

from sembridge.errors import SembridgeError
from sembridge.files.recipe import RUNNING, Recipe, setting, value_text
from sembridge.language_transfer.methods import METHODS, Method

if TYPE_CHECKING:
    MethodName = str
else:
    MethodName = Literal[tuple(METHODS)]  # refused with the list of all others
Preset = Literal["default", "paper"]
BridgeDtype = Literal["float32", "bfloat16"]

# Headings of `sembridge transfer --help`.
ROWS, CALIBRATION, FILES = "How rows are built", "Calibration of new rows", "Files of a method"

# Every difference between the two presets, in one place; docs/method.md explains each line.
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {
        "alpha": 4.0,
        "merge_twins": False,
        "candidates": "all",
        "hub_neighbours": 0,
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
        "residual": 0.3,
        "evidence": True,
        "match_activity": True,
        "firing_cap": 0.02,
        "min_similarity": 0.0,
        "fallback": "multivariate",
    },
}

# What the files hold that a method may need.
_CONTENTS = {
    "target_text": "UTF-8 text of the target language, one passage a line, .gz allowed",
    "word_vectors": "word vectors of the target language (ofa: multilingual ones) in word2vec format, .gz allowed",
    "source_word_vectors": "English word vectors in word2vec format, .gz allowed",
    "dictionary": "lines of an English word, a tab and a target word, .gz allowed",
}


class TransferRecipe(Recipe):
    """Everything that decides what a language transfer makes, apart from the three models themselves."""

    preset: Preset = setting("default", help="settings that go together; paper: as published")
    method: MethodName = setting("sembridge", help="how rows are built: sembridge, or a baseline", group=ROWS)
    weighting: Literal["entmax", "softmax-topk"] = setting(
        "entmax", help="how similarities become the weights of source tokens", group=ROWS
    )
    alpha: float = setting(ge=1.0, help="entmax exponent: 1 softmax, 2 sparsemax, larger is sparser", group=ROWS)
    top_k: int = setting(10, ge=1, unit="tokens", help="source tokens a row under softmax-topk", group=ROWS)
    temperature: float = setting(0.1, gt=0.0, help="of softmax-topk", group=ROWS)
    covariance_scale: float = setting(
        1.0, gt=0.0, help="of multivariate rows; 1e-5 is transformers' mean_resizing", group=ROWS
    )
    target_text: Path | None = setting(
        None, unit="file",
        help=f"focus; optional for sembridge's firing_cap and through_words: {_CONTENTS['target_text']}", group=FILES,
    )  # fmt: skip
    through_words: bool = setting(
        False, help="sembridge: place tokens also by the words of target_text that contain them", group=ROWS
    )
    word_vectors: Path | None = setting(
        None, unit="file", help=f"ofa, wechsel: {_CONTENTS['word_vectors']}", group=FILES
    )
    source_word_vectors: Path | None = setting(
        None, unit="file", group=FILES,
        help=f"wechsel: {_CONTENTS['source_word_vectors']}; ofa: in the space of word_vectors",
    )  # fmt: skip
    dictionary: Path | None = setting(
        None, unit="file", group=FILES,
        help="wechsel; optional for sembridge, which places these words by their English ones, also words that English "
        f"spells the same: {_CONTENTS['dictionary']}",
    )  # fmt: skip
    fuzzy: bool = setting(True, help="tokens equal up to case or word start count as overlap", group=ROWS)
    merge_twins: bool = setting(
        help="source tokens of the same text (home, ##home) compete as one candidate", group=ROWS
    )
    candidates: Literal["all", "words"] = setting(
        help="source tokens that rows are built from; words: two or more letters of the vocabulary's main script, and "
        "no rows that are seldom trained",
        group=ROWS,
    )
    hub_neighbours: int = setting(
        ge=0, unit="tokens", group=ROWS,
        help="subtract each source token's mean similarity to this many target tokens",
    )  # fmt: skip
    residual: float = setting(
        ge=0.0, le=1.0, unit="share", group=ROWS,
        help="how much of a fully trusted row's variance is drawn, its own; none where drawn rows fire more often than "
        "trained ones",
    )  # fmt: skip
    evidence: bool = setting(
        help="trust each row as far as its similarity is above chance; off: trust all fully", group=ROWS
    )
    match_activity: bool = setting(
        help="spread new rows so that texts have the source encoder's active dims", group=CALIBRATION
    )
    firing_cap: float = setting(
        gt=0.0, le=1.0, unit="share", group=CALIBRATION,
        help="of texts that a token may fire in before its bias is lowered; 1: any",
    )  # fmt: skip
    min_similarity: float = setting(ge=-1.0, le=1.0, unit="cosine", help="below it a row falls back", group=ROWS)
    fallback: Literal["random", "mean", "univariate", "multivariate"] = setting(
        help="rows of tokens without usable similarity", group=ROWS
    )
    bridge_dtype: BridgeDtype | None = setting(
        None, help="in which the bridge computes, as it is loaded without one; bfloat16 is sooner where the processor "
        "multiplies it, and gives a tenth of the rows other source tokens", group=ROWS,
    )  # fmt: skip
    extend: bool = setting(False, help="keep the English vocabulary and append the target's new tokens", group=ROWS)
    add_special_tokens: bool = setting(
        False, help="put the target tokenizer's own [CLS] and [SEP] around texts where it adds none", group=ROWS
    )
    seed: int = setting(0, ge=0, lt=2**63, help="of drawn rows", group=ROWS)
    memory_budget_mb: int = setting(1024, ge=16, unit="MB", help="for blocks of similarities", group=RUNNING)

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        preset = values.get("preset") or cls.model_fields["preset"].default
        return {**_preset_settings(preset), **_without_removed(values)}

    @classmethod
    def default_text(cls, name: str) -> str:
        """A preset's setting has one default a preset."""
        if name not in PRESETS["default"]:
            return super().default_text(name)
        values = {preset: value_text(settings[name]) for preset, settings in PRESETS.items()}
        default = values.pop("default")
        others = [f"{preset}: {value}" for preset, value in values.items() if value != default]
        return ", ".join((default, *others))

    @classmethod
    def _implied(cls, overrides: dict[str, Any]) -> dict[str, Any]:
        """A preset among the overrides brings all its settings: the recipe beside an output names every one."""
        return _preset_settings(overrides.get("preset"))

    @property
    def rule(self) -> Method:
        """What is known of the method."""
        return METHODS[self.method]

    def counts(self, setting: str) -> bool:
        """Whether a setting decides over the result; a published baseline's rows know nothing of the presets'."""
        if setting == "alpha" and self.weighting != "entmax":
            return False
        return setting in self.rule.settings

    @property
    def entmax_alpha(self) -> float | None:
        """The exponent, or None where no entmax is computed."""
        return self.alpha if self.counts("alpha") else None

    @property
    def is_seeded(self) -> bool:
        """Whether new rows are drawn as a rule, so that another seed gives another encoder worth measuring."""
        return self.rule.is_seeded or any(getattr(self, setting) for setting in self.rule.seeded_with)

    @property
    def is_calibrated(self) -> bool:
        """Whether the new rows are changed after looking at what they do; no published baseline's are."""
        return (self.counts("match_activity") and self.match_activity) or self._caps_firing

    @property
    def reads_words(self) -> bool:
        """Whether tokens are placed also by the words of a text; `through_words` without one changes nothing."""
        return self.counts("through_words") and self.through_words and self.target_text is not None

    @property
    def _caps_firing(self) -> bool:
        return self.counts("firing_cap") and self.firing_cap < 1

    def check_files(self) -> None:
        """Nothing, if every file that the method reads is given and is there.

        Raises:
            SembridgeError: one is not.
        """
        for name in self._files_read():
            self.file(name)

    def _files_read(self) -> list[str]:
        given = [name for name in self.rule.optional_files if getattr(self, name) is not None]
        if not (self.reads_words or self._caps_firing):
            given = [name for name in given if name != "target_text"]
        return [*self.rule.files, *given]

    @property
    def text_read(self) -> Path | None:
        """The target text, where the method reads one."""
        return self.target_text if "target_text" in self._files_read() else None

    @property
    def translations(self) -> Path | None:
        """The dictionary, where the method places tokens by it."""
        return self.dictionary if "dictionary" in self.rule.optional_files else None

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

    def with_lasting_paths(self) -> "TransferRecipe":
        """The same with absolute paths, for a file that is read from any directory."""
        paths = {name: value for name in _CONTENTS if isinstance(value := getattr(self, name, None), Path)}
        return self.model_copy(update={name: path.expanduser().absolute() for name, path in paths.items()})


def _without_removed(values: dict[str, Any]) -> dict[str, Any]:
    """The same without settings of earlier versions, which every recipe beside their encoders names as off."""
    if str(values.get("restore_norms", False)).lower() not in ("false", "no", "off", "0"):
        raise ValueError(
            "restore_norms was removed, for it found no more (benchmarks/results/published-dev); leave it out."
        )
    return {name: value for name, value in values.items() if name != "restore_norms"}


def _preset_settings(preset: object) -> dict[str, Any]:
    return PRESETS.get(preset, {}) if isinstance(preset, str) else {}
