"""What a training is, so that checkpoints are continued by the same training only: encoder, data, teacher, settings."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sembridge.encoders.fingerprint import sparse_encoder_fingerprint, texts_fingerprint
from sembridge.errors import SembridgeError
from sembridge.files.atomic import write_file
from sembridge.language_transfer.bridge import Bridge, bridge_settings
from sembridge.retrieval.data import RetrievalData
from sembridge.training.checkpoints import RUN_FILE
from sembridge.training.data import TrainingData
from sembridge.training.recipe import TrainRecipe

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder

    from sembridge.training.aligning import Aim


@dataclass(frozen=True)
class Named:
    """A name for people, and a fingerprint of the content (None where there is none)."""

    name: str
    fingerprint: str | None


@dataclass(frozen=True)
class TrainingRun:
    """Everything that decides what a training makes.

    Attributes:
        encoder: before its first step, with the settings and library versions that its vectors depend on.
        data: rows with their negatives, before hard negatives are looked for, and all that is relevant to a query.
        dev, teacher: None without.
        settings: of the recipe.
    """

    encoder: Named
    data: Named
    dev: Named | None
    teacher: Named | None
    settings: dict[str, Any]

    @classmethod
    def of(
        cls,
        encoder: "SparseEncoder",
        data: TrainingData,
        recipe: TrainRecipe,
        *,
        start: str,
        dev: RetrievalData | None,
        teacher: Named | None,
    ) -> "TrainingRun":
        """The run of these arguments of `train`; `start` is the encoder's name for people."""
        return cls(
            encoder=Named(start, sparse_encoder_fingerprint(encoder)),
            data=Named(data.name, _rows_fingerprint(data)),
            dev=None if dev is None else Named(dev.name, _judged_fingerprint(dev)),
            teacher=teacher,
            settings=recipe.settings(),
        )

    def write(self, checkpoints: Path) -> None:
        """Puts the run beside the checkpoints that it is going to write."""
        write_file(checkpoints / RUN_FILE, [json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"])

    def check_continues(self, checkpoints: Path) -> None:
        """Refuses to go on with the checkpoints of another run.

        Raises:
            SembridgeError: it says everything that differs, and how to go on.
        """
        try:
            held = json.loads((checkpoints / RUN_FILE).read_text(encoding="utf-8"))
            differences = list(self._differences(held))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise SembridgeError(
                f"{checkpoints} does not say which training its checkpoints belong to; delete it and start again "
                "without --resume."
            ) from None
        if differences:
            raise SembridgeError(
                f"{checkpoints} holds another training: {'; '.join(differences)}. Give what it was begun with to go "
                "on, or delete the folder and start again without --resume."
            )

    def _differences(self, held: dict[str, Any]) -> "list[str]":
        given = asdict(self)
        found = []
        for part in ("encoder", "data", "dev", "teacher"):
            old, new = held[part] or {}, given[part] or {}
            if old.get("fingerprint") != new.get("fingerprint") or bool(old) != bool(new):
                names = old.get("name", "none"), new.get("name", "none")
                told = f"{names[0]}, now {names[1]}" if names[0] != names[1] else f"{names[0]}, whose content differs"
                found.append(f"{part} {told}")
        for key in sorted({*held["settings"], *given["settings"]}):
            old, new = held["settings"].get(key), given["settings"].get(key)
            if old != new:
                found.append(f"{key} {old}, now {new}")
        return found


def teacher_of(bridge: Bridge | None, aim: "Aim | None") -> Named | None:
    """Who teaches: the source that a pivot is aligned to, a bridge, or nobody."""
    if aim is not None:
        return Named(aim.pivot.facts.source_encoder, aim.pivot.facts.source_fingerprint)
    if bridge is None:
        return None
    facts = bridge_settings(bridge)
    return Named(str(facts["name"]), None if facts["fingerprint"] is None else str(facts["fingerprint"]))


def _rows_fingerprint(data: TrainingData) -> str:
    """Of all texts in their order, with the numbers that tell rows from rows."""
    relevant = (text for query in sorted(data.relevant) for text in ("", query, *sorted(data.relevant[query])))
    rows = (
        text
        for row in zip(data.sources, data.queries, data.documents, data.negatives, strict=True)
        for text in (str(row[0]), row[1], row[2], str(len(row[3])), *row[3])
    )
    return texts_fingerprint([*rows, *relevant])


def _judged_fingerprint(data: RetrievalData) -> str:
    parts = (data.corpus, data.queries, data.qrels)
    return texts_fingerprint(json.dumps(part, sort_keys=True, ensure_ascii=False) for part in parts)
