"""A transferred encoder with its report, and the folder that both are saved to."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import ConfigDict, Field

from sembridge.encoders.model_card import CardContent, write_model_card
from sembridge.files.atomic import write_folder
from sembridge.files.records import read_record
from sembridge.language_transfer.recipe import TransferRecipe

if TYPE_CHECKING:  # a report is read back without torch
    from sentence_transformers import SparseEncoder

    from sembridge.language_transfer.alignment import Alignment


REPORT_FILE, RECIPE_FILE, TUNING_FILE = "report.json", "recipe.yaml", "tuning.json"


@dataclass(frozen=True)
class Origin:
    """The names under which the three models were given, and what their cards say; for the report and the card."""

    source_encoder: str = "source encoder"
    target_tokenizer: str = "target tokenizer"
    bridge: str | None = None
    language: str | None = None
    license: str | None = None
    license_name: str | None = None  # with license "other"
    license_link: str | None = None
    tuned_on: str | None = None  # the data that the settings were chosen on


@dataclass(frozen=True, kw_only=True)
class LeastCertainToken:
    """A combined token with a low confidence or similarity, and what it was made of."""

    token: str
    similarity: float
    confidence: float | None = None
    sources: list[str]


@dataclass(frozen=True, kw_only=True)
class TransferReport:
    """What a transfer did, in numbers; what earlier versions did not write has a default.

    Attributes:
        counts: rows a kind; they add up to n_target.
        scripts: rows a kind for every script of the target vocabulary.
        support: how many combined rows have 1, 2, ... source tokens.
        similarity: quantiles of the combined rows' best similarity.
        confidence: quantiles of the combined rows' confidence; empty where no evidence was asked for.
        residual: share of a fully trusted row's variance that was drawn: the recipe's, or 0.
        gain: factor on the spread of the new rows about the mean row.
        n_lowered: dimensions whose decoder bias was lowered, because they fired in too many texts.
        mean_norms: of the input embedding: all source rows, and target rows by kind.
        seconds: by stage.
        tuned_on: the data that the settings were chosen on; None where they were given.
        source_folder: absolute path of a source encoder that was a folder; None where its name means the same anywhere.
        source_fingerprint: `weights_fingerprint` of the source encoder, by which it is recognised.
    """

    __pydantic_config__ = ConfigDict(allow_inf_nan=False)

    source_encoder: str
    target_tokenizer: str
    bridge: dict[str, Any] | None = None
    language: str | None = None
    n_source: int
    n_target: Annotated[int, Field(gt=0)]
    counts: dict[str, int]
    scripts: dict[str, dict[str, int]]
    support: dict[int, int]
    similarity: dict[str, float]
    confidence: dict[str, float] = field(default_factory=dict)
    least_certain: list[LeastCertainToken] = field(default_factory=list)
    residual: float | None = None
    gain: float = 1.0
    n_lowered: int = 0
    mean_norms: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    tuned_on: str | None = None
    source_folder: str | None = None
    source_fingerprint: str | None = None

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


def read_report(folder: Path) -> TransferReport:
    """The report of the transfer that wrote `folder`.

    Raises:
        SembridgeError: the folder has no report, or a damaged one.
    """
    return read_record(TransferReport, folder / REPORT_FILE, advice="run the transfer again")


@dataclass(frozen=True, eq=False)
class LanguageTransfer:
    """A transferred encoder with its explanation."""

    encoder: "SparseEncoder"
    alignment: "Alignment"
    report: TransferReport
    recipe: TransferRecipe
    origin: Origin

    def save(self, folder: str | Path, *, overwrite: bool = False, tuning: Mapping[str, object] | None = None) -> Path:
        """Writes a stock SparseEncoder folder with alignment, report, recipe and model card beside; all or nothing.

        `tuning` is `Tuning.to_dict()` where the recipe was chosen by `tune`; it goes to `tuning.json`.

        Raises:
            SembridgeError: the folder exists and is not empty (and `overwrite` is not set), or the disk is full.
        """
        return write_folder(Path(folder), partial(self._write, tuning=tuning), overwrite=overwrite)

    def _write(self, folder: Path, *, tuning: Mapping[str, object] | None) -> None:
        self.encoder.save_pretrained(str(folder), create_model_card=False)
        self.alignment.save(folder)
        for name, content in ((REPORT_FILE, self.report.to_dict()), (TUNING_FILE, tuning)):
            if content is not None:
                text = json.dumps(content, indent=1, ensure_ascii=False)
                (folder / name).write_text(text + "\n", encoding="utf-8")
        self.recipe.with_lasting_paths().write(folder / RECIPE_FILE)
        write_model_card(folder, _card(self.report, self.recipe, self.origin))


def _card(report: TransferReport, recipe: TransferRecipe, origin: Origin) -> CardContent:
    language = f" for {origin.language}" if origin.language else ""
    return CardContent(
        title=f"{origin.source_encoder.rstrip('/').rsplit('/', 1)[-1]}{language}",
        language=origin.language,
        license=origin.license,
        license_name=origin.license_name,
        license_link=origin.license_link,
        source_encoder=origin.source_encoder,
        target_tokenizer=origin.target_tokenizer,
        bridge=str(report.bridge["name"]) if report.bridge else None,
        method=f"{recipe.method}, preset {recipe.preset}",
        n_target=report.n_target,
        counts=report.counts,
        recipe=recipe.settings(),
        versions=report.versions,
        tuned_on=origin.tuned_on,
    )
