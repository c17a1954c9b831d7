"""The whole operation: an English sparse encoder, a target tokenizer and a bridge become a target-language encoder."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from sembridge.encoders.text_statistics import warn_of_text
from sembridge.encoders.tokenizer_habits import warn_of_habits
from sembridge.encoders.transplant import transplant
from sembridge.errors import SembridgeError
from sembridge.language_transfer.alignment import Alignment
from sembridge.language_transfer.bridge import Bridge
from sembridge.language_transfer.bridge_pool import join_bridges
from sembridge.language_transfer.calibration import Calibration, calibrate, random_texts
from sembridge.language_transfer.clock import Clock
from sembridge.language_transfer.drawn_rows import excess_firing
from sembridge.language_transfer.folder import LanguageTransfer, Origin
from sembridge.language_transfer.initialization.initialize import initialize
from sembridge.language_transfer.initialization.inputs import Inputs
from sembridge.language_transfer.origins import RowNames
from sembridge.language_transfer.preparation import prepare_transfer
from sembridge.language_transfer.recipe import TransferRecipe
from sembridge.language_transfer.reporting import report_transfer

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder
    from transformers import PreTrainedTokenizerBase

N_TEXTS_FOR_EXCESS = 16
MOST_EXCESS = 1.5  # the bundled encoders have 1.0, a narrow one (128 wide) 3.1


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
            `bridge_pool`); None for methods that need none.
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
    recipe, origin, clock = recipe or TransferRecipe.build({}), origin or Origin(), Clock()
    bridges = _bridges_for(recipe, bridge)
    recipe.check_files()
    with clock.stage("vocabularies"):
        prepared = prepare_transfer(encoder, target_tokenizer, recipe)
        warn_of_habits(prepared.tokenizer, prepared.source_tokenizer)
        if recipe.text_read is not None:
            warn_of_text(prepared.tokenizer, prepared.vocabularies.target, recipe.text_read)
    vocabularies = prepared.vocabularies
    joined = join_bridges(
        bridges, vocabularies, recipe, device=device, cache_folder=cache_folder, progress=progress, clock=clock
    )
    inputs = Inputs(
        vocabularies, prepared.source_tokenizer, prepared.tokenizer, recipe, joined,
        device=device, cache_folder=cache_folder, progress=progress, clock=clock,
    )  # fmt: skip
    with clock.stage("weights"):
        rows = initialize(inputs)
    if rows.residual > 0:
        with clock.stage("residual"):
            excess = excess_firing(prepared.encoder, rows, random_texts(vocabularies.source)[:N_TEXTS_FOR_EXCESS])
        if excess > MOST_EXCESS:
            rows = replace(rows, residual=0.0)
    with clock.stage("surgery"):
        transferred = transplant(prepared.encoder, prepared.tokenizer, rows.rows, n_target=len(vocabularies.target))
    calibration = Calibration()
    if recipe.is_calibrated and len(rows.new_ids()):
        with clock.stage("calibration"):
            calibration = calibrate(
                transferred, prepared.encoder, vocabularies.source, vocabularies.target, rows, recipe
            )
    names = RowNames(vocabularies.target.tokens, vocabularies.target.texts)
    alignment = Alignment(rows.weights, rows.kinds, vocabularies.source.tokens, rows.confidence, names)
    report = report_transfer(
        prepared, transferred, rows, alignment, calibration, origin, bridge=joined.settings,
        seconds=clock.seconds,
    )  # fmt: skip
    return LanguageTransfer(transferred.encoder, alignment, report, recipe, origin)


def _bridges_for(recipe: TransferRecipe, bridge: Bridge | Sequence[Bridge] | None) -> list[Bridge]:
    """The bridges that the method asks; none where it needs none, whatever was given."""
    if not recipe.rule.needs_bridge:
        return []
    bridges = [] if bridge is None else list(bridge) if isinstance(bridge, list | tuple) else [cast("Bridge", bridge)]
    if not bridges:
        raise SembridgeError(
            f"Method {recipe.method} needs a bridge; give a multilingual dense encoder, e.g. BAAI/bge-m3."
        )
    return bridges
