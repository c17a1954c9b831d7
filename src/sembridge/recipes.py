"""What can be set, and what it is set to when nobody says anything: YAML <-> checked models.

Defaults live here and nowhere else; a recipe file that is written beside an output reproduces it.
"""

from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sembridge.errors import SembridgeError

Method = Literal["sembridge", "random", "mean", "univariate", "multivariate"]
Preset = Literal["default", "paper"]

# Every difference between the two presets, in one place; docs/method.md explains each line.
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {
        "merge_twins": False,
        "candidates": "all",
        "hub_neighbours": 0,
        "restore_norms": False,
        "residual": 0.0,
        "min_similarity": 0.0,
        "fallback": "univariate",
    },
    "default": {
        "merge_twins": True,
        "candidates": "words",
        "hub_neighbours": 10,
        "restore_norms": False,
        "residual": 0.4,
        "min_similarity": 0.0,
        "fallback": "multivariate",
    },
}


class TransferRecipe(BaseModel):
    """Everything that decides what a language transfer makes, apart from the three models themselves."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    preset: Preset = "default"
    method: Method = "sembridge"
    weighting: Literal["entmax", "softmax-topk"] = "entmax"
    alpha: float = Field(default=4.0, ge=1.0, description="entmax exponent: 1 softmax, 2 sparsemax, larger is sparser")
    top_k: int = Field(default=10, ge=1, description="source tokens a row under softmax-topk")
    temperature: float = Field(default=0.1, gt=0.0, description="of softmax-topk")
    fuzzy: bool = Field(default=True, description="tokens equal up to case or word start count as overlap")
    merge_twins: bool = Field(description="source tokens of the same text (home, ##home) compete as one candidate")
    candidates: Literal["all", "words"] = Field(
        description="words: two or more letters of the source vocabulary's main script; rows seldom trained are out"
    )
    hub_neighbours: int = Field(ge=0, description="subtract each source token's mean similarity to this many targets")
    restore_norms: bool = Field(description="scale a combined row to its source rows' mean norm")
    residual: float = Field(ge=0.0, le=1.0, description="share of a combined row's variance that is drawn, its own")
    min_similarity: float = Field(ge=-1.0, le=1.0, description="below it a row falls back")
    fallback: Literal["random", "mean", "univariate", "multivariate"] = Field(
        description="rows of tokens without usable similarity"
    )
    extend: bool = Field(default=False, description="keep the English vocabulary and append the target's new tokens")
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
    def read(cls, path: str | Path, **overrides: Any) -> Self:
        """The recipe of a YAML file, with `overrides` (those that are not None) over it.

        A preset among the overrides brings all its settings: the resolved recipe beside an output names every one.

        Raises:
            SembridgeError: the file is missing, is not YAML, or holds a key or value a recipe does not know.
        """
        overrides = _given(overrides)
        values = {**_read_yaml(Path(path)), **_preset_settings(overrides.get("preset")), **overrides}
        return cls.build(values, origin=str(path))

    @classmethod
    def build(cls, values: dict[str, Any], *, origin: str = "settings") -> Self:
        """A checked recipe; the first problem is reported in one line."""
        try:
            return cls(**_given(values))
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"])) or "recipe"
            if first["type"] == "extra_forbidden":
                expected = ", ".join(cls.model_fields)
                raise SembridgeError(f"{origin}: {key} is no setting; expected one of {expected}.") from None
            raise SembridgeError(f"{origin}: {key}: {first['msg']} (given: {first['input']!r})") from None

    def write(self, path: Path) -> None:
        path.write_text(yaml.safe_dump(self.model_dump(), sort_keys=False, allow_unicode=True), encoding="utf-8")


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _preset_settings(preset: object) -> dict[str, Any]:
    return PRESETS.get(preset, {}) if isinstance(preset, str) else {}


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        # BaseLoader leaves every scalar a string and pydantic converts: `no` is not False, 1e-5 is not text.
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    except OSError as error:
        raise SembridgeError(f"Recipe {path} cannot be read: {error.strerror}. Give the path of a YAML file.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        problem = " ".join(str(error).split())
        raise SembridgeError(f"Recipe {path} is not valid YAML: {problem}") from None
    if not isinstance(content, dict):
        raise SembridgeError(f"Recipe {path} holds no `key: value` lines; expected for example `alpha: 4`.")
    return content
