"""A report for whoever decides whether to ship: one self-contained HTML file about transfers, trainings and grids."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from sembridge.errors import SembridgeError
from sembridge.experiments.report.coverage import coverage
from sembridge.experiments.report.explorer import TokenColumns, pack_explorer
from sembridge.experiments.report.folders import Folders, TransferFolder, read_folders
from sembridge.experiments.report.measurements import Measurements, load_texts, measurements, training_figure
from sembridge.experiments.report.page import Content, render
from sembridge.experiments.report.transfers import (
    Examples,
    Measured,
    as_results,
    bundled_data,
    find_examples,
    load_english,
    measure,
    read_alignment,
)
from sembridge.files.atomic import check_output_file, write_file

logger = logging.getLogger(__name__)

DEFAULT_TITLE = "Language transfer report"
PAGE_BYTES = 1_950_000  # the explorer's own text included, below two million: what a mail carries and a phone opens
LEAST_EXPLORER_BYTES = 400_000  # where figures and tables take the rest
Step = Callable[[str], None]


@dataclass(frozen=True)
class ReportSettings:
    """What the page shows beside the folders' own files.

    Attributes:
        texts: shown expanded by every transferred encoder, instead of bundled questions and answers.
        examples: whether texts are expanded at all; needs the encoders.
        measure: whether transfers are measured on the bundled data of their language; None: where no grid is given.
        data_folder: holds the grids' data sets, for the texts of their queries.
    """

    title: str = DEFAULT_TITLE
    texts: Sequence[str] = ()
    examples: bool = True
    measure: bool | None = None
    data_folder: Path | None = None


@dataclass
class _Gathered:
    """What the transferred encoders were asked for, one after the other."""

    columns: list[TokenColumns] = field(default_factory=list)
    examples: list[Examples] = field(default_factory=list)
    measured: list[Measured] = field(default_factory=list)


def write_report(
    folders: Sequence[str | Path],
    out: str | Path,
    *,
    settings: ReportSettings | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> Path:
    """`out`, the page about the folders; on any failure nothing is left behind and an old file stays.

    Args:
        folders: written by `sembridge transfer`, `train` or `reproduce`, in any mix and order.

    Raises:
        SembridgeError: `out` exists (and `overwrite` is not set) or cannot be written, and as `render_report`.

    Example:
        >>> write_report(["splade-ko", "mini-grid"], "report.html")  # doctest: +SKIP
    """
    out = Path(out)
    check_output_file(out)
    if out.exists() and not overwrite:
        raise SembridgeError(f"{out} exists; give a new name, or --overwrite to replace it.")
    return write_file(out, [render_report(folders, settings=settings, progress=progress)])


def render_report(
    folders: Sequence[str | Path], *, settings: ReportSettings | None = None, progress: bool = False
) -> str:
    """The page's text. The same folders, models and settings give the same bytes.

    Raises:
        SembridgeError: a folder that is none of the three kinds, was given twice or holds a damaged file.
    """
    settings = settings or ReportSettings()
    found = read_folders([Path(folder) for folder in folders])
    with _Steps(_n_steps(found, settings), show=progress) as step:
        gathered = _gather(found, settings, step)
        content = _content(found, settings, gathered, step)
    without = len(render(content).encode("utf-8"))
    explorer = pack_explorer(gathered.columns, budget=max(PAGE_BYTES - without, LEAST_EXPLORER_BYTES))
    return render(replace(content, explorer=explorer))


def _content(found: Folders, settings: ReportSettings, gathered: _Gathered, step: Step) -> Content:
    names = {row.data for grid in found.grids for row in grid.results.rows}
    texts, missing = load_texts(names, settings.data_folder)
    measured = []
    for grid in found.grids:
        step(f"{grid.name}: tables and figures")
        measured.append(measurements(grid.name, "Results of a grid of experiments.", grid.results, texts))
    if gathered.measured:
        measured.append(_measured_here(gathered.measured))
    return Content(
        title=settings.title,
        notes=tuple(_notes(found, measured, gathered)),
        measurements=tuple(measured),
        training=training_figure(found.trainings),
        coverages=tuple(coverage(transfer) for transfer in found.transfers),
        explorer=None,
        examples=tuple(gathered.examples),
        missing_texts=missing,
    )


def _measured_here(measured: Sequence[Measured]) -> Measurements:
    texts = {one.report.data: one.data for one in measured}
    about = (
        "Measured for this page on the bundled questions and answers, a small test that says whether an encoder works "
        "at all; measure on your own queries before you ship."
    )
    return measurements("Bundled questions and answers", about, as_results(measured), texts)


def _gather(found: Folders, settings: ReportSettings, step: Step) -> _Gathered:
    gathered = _Gathered()
    for transfer in _with_own_alignment(found.transfers):
        step(f"{transfer.name}: alignment")
        gathered.columns.append(read_alignment(transfer))
    for transfer in found.transfers if settings.examples or _measures(found, settings) else ():
        _ask_encoder(transfer, found, settings, gathered, step)
    return gathered


def _ask_encoder(
    transfer: TransferFolder, found: Folders, settings: ReportSettings, gathered: _Gathered, step: Step
) -> None:
    """Adds the examples and the measurement of one transfer; its encoder is loaded for both, and let go."""
    data = bundled_data(transfer)
    if data is None and not settings.texts:
        logger.info("%s: no bundled data of its language, so no examples", transfer.name)
        return
    from sembridge.language_transfer.explanation import Explainer

    explainer = Explainer.load(transfer.path)
    if settings.examples:
        step(f"{transfer.name}: examples")
        if (examples := find_examples(transfer, explainer, data, settings.texts)) is not None:
            gathered.examples.append(examples)
    if data is not None and _measures(found, settings):
        step(f"{transfer.name}: measuring on {data.name}")
        gathered.measured.append(measure(transfer, explainer.encoder, load_english(transfer), data))


def _measures(found: Folders, settings: ReportSettings) -> bool:
    return not found.grids if settings.measure is None else settings.measure


def _with_own_alignment(transfers: Sequence[TransferFolder]) -> Iterator[TransferFolder]:
    """The transfers without those fine-tuned ones whose alignment is that of another folder given."""
    from hashlib import sha256

    from sembridge.experiments.report.folders import ALIGNMENT_FILE

    seen: set[str] = set()
    for transfer in sorted(transfers, key=lambda one: one.is_trained):
        digest = sha256((transfer.path / ALIGNMENT_FILE).read_bytes()).hexdigest()
        if digest not in seen:
            seen.add(digest)
            yield transfer


def _notes(found: Folders, measured: Sequence[Measurements], gathered: _Gathered) -> Iterator[str]:
    yield from _licence_notes(found.transfers)
    if not measured:
        yield (
            "Nothing was measured: no grid's folder was given, and no bundled questions were asked (--no-measure, or "
            "none in the language). "
            "`sembridge evaluate` compares an encoder with BM25 on your own queries."
        )
    for one in measured:
        if not one.headlines:
            yield f"{one.name}: no transferred encoder was measured there yet."
    for transfer in found.transfers:
        if transfer.report.counts.get("fallback", 0) > 0.2 * transfer.report.n_target:
            yield (
                f"{transfer.name}: more than a fifth of the rows was drawn at random, because no English token was "
                "similar enough; another bridge or a tokenizer with whole words may do better."
            )
    if any(transfer.is_trained for transfer in found.transfers) and gathered.columns:
        yield "Training moves the rows: the explorer shows what a fine-tuned encoder's rows were before it."


def _licence_notes(transfers: Sequence[TransferFolder]) -> Iterator[str]:
    from sembridge.encoders.loading import read_model_card
    from sembridge.encoders.model_card import is_non_commercial

    for transfer in transfers:
        card, source = read_model_card(transfer.path), transfer.report.source_encoder
        named = card.license_name or card.license
        if is_non_commercial(card.license) or is_non_commercial(card.license_name):
            yield f"{transfer.name}: NON-COMMERCIAL licence ({named}), carried over from {source}."
        elif named:
            yield f"{transfer.name}: licence {named}, carried over from {source}."
        else:
            yield f"{transfer.name}: the licence of {source} is unknown; find out before you ship."


def _n_steps(found: Folders, settings: ReportSettings) -> int:
    per_transfer = 1 + settings.examples + _measures(found, settings)
    return per_transfer * len(found.transfers) + len(found.grids)


class _Steps:
    """A bar on stderr that a call with the next step's name advances."""

    def __init__(self, total: int, *, show: bool) -> None:
        from tqdm import tqdm

        self._bar = tqdm(total=total, disable=not show, unit="step", leave=False)
        self._begun = False

    def __enter__(self) -> Step:
        return self._step

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def _step(self, name: str) -> None:
        self._bar.update(int(self._begun))
        self._bar.set_description(name)
        self._begun = True
