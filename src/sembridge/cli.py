"""Arguments, printing and exit codes; no decisions.

0 done, 1 refused with one clear line, 2 wrong usage, 130 interrupted. Results go to stdout, progress to stderr.
Heavy packages are imported inside the commands: `sembridge --help` must not wait for them.
"""

import json
import logging
import os
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sembridge.errors import SembridgeError
from sembridge.output import check_output_folder, write_failure
from sembridge.recipes import TransferRecipe

if TYPE_CHECKING:
    from sembridge.alignment import SourcePart
    from sembridge.demo import Demonstration
    from sembridge.explain import Dimension, SharedDimension, TokenExplanation
    from sembridge.inspection import Inspection
    from sembridge.language_transfer import TransferReport, Vocabularies

app = typer.Typer(
    name="sembridge",
    help="Moves an English learned sparse retrieval encoder (SPLADE) to another language.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
# No markup, no emoji codes: tokens and texts such as [/INST] or :book: are printed as they are.
console = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)

Source = Annotated[str, typer.Argument(help="English sparse encoder: a hub id, a folder or mini/NAME.")]
Target = Annotated[str, typer.Argument(help="Tokenizer of the target language: a hub id, a folder or mini/NAME.")]
BridgeName = Annotated[str, typer.Option("--bridge", help="Multilingual dense encoder: hub id, folder or mini/NAME.")]
RecipeFile = Annotated[Path | None, typer.Option("--recipe", help="YAML file with settings; flags go over it.")]
Preset = Annotated[str | None, typer.Option(help="default, or paper (as published).")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
Device = Annotated[str, typer.Option(help="Where models and similarities are computed: cpu, cuda, cuda:1.")]
RemoteCode = Annotated[bool, typer.Option("--trust-remote-code", help="Run Python code that comes with a model.")]
AllowPickle = Annotated[
    bool, typer.Option("--allow-pickle", help="Read pytorch_model.bin of a model that has no safetensors file.")
]

TEXT_COLUMNS = ("made of", "English tokens it is made of")
INTERRUPTED = 130
USAGE_ERROR: Any = typer.BadParameter.__mro__[1]  # click's own, or that of the copy of click inside newer typer


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The `sembridge` program."""
    _set_up()
    try:
        code = app(arguments, standalone_mode=False)  # None, or the code of an early exit as after --help
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the flush at exit would complain again
        code = 1
    except Exception as error:
        code = _report(error)
    if code == INTERRUPTED:
        print("sembridge: interrupted; nothing half-written was left behind.", file=sys.stderr)
    sys.exit(code or 0)


def _report(error: Exception) -> int:
    """The exit code of a refusal, wrong usage or a full disk, after printing it; any other error is raised again."""
    if isinstance(error, USAGE_ERROR):
        error.show()
        return 2
    message = str(error) if isinstance(error, SembridgeError) else write_failure(error)
    if message is None:
        raise error
    print(f"sembridge: {message}", file=sys.stderr)
    return 1


def _set_up() -> None:
    """One voice on stderr, and a terminated run cleans up like an interrupted one."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

    def interrupt(signal_number: int, frame: object) -> NoReturn:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


def _quiet_loading() -> None:
    """Without transformers' own progress bars of reading a file from the disk; downloads keep theirs."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"sembridge {version('sembridge')}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


@app.command(
    epilog="""Examples:

`sembridge transfer naver/splade-v3 monologg/kobigbird-bert-base splade-ko --bridge BAAI/bge-m3`

`sembridge transfer mini/splade-en mini/tokenizer-ko splade-ko --bridge mini/bridge`"""
)
def transfer(
    source: Source,
    target_tokenizer: Target,
    out: Annotated[Path, typer.Argument(help="Folder to write; it must be new or empty.")],
    bridge: BridgeName = "BAAI/bge-m3",
    preset: Preset = None,
    method: Annotated[
        str | None, typer.Option(help="sembridge, or a baseline: random, mean, univariate, multivariate.")
    ] = None,
    alpha: Annotated[
        float | None, typer.Option(help="entmax exponent; 1 softmax, 2 sparsemax, larger is sparser.")
    ] = None,
    weighting: Annotated[str | None, typer.Option(help="entmax or softmax-topk.")] = None,
    fallback: Annotated[str | None, typer.Option(help="Rows without usable similarity.")] = None,
    min_similarity: Annotated[float | None, typer.Option(help="Below it a row falls back.")] = None,
    residual: Annotated[float | None, typer.Option(help="Share of a combined row that is drawn, its own.")] = None,
    extend: Annotated[
        bool | None, typer.Option("--extend", help="Keep the English vocabulary, append new tokens.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of drawn rows.")] = None,
    recipe_file: RecipeFile = None,
    language: Annotated[str | None, typer.Option(help="Language code for the model card, e.g. ko.")] = None,
    device: Device = "cpu",
    memory_budget_mb: Annotated[int | None, typer.Option(help="For blocks of similarities.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder of cached bridge vectors.")] = None,
    trust_remote_code: RemoteCode = False,
    allow_pickle: AllowPickle = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a folder that is not empty.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show sizes, overlap and cost; write nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Moves an English sparse encoder to another language.

    Writes a stock SparseEncoder folder with `alignment.safetensors` (which English tokens every new token was made
    of), `report.json`, `recipe.yaml` and a model card.
    """
    recipe = _recipe(
        recipe_file, preset=preset, method=method, alpha=alpha, weighting=weighting, fallback=fallback, extend=extend,
        min_similarity=min_similarity, residual=residual, seed=seed, memory_budget_mb=memory_budget_mb,
    )  # fmt: skip
    if not dry_run:
        check_output_folder(out, overwrite=overwrite)
    from sembridge import language_transfer, loading

    _quiet_loading()
    safety: dict[str, Any] = {"trust_remote_code": trust_remote_code, "allow_pickle": allow_pickle}
    encoder = loading.load_encoder(source, device=device, **safety)
    tokenizer = loading.load_tokenizer(target_tokenizer, trust_remote_code=trust_remote_code)
    if dry_run:
        tokenizer = language_transfer.output_tokenizer(encoder, tokenizer, recipe)
        vocabularies = language_transfer.compare_vocabularies(encoder, tokenizer, recipe)
        _print_inspection(_inspect(encoder, tokenizer, vocabularies, recipe), as_json=as_json)
        return
    needs_bridge = recipe.method == "sembridge"
    card = loading.read_model_card(source)
    origin = language_transfer.Origin(
        source_encoder=source,
        target_tokenizer=target_tokenizer,
        bridge=bridge if needs_bridge else None,
        language=language or next(iter(loading.read_model_card(target_tokenizer).language), None),
        license=card.license,
        license_name=card.license_name,
        license_link=card.license_link,
    )
    loaded = loading.load_bridge(bridge, device=device, **safety) if needs_bridge else None
    result = language_transfer.transfer(
        encoder,
        tokenizer,
        loaded,
        recipe=recipe,
        origin=origin,
        device=device,
        cache_folder=cache,
        progress=sys.stderr.isatty() and not as_json,
    )
    folder = result.save(out, overwrite=overwrite)
    if as_json:
        _print_json({"folder": str(folder), **result.report.to_dict()})
    else:
        _print_report(result.report, folder)


@app.command(
    epilog="""Example:

`sembridge inspect mini/splade-en mini/tokenizer-ko --text article.txt`"""
)
def inspect(
    source: Source,
    target_tokenizer: Target,
    text: Annotated[Path | None, typer.Option(help="UTF-8 text of the target language.")] = None,
    preset: Preset = None,
    recipe_file: RecipeFile = None,
    trust_remote_code: RemoteCode = False,
    allow_pickle: AllowPickle = False,
    as_json: Json = False,
) -> None:
    """Shows what a transfer would find: overlap, how the tokenizer cuts a text, memory and time."""
    recipe = _recipe(recipe_file, preset=preset)
    from sembridge import inspection, language_transfer, loading

    _quiet_loading()
    content = None if text is None else inspection.read_text(text)
    encoder = loading.load_encoder(source, trust_remote_code=trust_remote_code, allow_pickle=allow_pickle)
    tokenizer = loading.load_tokenizer(target_tokenizer, trust_remote_code=trust_remote_code)
    tokenizer = language_transfer.output_tokenizer(encoder, tokenizer, recipe)
    vocabularies = language_transfer.compare_vocabularies(encoder, tokenizer, recipe)
    _print_inspection(_inspect(encoder, tokenizer, vocabularies, recipe, text=content), as_json=as_json)


@app.command(
    epilog="""Examples:

`sembridge explain splade-ko 학교`

`sembridge explain splade-ko "학교는 몇 시에 시작하나요?" --document "수업은 아홉 시에 시작합니다."`"""
)
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
    from sembridge.explain import Explainer

    _quiet_loading()
    explainer = Explainer.load(folder, device=device)
    results: list[dict[str, Any]] = []
    for text in texts:
        if document is not None:
            shared = explainer.match(text, document, top=top)
            results.append({"query": text, "document": document, "shared": [_match_dict(s) for s in shared]})
            _print_match(text, shared, as_json=as_json)
        elif ids := explainer.token_ids(text):
            tokens = [explainer.token(i) for i in ids]
            results.append({"token": text, "tokens": [asdict(token) for token in tokens]})
            _print_tokens(tokens, as_json=as_json)
        else:
            dimensions = explainer.text(text, top=top)
            results.append({"text": text, "dimensions": [asdict(d) for d in dimensions]})
            _print_dimensions(text, dimensions, as_json=as_json)
    if as_json:
        _print_json(results)


@app.command(
    epilog="""Example:

`sembridge demo --language all`"""
)
def demo(
    language: Annotated[str, typer.Option(help="ar, zh, hi, ko, ru, or all.")] = "ko",
    out: Annotated[Path, typer.Option(help="Folder for the transferred encoders.")] = Path("sembridge-demo"),
) -> None:
    """Transfers the bundled English encoder, searches a bundled FAQ with it and compares; offline, on the CPU."""
    from sembridge.demo import LANGUAGES, demonstrate

    if language not in (*LANGUAGES, "all"):
        raise typer.BadParameter(f"{language!r} is none of {', '.join(LANGUAGES)}, all", param_hint="--language")
    _quiet_loading()
    demonstrations = []
    for code in LANGUAGES if language == "all" else [language]:
        demonstrations.append(demonstrate(code, out))
        _print_demonstration(demonstrations[-1], LANGUAGES[code])
    if len(demonstrations) > 1:
        _print_comparison(demonstrations)


def _recipe(path: Path | None, **flags: Any) -> TransferRecipe:
    return TransferRecipe.build(flags, origin="options") if path is None else TransferRecipe.read(path, **flags)


def _inspect(
    encoder: Any, tokenizer: Any, vocabularies: "Vocabularies", recipe: TransferRecipe, *, text: str | None = None
) -> "Inspection":
    from sembridge.inspection import inspect_transfer
    from sembridge.surgery import check_source_encoder

    hidden_size = check_source_encoder(encoder).hidden_size
    return inspect_transfer(vocabularies, tokenizer, recipe, hidden_size=hidden_size, text=text)


def _print_json(value: object) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False))


def _print_table(header: Sequence[str], rows: Iterable[Sequence[str]], *, title: str | None = None) -> None:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, title_style="bold")
    for position, name in enumerate(header):
        table.add_column(name, justify="left" if position == 0 or name in TEXT_COLUMNS else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _print_counts(title: str, counts: Mapping[str, int]) -> None:
    total = sum(counts.values())
    rows = [(name, f"{count:,}", f"{count / total:.1%}") for name, count in counts.items() if count]
    _print_table(("", "tokens", "share"), rows, title=title)


def _print_report(report: "TransferReport", folder: Path) -> None:
    _print_counts(f"{report.n_target:,} target tokens by where their rows come from", report.counts)
    median = report.similarity.get("50 %")
    if median is not None:
        console.print(f"Median best similarity of the combined rows: {median:.2f}")
    seconds = ", ".join(f"{stage} {value:.1f} s" for stage, value in report.seconds.items())
    console.print(f"{seconds}\nWritten to {folder}")


def _print_inspection(inspection: "Inspection", *, as_json: bool) -> None:
    if as_json:
        _print_json(asdict(inspection))
        return
    console.print(f"{inspection.n_source:,} source tokens, {inspection.n_target:,} target tokens")
    _print_counts("Overlap", inspection.overlap)
    _print_counts("Target tokens by script", dict(list(inspection.scripts.items())[:6]))
    if inspection.text is not None:
        t = inspection.text
        console.print(
            f"Text of {t.words:,} words: {t.fertility} tokens a word, {t.tokens_per_character} a character, "
            f"{t.unknown_rate:.2%} unknown, {t.byte_rate:.2%} byte fragments"
        )
    e = inspection.estimate
    console.print(
        f"The bridge will encode {e.texts_to_encode:,} texts (fewer when cached); then about {e.seconds:g} s "
        f"and {e.memory_mb:,} MB for the similarities"
    )


def _sources(parts: "Sequence[SourcePart]", *, most: int = 4) -> str:
    return "  ".join(f"{part.token} {part.weight:.2f}" for part in parts[:most])


def _print_tokens(tokens: "Sequence[TokenExplanation]", *, as_json: bool) -> None:
    if as_json:
        return
    for token in tokens:
        rows = [(part.token, f"{part.weight:.3f}", _figure(part.similarity)) for part in token.parts]
        _print_table(("source token", "weight", "similarity"), rows, title=f"{token.token} ({token.kind})")


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _print_dimensions(text: str, dimensions: "Sequence[Dimension]", *, as_json: bool) -> None:
    if as_json:
        return
    rows = [(d.token.token, f"{d.value:.2f}", d.token.kind, _sources(d.token.parts)) for d in dimensions]
    _print_table(("dimension", "value", "kind", "made of"), rows, title=text)


def _print_match(query: str, shared: "Sequence[SharedDimension]", *, as_json: bool) -> None:
    if as_json:
        return
    rows = [
        (s.token.token, f"{s.product:.2f}", f"{s.query_value:.2f}", f"{s.document_value:.2f}", _sources(s.token.parts))
        for s in shared
    ]
    _print_table(("dimension", "product", "query", "document", "made of"), rows, title=query)


def _match_dict(shared: "SharedDimension") -> dict[str, Any]:
    return {**asdict(shared), "product": shared.product}


def _print_demonstration(shown: "Demonstration", name: str) -> None:
    console.rule(Text(f"English to {name}", style="bold"), align="left")
    _print_counts(
        f"{shown.result.report.n_target:,} {name} tokens by where their rows come from", shown.result.report.counts
    )
    _print_table(
        ("token", "English tokens it is made of"),
        [(token.text, _sources(token.parts)) for token in shown.tokens],
        title="\nTen words of the FAQ that the bridge is surest of (report.json lists the least certain)",
    )
    console.print("\nThree questions", style="bold")
    for answer in shown.answers:
        console.print(f"{answer.question}\n  {'right' if answer.correct else 'wrong'}: {answer.title[:100]}")
        terms = ", ".join(f"{s.token.text} ({_sources(s.token.parts, most=2)})" for s in answer.shared)
        console.print(f"  shared: {terms}")
    _print_evaluations(shown)
    console.print(f"\nWritten to {shown.folder}: a stock SparseEncoder, report.json, alignment.safetensors, README.md")
    console.print(f"Ask it more: sembridge explain {shown.folder} {shown.tokens[0].text if shown.tokens else 'TEXT'}\n")


def _print_evaluations(shown: "Demonstration") -> None:
    first = next(iter(shown.evaluations.values()))
    measure = next(iter(first.measures))
    rows = [
        (name, f"{e.measures[measure]:.3f}", "" if e.document_active_dims is None else f"{e.document_active_dims:.0f}")
        for name, e in shown.evaluations.items()
    ]
    title = f"\nSearching {first.n_documents} entries with {first.n_queries} queries"
    _print_table(("", measure, "active dims a document"), rows, title=title)


def _print_comparison(demonstrations: "Sequence[Demonstration]") -> None:
    systems = list(demonstrations[0].evaluations)
    measure = next(iter(demonstrations[0].evaluations[systems[0]].measures))
    rows = [
        (d.language, *(f"{d.evaluations[system].measures[measure]:.3f}" for system in systems)) for d in demonstrations
    ]
    _print_table((measure, *systems), rows, title="All languages")


if __name__ == "__main__":
    main()
