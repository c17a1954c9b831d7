"""`sembridge bridge-vectors`: a bridge's vectors of a vocabulary, from one machine to another."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sembridge.cli.help import Verbs
from sembridge.cli.options import Cache, Json, Loading, Only, Settings, verb
from sembridge.cli.printing import console, print_json
from sembridge.cli.program import app
from sembridge.files.atomic import check_output_file
from sembridge.language_transfer.recipe import TransferRecipe

if TYPE_CHECKING:
    from sembridge.language_transfer.bridge import Bridge

bridge_vectors = typer.Typer(
    name="bridge-vectors",
    cls=Verbs,
    no_args_is_help=True,
    help="Carries a bridge's vectors of a vocabulary from one machine to another.",
)
app.add_typer(bridge_vectors)

File = Annotated[Path, typer.Argument(help="Of the vectors, a safetensors file.")]
BridgeName = Annotated[str, typer.Argument(metavar="BRIDGE", help="The bridge: hub id, folder or mini/NAME.")]
Dtype = Annotated[Settings[TransferRecipe], Only(("bridge_dtype",))]


@verb(
    """Example:

`sembridge bridge-vectors export mini/bridge mini/splade-en english.safetensors`""",
    of=bridge_vectors,
)
def export(
    bridge: BridgeName,
    tokenizer: Annotated[str, typer.Argument(help="Encoder or tokenizer whose vocabulary it is: hub id, folder.")],
    file: File,
    *,
    settings: Dtype,
    cache: Cache = None,
    loading: Loading,
    as_json: Json = False,
) -> None:
    """Writes the vectors of all texts of a vocabulary to one file; those that are not kept yet are computed."""
    check_output_file(file)
    loading.check(bridge, tokenizers=[tokenizer])
    from sembridge.encoders.vocabulary import read_vocabulary
    from sembridge.language_transfer.bridge_vectors import export_vectors, texts_of

    n_texts = export_vectors(
        _bridge(bridge, loading, settings),
        texts_of(read_vocabulary(loading.tokenizer(tokenizer))),
        file,
        cache_folder=cache,
        progress=not as_json,
    )
    _print(n_texts, file, as_json=as_json)


@verb(
    """Example:

`sembridge bridge-vectors import mini/bridge english.safetensors`""",
    of=bridge_vectors,
)
def import_(
    bridge: BridgeName,
    file: File,
    *,
    settings: Dtype,
    cache: Cache = None,
    loading: Loading,
    as_json: Json = False,
) -> None:
    """Takes such a file into the cache, if it is of this very bridge."""
    loading.check(bridge)
    from sembridge.language_transfer.bridge_vectors import import_vectors

    n_texts = import_vectors(_bridge(bridge, loading, settings), file, cache_folder=cache)
    _print(n_texts, file, as_json=as_json)


def _bridge(name: str, loading: Loading, settings: Settings[TransferRecipe]) -> "Bridge":
    from sembridge.language_transfer.even_batches import in_dtype

    (bridge,) = in_dtype([loading.bridge(name)], settings.recipe.bridge_dtype)
    loaded: Bridge = bridge
    return loaded


def _print(n_texts: int, file: Path, *, as_json: bool) -> None:
    if as_json:
        print_json({"file": str(file), "texts": n_texts})
    else:
        console.print(f"{n_texts:,} vectors: {file}")
