"""`sembridge transfer` and `sembridge inspect`: a transfer, and what it would find."""

import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sembridge.cli.options import (
    DEFAULT_BRIDGE,
    AllowPickle,
    BridgeNames,
    Device,
    Json,
    Preset,
    RecipeFile,
    RemoteCode,
    Source,
    Target,
    read_recipe,
)
from sembridge.cli.printing import console, figure_text, print_counts, print_json, print_table
from sembridge.cli.program import app, quiet_loading
from sembridge.errors import SembridgeError
from sembridge.files.atomic import check_output_folder
from sembridge.language_transfer.recipe import TransferRecipe

if TYPE_CHECKING:
    from sembridge.experiments.tuning import Tuning
    from sembridge.language_transfer.bridge_quality import BridgeScore
    from sembridge.language_transfer.folder import TransferReport
    from sembridge.language_transfer.inspection import Inspection
    from sembridge.retrieval.data import RetrievalData


@app.command(
    epilog="""Examples:

`sembridge transfer ibm-granite/granite-embedding-30m-sparse monologg/kobigbird-bert-base splade-ko`

`sembridge transfer naver/splade-v3 monologg/kobigbird-bert-base splade-ko --allow-pickle --tune my-dev-set`

`sembridge transfer mini/splade-en mini/tokenizer-ko splade-ko --bridge mini/bridge`

`sembridge transfer mini/splade-en mini/tokenizer-ko ko --bridge mini/bridge --target-text article.txt --through-words`

`sembridge transfer mini/splade-en mini/tokenizer-ko splade-ko-2 --bridge mini/bridge --bridge BAAI/bge-m3`"""
)
def transfer(
    source: Source,
    target_tokenizer: Target,
    out: Annotated[Path, typer.Argument(help="Folder to write; it must be new or empty.")],
    bridge: BridgeNames = None,
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
    add_special_tokens: Annotated[
        bool | None,
        typer.Option("--add-special-tokens", help="Put the target's own [CLS] and [SEP] around texts, if it does not."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of drawn rows.")] = None,
    tune: Annotated[
        str | None,
        typer.Option(
            help="Choose the settings that no flag fixes: BEIR folder with a dev or train split, mini/NAME, or "
            "corpus:PLACE for text without labels."
        ),
    ] = None,
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
    of), `report.json`, `recipe.yaml` and a model card; with --tune also `tuning.json`, the settings that were tried.
    """
    flags: dict[str, Any] = {
        "preset": preset, "method": method, "alpha": alpha, "weighting": weighting, "fallback": fallback,
        "extend": extend, "min_similarity": min_similarity, "residual": residual, "seed": seed,
        "memory_budget_mb": memory_budget_mb, "evidence": evidence, "match_activity": match_activity,
        "firing_cap": firing_cap, "covariance_scale": covariance_scale, "target_text": target_text,
        "through_words": through_words, "add_special_tokens": add_special_tokens,
        "word_vectors": word_vectors, "source_word_vectors": source_word_vectors, "dictionary": dictionary,
    }  # fmt: skip
    recipe = read_recipe(TransferRecipe, recipe_file, **flags)
    recipe.check_files()
    if not dry_run:
        check_output_folder(out, overwrite=overwrite)
    from sembridge.encoders import loading
    from sembridge.language_transfer import assembly, inspection, preparation
    from sembridge.language_transfer.folder import Origin

    quiet_loading()
    safety: dict[str, Any] = {"trust_remote_code": trust_remote_code, "allow_pickle": allow_pickle}
    fixed = {name for name, value in flags.items() if value is not None}
    tuning_data = None if tune is None else _tuning_data(tune, recipe, fixed)
    encoder = loading.load_encoder(source, device=device, **safety)
    tokenizer = loading.load_tokenizer(target_tokenizer, trust_remote_code=trust_remote_code)
    if dry_run:
        prepared = preparation.prepare_transfer(encoder, tokenizer, recipe)
        _print_inspection(inspection.inspect_transfer(prepared, recipe), as_json=as_json)
        if tuning_data is not None and not as_json:
            console.print(_tuning_plan(tuning_data))
        return
    needs_bridge = recipe.method == "sembridge"
    bridges = sorted({*(bridge or [DEFAULT_BRIDGE])}) if needs_bridge else []
    card = loading.read_model_card(source)
    origin = Origin(
        source_encoder=source,
        target_tokenizer=target_tokenizer,
        bridge=" + ".join(bridges) or None,
        language=language or next(iter(loading.read_model_card(target_tokenizer).language), None),
        license=card.license,
        license_name=card.license_name,
        license_link=card.license_link,
    )
    loaded: Any = [loading.load_bridge(name, device=device, **safety) for name in bridges] or None
    run: dict[str, Any] = {"device": device, "cache_folder": cache, "progress": sys.stderr.isatty() and not as_json}
    tuning = None
    if tuning_data is not None and loaded is not None:
        from sembridge.experiments.tuning import tune as tune_settings

        tuning = tune_settings(encoder, tokenizer, loaded, tuning_data, recipe=recipe, fixed=fixed, **run)
        recipe, origin = tuning.recipe, replace(origin, tuned_on=tuning.data_text)
    result = assembly.transfer(encoder, tokenizer, loaded, recipe=recipe, origin=origin, **run)
    table = None if tuning is None else tuning.to_dict()
    folder = result.save(out, overwrite=overwrite, tuning=table)
    if as_json:
        print_json({"folder": str(folder), **result.report.to_dict(), **({"tuning": table} if table else {})})
    else:
        if tuning is not None:
            _print_tuning(tuning)
        _print_report(result.report, folder)


@app.command(
    epilog="""Examples:

`sembridge inspect mini/splade-en mini/tokenizer-ko`

`sembridge inspect mini/splade-en mini/tokenizer-ko --text article.txt`

`sembridge inspect mini/splade-en mini/tokenizer-ko --bridge mini/bridge`"""
)
def inspect(
    source: Source,
    target_tokenizer: Target,
    text: Annotated[Path | None, typer.Option(help="UTF-8 text of the target language.")] = None,
    bridge: Annotated[
        list[str] | None, typer.Option("--bridge", help="Score this bridge; given again, each and all together.")
    ] = None,
    dictionary: Annotated[
        Path | None, typer.Option(help="With --bridge: lines of English, tab, target (.gz), to score it by.")
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder of cached bridge vectors.")] = None,
    device: Device = "cpu",
    preset: Preset = None,
    recipe_file: RecipeFile = None,
    trust_remote_code: RemoteCode = False,
    allow_pickle: AllowPickle = False,
    as_json: Json = False,
) -> None:
    """Shows what a transfer would find: overlap, how the tokenizer cuts a text, memory and time, and with --bridge how
    far the bridge can be trusted."""
    recipe = read_recipe(TransferRecipe, recipe_file, preset=preset)
    if dictionary is not None and not bridge:
        raise SembridgeError(f"--dictionary {dictionary} scores a bridge; add --bridge NAME, or leave it out.")
    from sembridge.encoders import loading
    from sembridge.language_transfer import inspection, preparation

    quiet_loading()
    content = None if text is None else inspection.read_text(text)
    safety: dict[str, Any] = {"trust_remote_code": trust_remote_code, "allow_pickle": allow_pickle}
    encoder = loading.load_encoder(source, **safety)
    tokenizer = loading.load_tokenizer(target_tokenizer, trust_remote_code=trust_remote_code)
    prepared = preparation.prepare_transfer(encoder, tokenizer, recipe)
    vocabularies = prepared.vocabularies
    scores = []
    if bridge:
        from sembridge.language_transfer.bridge_quality import score_bridges

        loaded = {name: loading.load_bridge(name, device=device, **safety) for name in dict.fromkeys(bridge)}
        scores = score_bridges(
            loaded, vocabularies.source, vocabularies.target, vocabularies.overlap, recipe, dictionary=dictionary,
            device=device, cache_folder=cache, progress=sys.stderr.isatty() and not as_json,
        )  # fmt: skip
    _print_inspection(inspection.inspect_transfer(prepared, recipe, text=content), as_json=as_json, scores=scores)


def _tuning_data(name: str, recipe: TransferRecipe, fixed: set[str]) -> "RetrievalData":
    from sembridge.experiments.tuning import check_tunable, load_tuning_data

    check_tunable(recipe, fixed)
    return load_tuning_data(name)


def _tuning_plan(data: "RetrievalData") -> str:
    from sembridge.experiments.tuning import MAX_TRANSFERS

    return (
        f"Tuning will make at most {MAX_TRANSFERS} transfers and encode {len(data.queries):,} queries and "
        f"{len(data.corpus):,} documents after each"
    )


def _print_tuning(tuning: "Tuning") -> None:
    """The table on which the settings were chosen, and how far to believe it."""
    header = ("over the best so far (*)", "nDCG@10", "", "FLOPS", "query dims", "document dims", "p")
    rows = [
        (c.step_text or f"preset {c.recipe.preset}", figure_text(c.value), "*" if c.is_new_best else "",
         f"{c.flops:.2f}", f"{c.query_active_dims:.1f}", f"{c.document_active_dims:.1f}", figure_text(c.p_holm))
        for c in tuning.candidates
    ]  # fmt: skip
    print_table(header, rows, title=f"Tuned on {tuning.data_text}")
    console.print(f"p: randomization test against the first row, Holm's correction for all rows\n{tuning.verdict}")


def _print_report(report: "TransferReport", folder: Path) -> None:
    print_counts(f"{report.n_target:,} target tokens by where their rows come from", report.counts)
    median = report.similarity.get("50 %")
    if median is not None:
        console.print(f"Median best similarity of the combined rows: {median:.2f}")
    seconds = ", ".join(f"{stage} {value:.1f} s" for stage, value in report.seconds.items())
    console.print(f"{seconds}\nWritten to {folder}")


def _print_inspection(inspection: "Inspection", *, as_json: bool, scores: Sequence["BridgeScore"] = ()) -> None:
    if as_json:
        print_json(asdict(inspection) | ({"bridges": [asdict(score) for score in scores]} if scores else {}))
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
    console.print("Target tokenizer: " + "; ".join(f"{habit.name} {habit.found}" for habit in inspection.habits))
    for habit in (habit for habit in inspection.habits if habit.consequence):
        console.print(f"{habit.name}: {habit.found}; {habit.consequence}. {habit.remedy}")
    e = inspection.estimate
    console.print(
        f"The bridge will encode {e.texts_to_encode:,} texts (fewer when cached); then about {e.seconds:g} s "
        f"and {e.memory_mb:,} MB for the similarities"
    )
    if scores:
        _print_scores(scores)


def _print_scores(scores: Sequence["BridgeScore"]) -> None:
    """The bridges one below the other, and what the figures mean."""
    labelled = scores[0].n_pairs is not None
    header = ("bridge", *(("right", "in 10") if labelled else ()), "above chance", "round trip")
    rows = [
        (
            score.bridge,
            *((figure_text(score.accuracy), figure_text(score.accuracy_at_10)) if labelled else ()),
            figure_text(score.above_chance),
            figure_text(score.round_trip),
        )
        for score in scores
    ]
    print_table(header, rows, title="Bridges")
    if labelled:
        console.print(
            f"right: share of {scores[0].n_pairs:,} target tokens of the dictionary whose nearest English token is a "
            "translation; in 10: one of the ten nearest is. A random bridge has about 0."
        )
    for score in scores:
        if score.unknown:
            console.print(
                f"{score.bridge} knows no piece of {score.unknown:.1%} of the target texts; they are alike to it."
            )
    console.print(
        "above chance, round trip: consistency without labels, no proof of right answers. mini/bridge on Korean has "
        "0.59 and 0.44 (and 0.39 right by a dictionary), a random bridge 0.00 and about 0.05."
    )
