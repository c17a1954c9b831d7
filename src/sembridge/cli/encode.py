"""`sembridge encode`: a corpus of any size into shards of sparse vectors."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sembridge.cli.options import Encoder, Json, Loading, Settings, verb
from sembridge.cli.printing import console, print_json
from sembridge.deployment.recipe import EncodeRecipe
from sembridge.files.progress import Progress
from sembridge.files.recipe import RUNNING

if TYPE_CHECKING:
    from sembridge.deployment.encoding import EncodingReport


@dataclass(frozen=True)
class Workers:
    """Who encodes: this process or Ray's, here or on several machines."""

    shard: Annotated[
        str,
        typer.Option(metavar="I/N", help="Every n-th shard only, from the i-th on; n machines together write all."),
    ] = "1/1"
    ray: Annotated[
        bool, typer.Option("--ray", help="Encode on Ray workers, here or on a cluster.", rich_help_panel=RUNNING)
    ] = False
    workers: Annotated[int, typer.Option(help="Ray workers.", metavar="NUMBER", min=1, rich_help_panel=RUNNING)] = 1


@verb("""Examples:

`sembridge encode splade-ko corpus.jsonl.gz --out shards --encode-with fast`

`sembridge encode splade-ko corpus.parquet --out shards-by-four --shard 2/4`

`sembridge encode splade-ko corpus.jsonl --out english-shards --into mini/splade-en`

`sembridge encode splade-ko corpus.jsonl --out shards-by-ray --ray --workers 8`""")
def encode(
    encoder: Encoder,
    corpus: Annotated[str, typer.Argument(help="BEIR folder, .jsonl, .jsonl.gz, .parquet or mini/NAME.")],
    *,
    into: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="The English encoder that ENCODER was transferred from: shards for an index of its documents.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Shards; an interrupted run goes on where it stopped.")],
    settings: Settings[EncodeRecipe],
    workers: Workers,
    loading: Loading,
    as_json: Json = False,
) -> None:
    """Encodes a corpus of any size into Parquet shards, on one machine or many; a killed run goes on."""
    recipe = settings.recipe
    from sembridge.deployment.shards import Share
    from sembridge.retrieval.corpus import corpus_file, count_documents

    share = Share.parse(workers.shard)
    loading.check(*filter(None, (encoder, into)))
    corpus_file(corpus)
    from sembridge.deployment.encoding import encode_shards

    loaded = loading.encoder(encoder) if into is None else loading.pivot(encoder, into)
    total = count_documents(corpus)
    total = None if total is None else total // share.of
    with Progress("encode", total=total, unit="documents", shown=not as_json) as progress:
        report = encode_shards(
            loaded, corpus, out, name=encoder, recipe=recipe, share=share,
            ray_workers=workers.workers if workers.ray else None, on_progress=progress.reach,
        )  # fmt: skip
    if as_json:
        print_json(asdict(report))
    else:
        _print_report(report)


def _print_report(report: "EncodingReport") -> None:
    if kept := report.n_documents - report.n_encoded:
        console.print(f"{kept:,} documents were encoded before")
    rate = f", {report.n_encoded / report.seconds:,.0f} a second" if report.n_encoded else ""
    console.print(f"{report.n_encoded:,} documents encoded in {report.seconds:.1f} s{rate}")
    part = "" if report.share == "1/1" else f" (shard {report.share} of the corpus)"
    console.print(
        f"{report.n_documents:,} documents in {report.n_shards:,} files in {report.folder}{part}, "
        f"{report.active_dims:.0f} active dims each"
    )
