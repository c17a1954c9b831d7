"""`sembridge explain`: the English tokens behind a token, a text or a match."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sembridge.cli.options import Device, Json, verb
from sembridge.cli.printing import figure_text, print_json, print_table, sources_text
from sembridge.cli.program import quiet_loading
from sembridge.encoders.names import did_you_mean, folders_beside
from sembridge.errors import SembridgeError

if TYPE_CHECKING:
    from sembridge.language_transfer.explanation import Dimension, SharedDimension, TokenExplanation


@verb("""Examples:

`sembridge explain splade-ko 학교`

`sembridge explain splade-ko "학교는 몇 시에 시작하나요?" --document "수업은 아홉 시에 시작합니다."`""")
def explain(
    folder: Annotated[Path, typer.Argument(help="Folder written by `sembridge transfer`.")],
    texts: Annotated[list[str], typer.Argument(help="Tokens, or texts.", metavar="TOKEN_OR_TEXT...")],
    document: Annotated[
        str | None, typer.Option(help="Explain the match of each text, as a query, with this document.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Dimensions to show.")] = 15,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Shows the English tokens behind a token, a text's strongest dimensions, or a query's match with a document."""
    if not folder.is_dir():
        raise SembridgeError(
            f"{folder} is no folder; expected one written by `sembridge transfer`."
            f"{did_you_mean(str(folder), folders_beside(folder))}"
        )
    from sembridge.language_transfer.explanation import Explainer

    explainer = Explainer.load(folder, device=device)
    if document is not None or not all(map(explainer.token_ids, texts)):  # the encoder is needed
        quiet_loading()
    results: list[dict[str, Any]] = []
    for text in texts:
        found = explainer.explain(text, document=document, top=top)
        if document is not None:
            results.append({"query": text, "document": document, "shared": [_match_dict(s) for s in found.shared]})
            _print_match(text, found.shared, as_json=as_json)
        elif found.tokens:
            results.append({"token": text, "tokens": [asdict(token) for token in found.tokens]})
            _print_tokens(found.tokens, as_json=as_json)
        else:
            results.append({"text": text, "dimensions": [asdict(d) for d in found.dimensions]})
            _print_dimensions(text, found.dimensions, as_json=as_json)
    if as_json:
        print_json(results)


def _print_tokens(tokens: "Sequence[TokenExplanation]", *, as_json: bool) -> None:
    if as_json:
        return
    for token in tokens:
        rows = [(part.token, f"{part.weight:.3f}", figure_text(part.similarity)) for part in token.parts]
        trust = "" if token.confidence is None else f", confidence {token.confidence:.2f}"
        print_table(("source token", "weight", "similarity"), rows, title=f"{token.token} ({token.kind}{trust})")


def _print_dimensions(text: str, dimensions: "Sequence[Dimension]", *, as_json: bool) -> None:
    if as_json:
        return
    rows = [(d.token.token, f"{d.value:.2f}", d.token.kind, sources_text(d.token.parts)) for d in dimensions]
    print_table(("dimension", "value", "kind", "made of"), rows, title=text)


def _print_match(query: str, shared: "Sequence[SharedDimension]", *, as_json: bool) -> None:
    if as_json:
        return
    rows = [
        (
            s.token.token,
            f"{s.product:.2f}",
            f"{s.query_value:.2f}",
            f"{s.document_value:.2f}",
            sources_text(s.token.parts),
        )
        for s in shared
    ]
    print_table(("dimension", "product", "query", "document", "made of"), rows, title=query)


def _match_dict(shared: "SharedDimension") -> dict[str, Any]:
    return {**asdict(shared), "product": shared.product}
