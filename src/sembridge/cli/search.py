"""`sembridge search`: the best documents of an index for some queries."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sembridge.cli.options import Json, Loading, verb
from sembridge.cli.printing import console, print_json, print_table, sources_text
from sembridge.errors import SembridgeError

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder

    from sembridge.deployment.search.explanation import ExplainedTerm
    from sembridge.deployment.search.index import SearchIndex
    from sembridge.deployment.search.protocol import Hit, Term
    from sembridge.language_transfer.pivot import Pivot

    Explain = Callable[[Sequence[Term]], list[ExplainedTerm]]

_SNIPPET = 160  # characters of a text that a table shows


@dataclass(frozen=True)
class Question:
    """What is asked for."""

    queries: Annotated[list[str], typer.Argument(help="Texts to search for.", metavar="QUERY...")]
    top_k: Annotated[int, typer.Option(min=1, metavar="NUMBER", help="Documents a query.")] = 10
    filters: Annotated[
        list[str] | None,
        typer.Option("--filter", metavar="FIELD=VALUE", help="That a document must have; may be repeated."),
    ] = None
    explain: Annotated[bool, typer.Option("--explain", help="Show the terms behind every score.")] = False

    def check(self) -> None:
        if any(not query.strip() for query in self.queries):
            raise SembridgeError("A query is empty; give a text to search for.")


@dataclass(frozen=True)
class Places:
    """What the index remembers, where it is now, and who asks."""

    encoder: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Where the index's encoder is now, if it was moved.")
    ] = None
    query_encoder: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Of an encoder transferred from the index's: ask an English index in its language.",
        ),
    ] = None
    url: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Where the index's server is now.")] = None


@verb("""Examples:

`sembridge search my-index "학교는 몇 시에 시작하나요?"`

`sembridge search my-index "학교" --filter year=2020 --top-k 3 --explain`

`sembridge search english-index "학교는 몇 시에 시작하나요?" --query-encoder splade-ko --explain`""")
def search(
    folder: Annotated[Path, typer.Argument(help="Folder written by `sembridge index`.")],
    question: Question,
    places: Places,
    loading: Loading,
    as_json: Json = False,
) -> None:
    """Searches an index with the encoder that it was made with, or in the language of one transferred from it."""
    question.check()
    queries = question.queries
    name = places.encoder or _index_encoder(folder)
    loading.check(name)
    from sembridge.deployment.search.index import SearchIndex

    with SearchIndex.open(folder, url=places.url) as opened:
        answer = _light_answer(opened, name, question, places, loading) or _answer(
            opened, name, question, places, loading
        )
    if as_json:
        print_json([_as_dict(*of_query) for of_query in zip(queries, answer.found, answer.explained, strict=True)])
        return
    for of_query in zip(queries, answer.found, answer.explained, strict=True):
        _print_hits(*of_query)


@dataclass(frozen=True)
class _Answer:
    """Of every query its hits, and how their terms are explained."""

    found: "list[list[Hit]]"
    explained: "list[Explain | None]"


def _light_answer(
    opened: "SearchIndex", name: str, question: Question, places: Places, loading: Loading
) -> _Answer | None:
    """The answer without torch; None where the index knows no such way, or it would take longer."""
    from sembridge.deployment.search.light import LightWay

    if places.query_encoder is not None or loading.device != "cpu":
        return None
    light = LightWay.open(opened.folder, name, n_queries=len(question.queries))
    if light is None:
        return None
    vectors = light.queries(question.queries)
    found = opened.find(vectors, top_k=question.top_k, filters=question.filters or (), with_terms=question.explain)
    return _Answer(found, [light.explainer().explain if question.explain else None] * len(found))


def _answer(opened: "SearchIndex", name: str, question: Question, places: Places, loading: Loading) -> _Answer:
    """The answer by the whole encoder."""
    queries = question.queries
    loaded = loading.encoder(name)
    pivot = None if places.query_encoder is None else _pivot(places.query_encoder, loaded)
    found = opened.search(
        pivot or loaded, queries, top_k=question.top_k, filters=question.filters or (), with_terms=question.explain
    )
    if not question.explain:
        return _Answer(found, [None] * len(queries))
    from sembridge.deployment.search.explanation import TermExplainer
    from sembridge.encoders.names import resolve

    explainer = TermExplainer.of(loaded, resolve(name), n_dims=opened.manifest.encoder.n_dims)
    origins = [None if pivot is None else pivot.origins(query) for query in queries]
    return _Answer(found, [partial(explainer.explain, origins=of_query) for of_query in origins])


def _pivot(folder: Path, source: "SparseEncoder") -> "Pivot":
    from sembridge.language_transfer.pivot import Pivot

    return Pivot.load(folder, source)


def _index_encoder(folder: Path) -> str:
    """The encoder that the manifest names, or a refusal where it was a folder that is gone."""
    from sembridge.deployment.search.manifest import read_index_manifest

    name = read_index_manifest(folder).encoder.name
    if Path(name).is_absolute() and not Path(name).is_dir():
        raise SembridgeError(
            f"The encoder of index {folder} is no longer at {name}; say where it is now by --encoder FOLDER."
        )
    return name


def _as_dict(query: str, hits: "Sequence[Hit]", explain: "Explain | None") -> dict[str, Any]:
    shown = []
    for hit in hits:
        facts = asdict(hit)
        facts.pop("terms")
        if explain is not None:
            facts["terms"] = [asdict(term) for term in explain(hit.terms)]
        shown.append(facts)
    return {"query": query, "hits": shown}


def _print_hits(query: str, hits: "Sequence[Hit]", explain: "Explain | None") -> None:
    console.print(query, style="bold")
    if not hits:
        console.print("  nothing found")
    for rank, hit in enumerate(hits, start=1):
        console.print(f"{rank:>3}  {hit.score:.2f}  {hit.id}  {_snippet(hit)}")
        if explain is not None:
            rows = [
                (f"     {t.token}", f"{t.product:.2f}", f"{t.query_weight:.2f}", f"{t.document_weight:.2f}",
                 sources_text(t.parts))
                for t in explain(hit.terms[:8])
            ]  # fmt: skip
            print_table(("     term", "product", "query", "document", "made of"), rows)


def _snippet(hit: "Hit") -> str:
    text = " ".join(f"{hit.title}  {hit.text}".split())
    return text if len(text) <= _SNIPPET else text[: _SNIPPET - 1] + "…"
