"""`sembridge transfer` and `sembridge inspect`: a transfer, and what it would find."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sembridge.cli.options import (
    AllowPickle,
    BridgeName,
    Device,
    Json,
    Preset,
    RecipeFile,
    RemoteCode,
    Source,
    Target,
    read_recipe,
)
from sembridge.cli.printing import console, print_counts, print_json
from sembridge.cli.program import app, quiet_loading
from sembridge.output import check_output_folder
from sembridge.recipes import TransferRecipe

if TYPE_CHECKING:
    from sembridge.inspection import Inspection
    from sembridge.language_transfer import TransferReport, Vocabularies


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
        str | None,
        typer.Option(
            help="sembridge, or a baseline: random, mean, univariate, multivariate, focus (--target-text), "
            "ofa (--word-vectors), wechsel (--word-vectors, --source-word-vectors, --dictionary)."
        ),
    ] = None,
    alpha: Annotated[
        float | None, typer.Option(help="entmax exponent; 1 softmax, 2 sparsemax, larger is sparser.")
    ] = None,
    weighting: Annotated[str | None, typer.Option(help="entmax or softmax-topk.")] = None,
    fallback: Annotated[str | None, typer.Option(help="Rows without usable similarity.")] = None,
    min_similarity: Annotated[float | None, typer.Option(help="Below it a row falls back.")] = None,
    residual: Annotated[float | None, typer.Option(help="Share of a trusted row that is drawn, its own.")] = None,
    evidence: Annotated[bool | None, typer.Option(help="Trust rows as far as they are above chance.")] = None,
    match_activity: Annotated[bool | None, typer.Option(help="As many active dims as the source encoder.")] = None,
    firing_cap: Annotated[float | None, typer.Option(help="Share of texts a new token may fire in.")] = None,
    covariance_scale: Annotated[
        float | None, typer.Option(help="Of multivariate rows; 1e-5 is transformers' mean_resizing.")
    ] = None,
    target_text: Annotated[
        Path | None,
        typer.Option(help="focus; optional for --firing-cap, --through-words: UTF-8, a passage a line (.gz)."),
    ] = None,
    through_words: Annotated[
        bool | None, typer.Option(help="Place tokens also by the words of --target-text that contain them.")
    ] = None,
    word_vectors: Annotated[
        Path | None, typer.Option(help="ofa: multilingual, wechsel: target word vectors, word2vec format (.gz).")
    ] = None,
    source_word_vectors: Annotated[
        Path | None, typer.Option(help="wechsel: English word vectors; ofa: optional, in the same space.")
    ] = None,
    dictionary: Annotated[Path | None, typer.Option(help="wechsel: lines of English, tab, target (.gz).")] = None,
    extend: Annotated[
        bool | None, typer.Option("--extend", help="Keep the English vocabulary, append new tokens.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of drawn rows.")] = None,
    recipe_file: RecipeFile = None,
    language: Annotated[str | None, typer.Option(help="Language code for the model card, e.g. ko.")] = None,
    device: Device = "cpu",
    memory_budget_mb: Annotated[int | None, typer.Option(help="For blocks of similarities.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder of cached bridge and fastText vectors.")] = None,
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
    recipe = read_recipe(
        TransferRecipe, recipe_file, preset=preset, method=method, alpha=alpha, weighting=weighting, fallback=fallback,
        extend=extend, min_similarity=min_similarity, residual=residual, seed=seed, memory_budget_mb=memory_budget_mb,
        evidence=evidence, match_activity=match_activity, firing_cap=firing_cap,
        covariance_scale=covariance_scale, target_text=target_text, through_words=through_words,
        word_vectors=word_vectors,
        source_word_vectors=source_word_vectors, dictionary=dictionary,
    )  # fmt: skip
    recipe.check_files()
    if not dry_run:
        check_output_folder(out, overwrite=overwrite)
    from sembridge import language_transfer, loading

    quiet_loading()
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
        print_json({"folder": str(folder), **result.report.to_dict()})
    else:
        _print_report(result.report, folder)


@app.command(
    epilog="""Examples:

`sembridge inspect mini/splade-en mini/tokenizer-ko`

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
    recipe = read_recipe(TransferRecipe, recipe_file, preset=preset)
    from sembridge import inspection, language_transfer, loading

    quiet_loading()
    content = None if text is None else inspection.read_text(text)
    encoder = loading.load_encoder(source, trust_remote_code=trust_remote_code, allow_pickle=allow_pickle)
    tokenizer = loading.load_tokenizer(target_tokenizer, trust_remote_code=trust_remote_code)
    tokenizer = language_transfer.output_tokenizer(encoder, tokenizer, recipe)
    vocabularies = language_transfer.compare_vocabularies(encoder, tokenizer, recipe)
    _print_inspection(_inspect(encoder, tokenizer, vocabularies, recipe, text=content), as_json=as_json)


def _inspect(
    encoder: Any, tokenizer: Any, vocabularies: "Vocabularies", recipe: TransferRecipe, *, text: str | None = None
) -> "Inspection":
    from sembridge.inspection import inspect_transfer
    from sembridge.surgery import check_source_encoder

    hidden_size = check_source_encoder(encoder).hidden_size
    return inspect_transfer(vocabularies, tokenizer, recipe, hidden_size=hidden_size, text=text)


def _print_report(report: "TransferReport", folder: Path) -> None:
    print_counts(f"{report.n_target:,} target tokens by where their rows come from", report.counts)
    median = report.similarity.get("50 %")
    if median is not None:
        console.print(f"Median best similarity of the combined rows: {median:.2f}")
    seconds = ", ".join(f"{stage} {value:.1f} s" for stage, value in report.seconds.items())
    console.print(f"{seconds}\nWritten to {folder}")


def _print_inspection(inspection: "Inspection", *, as_json: bool) -> None:
    if as_json:
        print_json(asdict(inspection))
        return
    console.print(f"{inspection.n_source:,} source tokens, {inspection.n_target:,} target tokens")
    print_counts("Overlap", inspection.overlap)
    print_counts("Target tokens by script", dict(list(inspection.scripts.items())[:6]))
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
