"""`sembridge report`: one HTML page about transfers, trainings and grids."""

from pathlib import Path
from typing import Annotated

import typer

from sembridge.cli.options import Json, verb
from sembridge.cli.printing import console, print_json
from sembridge.cli.program import quiet_loading


@verb("""Examples:

`sembridge report splade-ko --out splade-ko.html`

`sembridge report splade-ko --data mini/faq-ko --out splade-ko.html --overwrite`

`sembridge report mini-grid splade-ko splade-ru --grid-data DATA --title "Korean and Russian" --overwrite`""")
def report(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="DIR...", help="Folders of `transfer`, `train` and `reproduce`, in any mix."),
    ],
    out: Annotated[Path, typer.Option(help="HTML file to write.")] = Path("report.html"),
    title: Annotated[str | None, typer.Option(help="Of the page.")] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(help="Shown as every transferred encoder expands it, instead of bundled texts; may be repeated."),
    ] = None,
    no_examples: Annotated[bool, typer.Option("--no-examples", help="Expand no texts.")] = False,
    measure: Annotated[
        bool | None,
        typer.Option(
            "--measure/--no-measure",
            help="Measure transfers, without --data on the bundled questions of their language; default: where no grid "
            "is given.",
        ),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(help="Measure transfers on this: BEIR folder, mini/NAME or mteb:TASK[:SUBSET]; may be repeated."),
    ] = None,
    grid_data: Annotated[
        Path | None, typer.Option(help="Folder of a grid's data sets, for the texts of its queries.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    as_json: Json = False,
) -> None:
    """Writes one self-contained HTML page for whoever decides whether to ship.

    Quality beside BM25 and the English encoder, cost, training curves, coverage, an explorer of the alignment, expanded
    examples, and the queries won and lost. It needs no network and works offline.
    """
    if text and no_examples:
        raise typer.BadParameter("texts are expanded by examples; give one of both", param_hint="--text, --no-examples")
    from sembridge.experiments.report.writing import DEFAULT_TITLE, ReportSettings, write_report

    quiet_loading()
    settings = ReportSettings(
        title=title or DEFAULT_TITLE,
        texts=tuple(text or ()),
        examples=not no_examples,
        data=tuple(data or ()),
        measure=measure,
        grid_data=grid_data,
    )
    path = write_report(folders, out, settings=settings, overwrite=overwrite, progress=True)
    size = path.stat().st_size
    if as_json:
        print_json({"report": str(path), "bytes": size})
    else:
        console.print(f"{path}: {size / 1e6:.2f} MB")
