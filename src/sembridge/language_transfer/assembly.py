"""The whole operation: an English sparse encoder, a target tokenizer and a bridge become a target-language encoder."""

import logging
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch

from sembridge.encoders.anatomy import Anatomy
from sembridge.encoders.fingerprint import weights_fingerprint
from sembridge.encoders.names import lasting_name
from sembridge.encoders.scripts import token_script
from sembridge.encoders.tokenizer_habits import warn_of_habits
from sembridge.encoders.transplant import transplant
from sembridge.encoders.vocabulary import Vocabulary
from sembridge.encoders.words import UNSPACED, written_words
from sembridge.errors import SembridgeError
from sembridge.files.lines import spread_lines
from sembridge.language_transfer.alignment import Alignment
from sembridge.language_transfer.bridge import Bridge, bridge_settings, embed_texts
from sembridge.language_transfer.bridge_pool import combine
from sembridge.language_transfer.calibration import Calibration, calibrate, random_texts
from sembridge.language_transfer.drawn_rows import excess_firing
from sembridge.language_transfer.initialization.methods import PLACING_METHODS, initialize, place_tokens
from sembridge.language_transfer.initialization.rows import Initialization, PlacedTokens, RowKind
from sembridge.language_transfer.initialization.sembridge import Embed, bridged_texts
from sembridge.language_transfer.initialization.text_words import TextWords, read_text_words
from sembridge.language_transfer.initialization.word_vectors import Tokenizers
from sembridge.language_transfer.preparation import Vocabularies, prepare_transfer
from sembridge.language_transfer.recipe import TransferRecipe

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder
    from transformers import PreTrainedTokenizerBase
from sembridge.language_transfer.folder import LanguageTransfer, LeastCertainToken, Origin, TransferReport

logger = logging.getLogger(__name__)
N_LEAST_CERTAIN = 50
N_TEXTS_FOR_EXCESS = 16
N_LINES_FOR_WORDS = 20_000
VERSIONS_OF = ("sembridge", "sentence-transformers", "transformers", "torch", "numpy")


def transfer(
    encoder: "SparseEncoder",
    target_tokenizer: "PreTrainedTokenizerBase",
    bridge: Bridge | Sequence[Bridge] | None,
    *,
    recipe: TransferRecipe | None = None,
    origin: Origin | None = None,
    device: str = "cpu",
    cache_folder: Path | None = None,
    progress: bool = False,
) -> LanguageTransfer:
    """`encoder` over the vocabulary of `target_tokenizer`, with every new row built by `recipe.method`.

    Args:
        encoder: the English sparse encoder; it is not changed.
        target_tokenizer: its vocabulary becomes the output space.
        bridge: multilingual dense encoder, or several (a list) whose cosines are averaged on a common scale (module
            `bridges`); None for methods that need none.
        recipe: settings; `TransferRecipe()` by default.
        origin: names for the report and the model card.
        device: where similarities are computed.
        cache_folder: of the bridge's vectors and of trained ones (focus), by default below the Hugging Face cache.
        progress: show progress bars on stderr.

    Raises:
        SembridgeError: a model does not fit, the bridge gives unusable vectors, or a file that the method needs is
            missing or unusable.

    Example:
        >>> result = transfer(load_encoder("mini/splade-en"), load_tokenizer("mini/tokenizer-ko"),
        ...                   load_bridge("mini/bridge"))  # doctest: +SKIP
        >>> result.save("splade-ko")  # doctest: +SKIP
    """
    recipe, origin = recipe or TransferRecipe.build({}), origin or Origin()
    bridges = [] if bridge is None else list(bridge) if isinstance(bridge, list | tuple) else [cast("Bridge", bridge)]
    if recipe.method == "sembridge" and not bridges:
        raise SembridgeError(
            "Method sembridge needs a bridge; give a multilingual dense encoder, e.g. intfloat/multilingual-e5-small."
        )
    recipe.check_files()
    clock = _Clock()
    with clock.stage("vocabularies"):
        prepared = prepare_transfer(encoder, target_tokenizer, recipe)
        warn_of_habits(prepared.tokenizer, encoder.tokenizer)
    target_tokenizer, vocabularies = prepared.tokenizer, prepared.vocabularies
    embed, described = None, None
    if recipe.method == "sembridge":
        one = [partial(embed_texts, each, cache_folder=cache_folder, progress=progress) for each in bridges]
        with clock.stage("bridge"):
            embed, described = _embed_by(bridges, one, vocabularies, recipe, device)
        embed = clock.timed("bridge", embed)
    placed: PlacedTokens | None = None
    source, target, overlap = vocabularies.source, vocabularies.target, vocabularies.overlap
    if recipe.method in PLACING_METHODS:
        tokenizers = Tokenizers(encoder.tokenizer, target_tokenizer)
        with clock.stage("word vectors"):
            placed = place_tokens(
                source, target, overlap, recipe, tokenizers, cache_folder=cache_folder, progress=progress
            )
    words = None
    if recipe.reads_words:
        with clock.stage("words"):
            words = _text_words(recipe, target_tokenizer, n_tokens=len(target), progress=progress)
    with clock.stage("weights"):
        rows = initialize(source, target, overlap, recipe, embed=embed, placed=placed, words=words, device=device)
    if rows.residual > 0:
        with clock.stage("residual"):
            excess = excess_firing(prepared.encoder, rows, random_texts(source)[:N_TEXTS_FOR_EXCESS])
        rows = replace(rows, residual=rows.residual / excess**2)  # a share of variance: the amplitude by the excess
    with clock.stage("surgery"):
        transferred = transplant(prepared.encoder, target_tokenizer, rows.rows, n_target=len(target))
    calibration = Calibration()
    if recipe.is_calibrated and len(rows.new_ids()):
        with clock.stage("calibration"):
            calibration = calibrate(transferred, prepared.encoder, source, target, rows, recipe)
    alignment = Alignment(rows.weights, rows.kinds, vocabularies.source.tokens, rows.confidence)
    report = _report(
        vocabularies, rows, alignment, recipe, origin, clock, encoder=prepared.encoder, transferred=transferred,
        calibration=calibration, bridge=described,
    )  # fmt: skip
    return LanguageTransfer(transferred.encoder, alignment, report, recipe, origin)


def _embed_by(
    bridges: Sequence[Bridge],
    embeds: Sequence[Embed],
    vocabularies: Vocabularies,
    recipe: TransferRecipe,
    device: str,
) -> tuple[Embed, dict[str, object]]:
    """One or several bridges as one, and what the report says of them."""
    settings = [dict[str, object](bridge_settings(bridge)) for bridge in bridges]
    if len(bridges) == 1:
        return embeds[0], settings[0]
    texts = bridged_texts(vocabularies.source, vocabularies.target, vocabularies.overlap, recipe)
    found = combine(embeds, *texts, recipe, device=device)
    each = [{**of_bridge, "weight": weight} for of_bridge, weight in zip(settings, found.weights, strict=True)]
    each.sort(key=lambda of_bridge: (str(of_bridge["name"]), str(of_bridge["fingerprint"])))
    name = " + ".join(dict.fromkeys(str(of_bridge["name"]) for of_bridge in each))
    return found.embed, {"name": name, "bridges": each}


def _text_words(
    recipe: TransferRecipe, tokenizer: "PreTrainedTokenizerBase", *, n_tokens: int, progress: bool
) -> TextWords:
    """Words of the target text, counted in lines that are spread over it.

    Where words are not set apart by spaces, what stands between two spaces is half a sentence and left out.
    """
    lines = spread_lines(recipe.file("target_text"), N_LINES_FOR_WORDS)
    counts = Counter(word for line in lines for word in written_words(line) if not UNSPACED.search(word))
    if not counts:
        raise SembridgeError(
            f"Target text {recipe.target_text} has no words between spaces, which through_words needs; leave it off "
            "for languages written without spaces."
        )
    return read_text_words(counts, tokenizer, n_tokens=n_tokens, progress=progress)


class _Clock:
    """Seconds by stage; a stage timed inside another is not counted twice."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start, inner = time.perf_counter(), sum(self.seconds.values())
        yield
        nested = sum(self.seconds.values()) - inner
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start - nested

    def timed(
        self, name: str, function: Callable[[Sequence[str]], np.ndarray]
    ) -> Callable[[Sequence[str]], np.ndarray]:
        def run(texts: Sequence[str]) -> np.ndarray:
            with self.stage(name):
                return function(texts)

        return run


def _report(
    vocabularies: Vocabularies,
    rows: Initialization,
    alignment: Alignment,
    recipe: TransferRecipe,
    origin: Origin,
    clock: _Clock,
    *,
    encoder: Anatomy,
    transferred: Anatomy,
    calibration: Calibration,
    bridge: Mapping[str, object] | None,
) -> TransferReport:
    target = vocabularies.target
    combined = np.flatnonzero(rows.kinds == RowKind.COMBINED)
    support = Counter(rows.weights.support_sizes().numpy()[combined].tolist())
    return TransferReport(
        source_encoder=origin.source_encoder,
        source_folder=place if (place := lasting_name(origin.source_encoder)) != origin.source_encoder else None,
        source_fingerprint=weights_fingerprint(encoder.encoder),
        target_tokenizer=origin.target_tokenizer,
        bridge=None if bridge is None else {**bridge, "name": origin.bridge or bridge["name"]},
        language=origin.language,
        n_source=len(vocabularies.source),
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
        mean_norms=_mean_norms(encoder, transferred, rows.kinds),
        seconds={stage: round(seconds, 3) for stage, seconds in clock.seconds.items()},
        recipe=recipe.settings(),
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
