"""What a command line asks to be evaluated, checked before anything is loaded, and what goes with it."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sembridge.encoders.names import is_data_folder, is_model_folder, mini_folder, resolve
from sembridge.errors import SembridgeError
from sembridge.files.atomic import check_output_file
from sembridge.retrieval.measures import DEFAULT_MEASURES, DEFAULT_TOP_K, depth, is_measure

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder

REPORTS = ("report.json", "pivot.json")  # of a transfer, or of a pivot that was exported from one


@dataclass(frozen=True)
class EvaluationPlan:
    """What is evaluated on what.

    Attributes:
        encoders: name in tables -> as given.
        data: as given.
        measures: in ir-measures notation, known to exist.
        top_k: deep enough for every measure.
    """

    encoders: dict[str, str]
    data: tuple[str, ...]
    measures: tuple[str, ...]
    top_k: int


@dataclass(frozen=True)
class EnglishEncoder:
    """The untouched source encoder to evaluate beside a transferred one; without a name, `why_not` says the reason.

    Attributes:
        fingerprint: the `weights_fingerprint` it must have; None where nobody said.
    """

    name: str | None
    folder: str | Path | None = None
    why_not: str | None = None
    fingerprint: str | None = None

    def refusal(self, loaded: "SparseEncoder") -> str | None:
        """Why what was loaded from the folder is not the source encoder; None where it is."""
        from sembridge.encoders.fingerprint import weights_fingerprint

        if self.fingerprint is None or weights_fingerprint(loaded) == self.fingerprint:
            return None
        return f"{self.folder} holds another model than the one that was transferred; give that one by --english"


def plan_evaluation(
    encoders: Sequence[str], *, data: Sequence[str], measures: Sequence[str] = (), top_k: int = DEFAULT_TOP_K
) -> EvaluationPlan:
    """The plan behind `sembridge evaluate ENCODER... --data DATA --measure MEASURE`.

    Raises:
        SembridgeError: no data, data or a measure where encoders stand, something named twice, or an unknown measure.
    """
    _refuse_misplaced(encoders, data, measures)
    if not data:
        raise SembridgeError(f"No retrieval data given; name it with --data: {_command(encoders, ['mini/faq-ko'])}.")
    _refuse_repetition("Encoder", encoders)
    _refuse_repetition("Data", data)
    chosen = tuple(dict.fromkeys(measures)) or DEFAULT_MEASURES
    return EvaluationPlan(
        encoders=dict(zip(_table_names(encoders), encoders, strict=True)),
        data=tuple(data),
        measures=chosen,
        top_k=max(top_k, depth(chosen)),
    )


def english_encoder(encoders: Sequence[str], *, asked_for: str | None = None) -> EnglishEncoder:
    """The untouched encoder: the one asked for, else the source of the first transferred encoder, if it lies here.

    `report.json` beside a transferred encoder names its source and says how to recognise it: what is loaded is to be
    checked by `EnglishEncoder.refusal`. Nothing is downloaded for a row nobody asked for.
    """
    if asked_for is not None:
        return EnglishEncoder(asked_for, asked_for)
    source = next(filter(None, (_source_of(resolve(name)) for name in encoders)), None)
    if source is None:
        return EnglishEncoder(None, why_not="no report.json beside an encoder names the source encoder")
    given = {str(Path(name).resolve()) if Path(name).is_dir() else name for name in encoders}
    if source.name in encoders or source.folder in given:
        return EnglishEncoder(None)  # it has a row already
    if source.folder is not None and Path(source.folder).is_dir():
        return EnglishEncoder(source.name, source.folder, fingerprint=source.fingerprint)
    folder = _local_folder(source.name)
    if folder is None:
        return EnglishEncoder(None, why_not=f"the source encoder {source.folder or source.name} is not on this machine")
    if folder == source.name and source.fingerprint is None and not _means_the_same_anywhere(source.name):
        return EnglishEncoder(
            None,
            why_not=f"report.json names {source.name}, which may be another folder here; give it by --english",
        )
    return EnglishEncoder(source.name, folder, fingerprint=source.fingerprint)


def run_files(path: Path | None, encoders: Sequence[str], data: Sequence[str]) -> dict[str, dict[str, Path]]:
    """Data set -> encoder -> file for its run, every place checked: `path` itself for one encoder on one data set.

    For several, what differs goes between stem and suffix: run.trec, run.splade-ko.trec, run.splade-ko.faq-ko.trec.

    Raises:
        SembridgeError: a place that cannot be written.
    """
    if path is None:
        return {}
    files: dict[str, dict[str, Path]] = {}
    for data_name in data:
        for encoder in encoders:
            parts = [*([encoder] if len(encoders) > 1 else []), *([data_name] if len(data) > 1 else [])]
            middle = "".join("." + "".join(c if c.isalnum() or c in "-_" else "-" for c in part) for part in parts)
            place = path.with_name(f"{path.stem}{middle}{path.suffix}") if middle else path
            check_output_file(place)
            files.setdefault(data_name, {})[encoder] = place
    _refuse_repetition("Run file", [str(place) for places in files.values() for place in places.values()])
    return files


def _refuse_misplaced(encoders: Sequence[str], data: Sequence[str], measures: Sequence[str]) -> None:
    """Refuses data and measures among the encoders, with the line that says what was meant."""
    misplaced = [word for word in data if _is_encoder(word)]
    if misplaced:
        meant = _command(list(dict.fromkeys([*(w for w in encoders if not _is_data(w)), *misplaced])),
                         [*(w for w in encoders if _is_data(w)), *(w for w in data if w not in misplaced)] or ["DATA"],
                         measures)  # fmt: skip
        raise SembridgeError(f"Expected retrieval data, but --data {misplaced[0]} is an encoder; write {meant}.")
    more_data = [word for word in encoders if _is_data(word)]
    more_measures = [word for word in encoders if word not in more_data and _looks_like_measure(word)]
    if not more_data and not more_measures:
        return
    rest = [word for word in encoders if word not in [*more_data, *more_measures]] or ["ENCODER"]
    kinds = ((more_data, "is retrieval data", "are retrieval data"), (more_measures, "is a measure", "are measures"))
    said = [f"{', '.join(words)} {one if len(words) == 1 else more}" for words, one, more in kinds if words]
    meant = _command(rest, [*data, *more_data] or ["DATA"], [*measures, *more_measures])
    raise SembridgeError(f"Expected encoders, but {' and '.join(said)}; write {meant}.")


def _command(encoders: Sequence[str], data: Sequence[str], measures: Sequence[str] = ()) -> str:
    options = [*(f"--data {shlex.quote(name)}" for name in data), *(f"--measure {name}" for name in measures)]
    return f"`sembridge evaluate {' '.join([*map(shlex.quote, encoders), *options])}`"


def _looks_like_measure(word: str) -> bool:
    return "/" not in word and not Path(word).exists() and ("@" in word or is_measure(word))


def _is_encoder(word: str) -> bool:
    """Whether it names a folder or a bundled model that holds an encoder and no retrieval data."""
    if word.startswith("mteb:") or _is_data(word):
        return False
    try:
        return is_model_folder(mini_folder(word) if word.startswith("mini/") else Path(word))
    except SembridgeError:
        return False


def _is_data(word: str) -> bool:
    """Whether it names retrieval data and no encoder that lies in the same folder."""
    if word.startswith("mteb:"):
        return True
    try:
        folder = mini_folder(word) if word.startswith("mini/") else Path(word)
    except SembridgeError:
        return False
    return is_data_folder(folder)


def _table_names(encoders: Sequence[str]) -> list[str]:
    """The last part of a folder or hub id, where that is enough to tell all apart."""
    short = [Path(given).resolve().name if Path(given).is_dir() else given.rpartition("/")[2] for given in encoders]
    return short if len(set(short)) == len(short) else list(encoders)


def _refuse_repetition(what: str, names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise SembridgeError(f"{what} {name} was given twice; give it once.")


@dataclass(frozen=True)
class _Source:
    """What a transfer's report says of the source encoder: its name, its folder then, and its fingerprint."""

    name: str
    folder: str | None
    fingerprint: str | None


def _source_of(folder: Path) -> _Source | None:
    file = next((folder / name for name in REPORTS if (folder / name).is_file()), folder / REPORTS[0])
    try:
        report: object = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(report, Mapping):
        return None
    name, place, fingerprint = (report.get(key) for key in ("source_encoder", "source_folder", "source_fingerprint"))
    if file.name != REPORTS[0]:
        fingerprint = None  # a pivot's is of settings too, and checked where it is loaded
    if not isinstance(name, str) or not name:
        return None
    return _Source(name, *(text if isinstance(text, str) and text else None for text in (place, fingerprint)))


def _means_the_same_anywhere(name: str) -> bool:
    return name.startswith("mini/") or Path(name).expanduser().is_absolute()


def _local_folder(name: str) -> str | Path | None:
    """Where the encoder lies without a download: mini/NAME, a folder, or a snapshot in the hub's cache."""
    if name.startswith("mini/") or Path(name).is_dir():
        return name
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(name, "config.json")
    except HFValidationError:
        return None
    return Path(config).parent if isinstance(config, str) else None
