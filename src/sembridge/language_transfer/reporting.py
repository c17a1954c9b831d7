"""What a transfer did, in numbers: the figures of its report."""

import platform
from collections import Counter
from collections.abc import Mapping
from importlib.metadata import version

import numpy as np
import torch

from sembridge.encoders.anatomy import Anatomy
from sembridge.encoders.fingerprint import weights_fingerprint
from sembridge.encoders.names import lasting_name
from sembridge.encoders.scripts import token_script
from sembridge.encoders.vocabulary import Vocabulary
from sembridge.language_transfer.alignment import Alignment
from sembridge.language_transfer.calibration import Calibration
from sembridge.language_transfer.folder import LeastCertainToken, Origin, TransferReport
from sembridge.language_transfer.initialization.rows import Initialization, RowKind
from sembridge.language_transfer.preparation import PreparedTransfer

N_LEAST_CERTAIN = 50
VERSIONS_OF = ("sembridge", "sentence-transformers", "transformers", "torch", "numpy")


def report_transfer(
    prepared: PreparedTransfer,
    transferred: Anatomy,
    rows: Initialization,
    alignment: Alignment,
    calibration: Calibration,
    origin: Origin,
    *,
    bridge: Mapping[str, object] | None,
    seconds: Mapping[str, float],
) -> TransferReport:
    """What a transfer did.

    Args:
        transferred: the encoder that was made of `prepared`.
        bridge: what is said of the bridge; None where none was asked.
        seconds: by stage.
    """
    source, target = prepared.vocabularies.source, prepared.vocabularies.target
    combined = np.flatnonzero(rows.kinds == RowKind.COMBINED)
    support = Counter(rows.weights.support_sizes().numpy()[combined].tolist())
    return TransferReport(
        source_encoder=origin.source_encoder,
        source_folder=place if (place := lasting_name(origin.source_encoder)) != origin.source_encoder else None,
        source_fingerprint=weights_fingerprint(prepared.encoder.encoder),
        target_tokenizer=origin.target_tokenizer,
        bridge=None if bridge is None else {**bridge, "name": origin.bridge or bridge["name"]},
        language=origin.language,
        n_source=len(source),
        n_target=len(target),
        counts=_count_kinds(rows.kinds),
        scripts=_count_scripts(target, rows.kinds),
        support=dict(sorted(support.items())),
        similarity=_quantiles(rows.best_similarity[combined]),
        confidence={} if rows.confidence is None else _quantiles(rows.confidence[combined]),
        least_certain=_least_certain(target, rows, alignment, combined),
        residual=round(rows.residual, 4),
        gain=round(calibration.gain, 4),
        n_lowered=calibration.n_lowered,
        mean_norms=_mean_norms(prepared.encoder, transferred, rows.kinds),
        seconds={stage: round(value, 3) for stage, value in seconds.items()},
        recipe=prepared.recipe.settings(),
        versions={"python": platform.python_version(), **{name: version(name) for name in VERSIONS_OF}},
        tuned_on=origin.tuned_on,
    )


def _count_kinds(kinds: np.ndarray) -> dict[str, int]:
    return {kind.name.lower(): int((kinds == kind).sum()) for kind in RowKind}


def _count_scripts(target: Vocabulary, kinds: np.ndarray) -> dict[str, dict[str, int]]:
    """Rows a kind by the script of the token's first letter; `other` holds digits, punctuation and bytes."""
    counts: dict[str, Counter[str]] = {}
    for text, kind in zip(target.texts, kinds.tolist(), strict=True):
        counts.setdefault(token_script(text), Counter())[RowKind(kind).name.lower()] += 1
    return {script: dict(count) for script, count in sorted(counts.items(), key=lambda item: -item[1].total())}


def _quantiles(figures: np.ndarray) -> dict[str, float]:
    if not len(figures):
        return {}
    levels = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
    values = np.quantile(figures.astype(np.float64), levels)
    return {f"{100 * level:g} %": round(float(value), 4) for level, value in zip(levels, values, strict=True)}


def _least_certain(
    target: Vocabulary, rows: Initialization, alignment: Alignment, combined: np.ndarray
) -> list[LeastCertainToken]:
    confidence = np.full(len(target), np.nan, np.float32) if rows.confidence is None else rows.confidence
    doubts = np.lexsort((rows.best_similarity[combined], confidence[combined]))
    order = combined[doubts][:N_LEAST_CERTAIN]
    return [
        LeastCertainToken(
            token=target.tokens[i],
            similarity=round(float(rows.best_similarity[i]), 4),
            confidence=None if np.isnan(confidence[i]) else round(float(confidence[i]), 4),
            sources=[part.token for part in alignment.parts(int(i))[:5]],
        )
        for i in order
    ]


@torch.no_grad()
def _mean_norms(encoder: Anatomy, transferred: Anatomy, kinds: np.ndarray) -> dict[str, float]:
    def norms(anatomy: Anatomy) -> np.ndarray:
        values: np.ndarray = anatomy.token_embedding.weight.float().norm(dim=1).cpu().numpy()
        return values

    source, target = norms(encoder), norms(transferred)
    found = {kind.name.lower(): target[kinds == kind] for kind in RowKind}
    return {
        "source": round(float(source.mean()), 4),
        **{kind: round(float(values.mean()), 4) for kind, values in found.items() if len(values)},
    }
