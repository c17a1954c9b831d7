"""`sembridge transfer` and `sembridge inspect`: a transfer, and what it would find."""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sembridge.cli.options import Cache, Json, Loading, Only, Output, Settings, Source, Target, verb
from sembridge.cli.printing import console, figure_text, print_counts, print_json, print_table, print_text_statistics
from sembridge.encoders.names import is_here
from sembridge.errors import SembridgeError
from sembridge.files.word_pairs import read_dictionary
from sembridge.language_transfer.extension_check import check_extension
from sembridge.language_transfer.recipe import TransferRecipe

if TYPE_CHECKING:
    from sembridge.experiments.tuning import Tuning
    from sembridge.language_transfer.bridge import Bridge, Bridging
    from sembridge.language_transfer.bridge_quality import BridgeScore
    from sembridge.language_transfer.false_friends import FalseFriends
    from sembridge.language_transfer.folder import Origin, TransferReport
    from sembridge.language_transfer.inspection import Inspection
    from sembridge.language_transfer.preparation import PreparedTransfer
    from sembridge.retrieval.data import RetrievalData


DEFAULT_BRIDGE = "intfloat/multilingual-e5-small"


@dataclass(frozen=True)
class Models:
    """What is transferred to where, through which bridges, and what the model card says of it."""

    source: Source
    target_tokenizer: Target
    bridge: Annotated[
        list[str] | None,
        typer.Option(
            "--bridge",
            metavar="MODEL",
            help="Multilingual dense encoder: hub id, folder or mini/NAME. Given again, several are averaged.",
            show_default=DEFAULT_BRIDGE,
        ),
    ] = None
    language: Annotated[
        str | None, typer.Option(metavar="CODE", help="Of the target, for the model card, e.g. ko.")
    ] = None

    @property
    def bridge_names(self) -> list[str]:
        return sorted({*(self.bridge or [DEFAULT_BRIDGE])})

    def origin(self, bridges: Sequence[str]) -> "Origin":
        """The names for the report and the model card; the licence is the source's."""
        from sembridge.encoders.loading import read_model_card
        from sembridge.language_transfer.folder import Origin

        card = read_model_card(self.source)
        return Origin(
            source_encoder=self.source,
            target_tokenizer=self.target_tokenizer,
            bridge=" + ".join(bridges) or None,
            language=self.language or next(iter(read_model_card(self.target_tokenizer).language), None),
            license=card.license,
            license_name=card.license_name,
            license_link=card.license_link,
        )


@dataclass(frozen=True)
class BridgeScoring:
    """Which bridges are scored, and by what."""

    bridge: Annotated[
        list[str] | None,
        typer.Option("--bridge", metavar="MODEL", help="Score this bridge; given again, each and all together."),
    ] = None
    dictionary: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="With --bridge: lines of English, tab, target (.gz), to score it by."),
    ] = None
    false_friends: Annotated[
        bool,
        typer.Option(
            "--false-friends",
            help="With --bridge and --text: list copied words that the text seems to use in another sense.",
        ),
    ] = False
    cache: Cache = None

    def check(self, text: Path | None) -> None:
        if self.dictionary is not None and not self.bridge:
            raise SembridgeError(f"--dictionary {self.dictionary} scores a bridge; add --bridge NAME, or leave it out.")
        if self.false_friends and not (self.bridge and text):
            raise SembridgeError("--false-friends are told by a bridge from a text; add --bridge NAME and --text FILE.")
        if self.dictionary is not None:
            read_dictionary(self.dictionary)  # a bad one is refused before models are loaded


@verb("""Examples:

`sembridge transfer ibm-granite/granite-embedding-30m-sparse monologg/kobigbird-bert-base splade-ko`

`sembridge transfer naver/splade-v3 monologg/kobigbird-bert-base splade-ko --allow-pickle --tune my-dev-set`

`sembridge transfer mini/splade-en mini/tokenizer-ko splade-ko --bridge mini/bridge`

`sembridge transfer mini/splade-en mini/tokenizer-ko ko --bridge mini/bridge --target-text article.txt --through-words`

`sembridge transfer mini/splade-en mini/tokenizer-ko splade-ko-2 --bridge mini/bridge --bridge BAAI/bge-m3`""")
def transfer(
    models: Models,
    output: Output,
    settings: Settings[TransferRecipe],
    tune: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="Choose the settings that no option fixes: BEIR folder with a dev or train split, mini/NAME, or "
            "corpus:PLACE for text without labels.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show sizes, overlap and cost; write nothing.")] = False,
    cache: Cache = None,
    *,
    loading: Loading,
    as_json: Json = False,
) -> None:
    """Moves an English sparse encoder to another language.

    Writes a stock SparseEncoder folder with `alignment.safetensors` (which English tokens every new token was made
    of), `report.json`, `recipe.yaml` and a model card; with --tune also `tuning.json`, the settings that were tried.
    """
    recipe = settings.recipe
    recipe.check_files()
    if not dry_run:
        output.check()
    bridges = models.bridge_names if recipe.rule.needs_bridge else []
    if dry_run:  # which downloads no bridge
        bridges = [name for name in bridges if is_here(name)]
    if recipe.extend:
        check_extension(models.source, models.target_tokenizer)
    loading.check(models.source, *bridges, tokenizers=[models.target_tokenizer])
    from sembridge.language_transfer import assembly, inspection, preparation

    tuning_data = None if tune is None else _tuning_data(tune, recipe, set(settings.flags))
    encoder, tokenizer = loading.encoder(models.source), loading.tokenizer(models.target_tokenizer)
    if dry_run:
        prepared = preparation.prepare_transfer(encoder, tokenizer, recipe)
        _print_inspection(
            inspection.inspect_transfer(prepared),
            as_json=as_json,
            bridging=_time_bridges([loading.bridge(name) for name in bridges], prepared, cache),
        )
        if tuning_data is not None and not as_json:
            console.print(_tuning_plan(tuning_data))
        return
    origin = models.origin(bridges)
    loaded: Any = [loading.bridge(name) for name in bridges] or None
    run: dict[str, Any] = {
        "device": loading.device,
        "cache_folder": cache,
        "progress": not as_json,
    }
    tuning = None
    if tuning_data is not None and loaded is not None:
        from sembridge.experiments.tuning import tune as tune_settings

        tuning = tune_settings(encoder, tokenizer, loaded, tuning_data, recipe=recipe, fixed=set(settings.flags), **run)
        recipe, origin = tuning.recipe, replace(origin, tuned_on=tuning.data_text)
    result = assembly.transfer(encoder, tokenizer, loaded, recipe=recipe, origin=origin, **run)
    table = None if tuning is None else tuning.to_dict()
    folder = result.save(output.out, overwrite=output.overwrite, tuning=table)
    if as_json:
        print_json({"folder": str(folder), **result.report.to_dict(), **({"tuning": table} if table else {})})
    else:
        if tuning is not None:
            _print_tuning(tuning)
        _print_report(result.report, folder)


@verb("""Examples:

`sembridge inspect mini/splade-en mini/tokenizer-ko`

`sembridge inspect mini/splade-en mini/tokenizer-ko --text article.txt`

`sembridge inspect mini/splade-en mini/tokenizer-ko --bridge mini/bridge`""")
def inspect(
    source: Source,
    target_tokenizer: Target,
    text: Annotated[Path | None, typer.Option(metavar="FILE", help="UTF-8 text of the target language.")] = None,
    *,
    scoring: BridgeScoring,
    settings: Annotated[
        Settings[TransferRecipe],
        Only(("preset", "method", "candidates", "fuzzy", "bridge_dtype", "extend", "add_special_tokens")),
    ],
    loading: Loading,
    as_json: Json = False,
) -> None:
    """Shows what a transfer would find: overlap, how the tokenizer cuts a text, memory and time, and with --bridge how
    far the bridge can be trusted."""
    recipe = settings.recipe
    scoring.check(text)
    if recipe.extend:
        check_extension(source, target_tokenizer)
    if text is None:
        loading.check(source, *(scoring.bridge or ()), tokenizers=[target_tokenizer])
    from sembridge.language_transfer import inspection, preparation

    content = None if text is None else inspection.read_text(text)
    encoder, tokenizer = loading.encoder(source), loading.tokenizer(target_tokenizer)
    prepared = preparation.prepare_transfer(encoder, tokenizer, recipe)
    scores: list[BridgeScore] = []
    bridging: list[Bridging] = []
    progress = not as_json
    if scoring.bridge:
        from sembridge.language_transfer.bridge_quality import score_bridges

        bridges = {name: loading.bridge(name) for name in dict.fromkeys(scoring.bridge)}
        bridging = _time_bridges([*bridges.values()], prepared, scoring.cache)
        for of_bridge in bridging if progress else ():  # before the long part, which the scores need
            print(_bridging_text(of_bridge), file=sys.stderr)
        scores = score_bridges(
            bridges, prepared.vocabularies, recipe, dictionary=scoring.dictionary,
            device=loading.device, cache_folder=scoring.cache, progress=progress,
        )  # fmt: skip
    found = inspection.inspect_transfer(prepared, text=content)
    friends = None
    if scoring.false_friends and content:
        from sembridge.language_transfer.bridge import CachedBridge
        from sembridge.language_transfer.false_friends import false_friends

        embed = CachedBridge(next(iter(bridges.values())), scoring.cache, progress)
        friends = false_friends(prepared.vocabularies, content.split("\n"), embed)
    _print_inspection(found, as_json=as_json, scores=scores, bridging=bridging, friends=friends)


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


def _time_bridges(bridges: "Sequence[Bridge]", prepared: "PreparedTransfer", cache: Path | None) -> "list[Bridging]":
    """How long each bridge will take."""
    from sembridge.language_transfer.bridge import time_bridging
    from sembridge.language_transfer.even_batches import in_dtype
    from sembridge.language_transfer.initialization.sembridge import bridged_texts

    if not bridges:
        return []
    texts = [text for side in bridged_texts(prepared.vocabularies, prepared.recipe) for text in side]
    computed = in_dtype(bridges, prepared.recipe.bridge_dtype)
    return [time_bridging(bridge, texts, cache_folder=cache) for bridge in computed]


def _bridging_text(bridging: "Bridging") -> str:
    minutes, seconds = divmod(round(bridging.seconds), 60)
    cached = f", {bridging.cached:,} of {bridging.texts:,} texts from the cache" if bridging.cached else ""
    return (
        f"Bridging through {bridging.bridge}: about {f'{minutes:,} min ' if minutes else ''}{seconds} s on this machine"
        f"{cached}; none on a second run"
    )


def _print_inspection(
    inspection: "Inspection",
    *,
    as_json: bool,
    scores: Sequence["BridgeScore"] = (),
    bridging: Sequence["Bridging"] = (),
    friends: "FalseFriends | None" = None,
) -> None:
    if as_json:
        parts: dict[str, Sequence[Any]] = {"bridges": scores, "bridging": bridging}
        told = {} if friends is None else {"false_friends": asdict(friends)}
        lists = {name: [asdict(part) for part in some] for name, some in parts.items() if some}
        print_json(asdict(inspection) | lists | told)
        return
    console.print(f"{inspection.n_source:,} source tokens, {inspection.n_target:,} target tokens")
    print_counts("Overlap", inspection.overlap)
    print_counts("Target tokens by script", dict(list(inspection.scripts.items())[:6]))
    if inspection.text is not None:
        print_text_statistics(inspection.text)
    console.print("Target tokenizer: " + "; ".join(f"{habit.name} {habit.found}" for habit in inspection.habits))
    for habit in (habit for habit in inspection.habits if habit.consequence):
        console.print(f"{habit.name}: {habit.found}; {habit.consequence}. {habit.remedy}")
    e = inspection.estimate
    to_encode = "" if scores else f"The bridge will encode {e.texts_to_encode:,} texts (fewer when cached); then "
    console.print(
        f"{to_encode or 'A transfer needs '}about {e.seconds:g} s and {e.memory_mb:,} MB for the similarities"
    )
    for of_bridge in bridging:
        console.print(_bridging_text(of_bridge))
    if scores:
        _print_scores(scores)
    if friends is not None:
        _print_false_friends(friends)


def _print_false_friends(friends: "FalseFriends", most: int = 20) -> None:
    console.print(
        f"{friends.n_judged:,} copied words stand in the text often enough to be judged by what is around them; "
        f"{len(friends.suspects):,} may mean something else than in English. A list to read: many are right."
    )
    rows = [(one.word, f"{one.below:.2f}", "  ".join(one.nearest)) for one in friends.suspects[:most]]
    if rows:
        print_table(("copied word", "below the nearest", "text"), rows)


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
