"""A report for whoever decides whether to ship: one self-contained HTML file about transfers, trainings and grids."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
from sembridge.files.progress import Progress
from sembridge.retrieval.data import RetrievalData
from sembridge.retrieval.sources import load_retrieval_data

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
        data: retrieval data that transfers are measured on, instead of the bundled data of their language.
        measure: whether transfers are measured; None: where data or no grid is given.
        grid_data: folder that holds the grids' data sets, for the texts of their queries.
    """

    title: str = DEFAULT_TITLE
    texts: Sequence[str] = ()
    examples: bool = True
    data: Sequence[str] = ()
    measure: bool | None = None
    grid_data: Path | None = None


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
    own = _own_data(found, settings)
    with _steps(_n_steps(found, settings), show=progress) as step:
        gathered = _gather(found, settings, own, step)
        content = _content(found, settings, gathered, step)
    without = len(render(content).encode("utf-8"))
    explorer = pack_explorer(gathered.columns, budget=max(PAGE_BYTES - without, LEAST_EXPLORER_BYTES))
    return render(replace(content, explorer=explorer))


def _own_data(found: Folders, settings: ReportSettings) -> list[RetrievalData]:
    """The data of `settings`, read before any encoder is loaded.

    Raises:
        SembridgeError: there are none at a place, or nothing that could be measured on them.
    """
    if settings.grid_data is not None and not settings.grid_data.is_dir():
        raise SembridgeError(f"{settings.grid_data} is no folder; expected the one that holds the grid's data sets.")
    if settings.data and not found.transfers:
        raise SembridgeError(
            "--data names what transferred encoders are measured on, but no folder of a transfer was given; the folder "
            "of a grid's data sets is given by --grid-data."
        )
    if settings.data and settings.measure is False:
        raise SembridgeError("--data names what is to be measured; leave it away, or --no-measure.")
    return [load_retrieval_data(name) for name in settings.data]


def _content(found: Folders, settings: ReportSettings, gathered: _Gathered, step: Step) -> Content:
    names = {row.data for grid in found.grids for row in grid.results.rows}
    texts, missing = load_texts(names, settings.grid_data)
    measured = []
    for grid in found.grids:
        step(f"{grid.name}: tables and figures")
        measured.append(measurements(grid.name, "Results of a grid of experiments.", grid.results, texts))
    if gathered.measured:
        measured.append(_measured_here(gathered.measured, own=bool(settings.data)))
    return Content(
        title=settings.title,
        notes=tuple(_notes(found, settings, measured, gathered)),
        measurements=tuple(measured),
        training=training_figure(found.trainings),
        coverages=tuple(coverage(transfer) for transfer in found.transfers),
        explorer=None,
        examples=tuple(gathered.examples),
        missing_texts=missing,
    )


def _measured_here(measured: Sequence[Measured], *, own: bool) -> Measurements:
    texts = {one.report.data: one.data for one in measured}
    said = tuple(
        f"{verdict.sentence[:-1]} ({verdict.measure} on {one.report.data})."
        for one in measured
        for verdict in one.report.verdicts
    )
    if own:
        about = f"Measured for this page on {', '.join(texts)}."
        return measurements("Your data", about, as_results(measured), texts, verdicts=said)
    about = (
        "Measured for this page on the bundled questions and answers, a small test that says whether an encoder works "
        "at all; measure on your own queries before you ship: `sembridge report DIR --data MYSET`."
    )
    return measurements("Bundled questions and answers", about, as_results(measured), texts, verdicts=said)


def _gather(found: Folders, settings: ReportSettings, own: Sequence[RetrievalData], step: Step) -> _Gathered:
    gathered = _Gathered()
    for transfer in _with_own_alignment(found.transfers):
        step(f"{transfer.name}: alignment")
        gathered.columns.append(read_alignment(transfer))
    for transfer in found.transfers if settings.examples or _measures(found, settings) else ():
        bundled = None if own else bundled_data(transfer)
        _ask_encoder(transfer, own or ([bundled] if bundled else []), found, settings, gathered, step)
    return gathered


def _ask_encoder(
    transfer: TransferFolder,
    data_sets: Sequence[RetrievalData],
    found: Folders,
    settings: ReportSettings,
    gathered: _Gathered,
    step: Step,
) -> None:
    """Adds the examples and the measurements of one transfer; its encoder is loaded for both, and let go."""
    if not data_sets and not settings.texts:
        logger.info("%s: no bundled data of its language, so no examples", transfer.name)
        return
    from sembridge.language_transfer.explanation import Explainer

    explainer = Explainer.load(transfer.path)
    if settings.examples:
        step(f"{transfer.name}: examples")
        if (examples := find_examples(transfer, explainer, next(iter(data_sets), None), settings.texts)) is not None:
            gathered.examples.append(examples)
    if data_sets and _measures(found, settings):
        step(f"{transfer.name}: measuring on {', '.join(data.name for data in data_sets)}")
        gathered.measured += measure(transfer, explainer.encoder, load_english(transfer), data_sets)


def _measures(found: Folders, settings: ReportSettings) -> bool:
    return bool(settings.data) or not found.grids if settings.measure is None else settings.measure


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


def _notes(
    found: Folders, settings: ReportSettings, measured: Sequence[Measurements], gathered: _Gathered
) -> Iterator[str]:
    yield from _licence_notes(found.transfers)
    if not measured:
        yield _not_measured(found, settings)
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


def _not_measured(found: Folders, settings: ReportSettings) -> str:
    """Why nothing was, and the command that measures."""
    name = next((str(transfer.path) for transfer in found.transfers), "DIR")
    languages = sorted({transfer.language for transfer in found.transfers})
    reason = (
        "as `--no-measure` wishes"
        if settings.measure is False
        else f"there are no bundled questions in {', '.join(languages)}"
        if languages
        else "no folder of a transfer or grid was given"
    )
    return (
        f"Nothing was measured: {reason}. `sembridge report {name} --data MYSET` measures on your own queries "
        "beside BM25 and the English encoder."
    )


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


@contextmanager
def _steps(total: int, *, show: bool) -> Iterator[Step]:
    """A bar on stderr that a call with the next step's name advances."""
    n_begun = 0
    with Progress("report", total=total, unit="steps", shown=show) as bar:

        def begin(name: str) -> None:
            nonlocal n_begun
            bar.name = f"report, {name}"
            bar.reach(n_begun)
            n_begun += 1

        yield begin
        bar.reach(n_begun)
