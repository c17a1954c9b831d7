"""The cells of a grid: everything that decides a cell, and nothing that needs a model to be loaded."""

import fnmatch
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from sembridge.errors import SembridgeError
from sembridge.experiments.recipe import AlphaSweep, DataSet, GridRecipe, short_name
from sembridge.experiments.results import DENSE, FINE_TUNED, ZERO_SHOT
from sembridge.language_transfer.recipe import TransferRecipe
from sembridge.training.recipe import TrainRecipe

FORMAT = 3  # raise it when the same settings give another result, or results must not be read any more


@dataclass(frozen=True)
class Cell:
    """One encoder or reference system, measured on all test sets of a language.

    Attributes:
        method: a method of the recipe, METHOD-alpha-ALPHA, hybrid-METHOD, or a reference: bm25-words,
            bm25-tokens, bridge (dense search with it), english.
        base: the recipe's method behind `method`; None for a reference.
        source_encoder: None where no source encoder takes part (BM25, the bridge).
        stage: "zero-shot" for references too, which nothing trains.
        seed: None where nothing is drawn as a rule; a training always draws the order of its pairs.
        alpha: the entmax exponent; None where there is none.
        swept: alpha replaces that of the recipe's method.
        with_hybrid: its run is also fused with BM25 over tokens, which gives the cell `hybrid`.
    """

    source_encoder: str | None
    language: str
    method: str
    stage: str
    seed: int | None = None
    base: str | None = None
    alpha: float | None = None
    swept: bool = False
    with_hybrid: bool = False

    @property
    def name(self) -> str:
        """SOURCE/LANGUAGE/METHOD/STAGE[/SEED], as in splade-en/ko/random/zero-shot/0; SOURCE is "any" without one."""
        source = "any" if self.source_encoder is None else short_name(self.source_encoder)
        seed = () if self.seed is None else (str(self.seed),)
        return "/".join((source, self.language, self.method, self.stage, *seed))

    @property
    def encodes(self) -> bool:
        """Whether texts go through an encoder: everywhere but in BM25."""
        return self.source_encoder is not None or self.method == DENSE

    @property
    def hybrid(self) -> "Cell | None":
        """The cell of the fused run; it is computed, and finished, together with this one."""
        if not self.with_hybrid:
            return None
        return replace(self, method=f"hybrid-{self.method}", alpha=None, with_hybrid=False)

    @property
    def slug(self) -> str:
        """The name of the cell's folder."""
        return self.name.replace("/", "__")

    @property
    def group(self) -> tuple[str, str]:
        """Cells of one group share what is loaded: data sets, target tokenizer, source encoder."""
        return (self.language, self.source_encoder or "")

    def transfer_recipe(self, recipe: GridRecipe, roots: dict[str, str] | None = None) -> TransferRecipe | None:
        """The settings of the cell's transfer; None for a reference."""
        if self.base is None:
            return None
        overrides: dict[str, object] = {"seed": self.seed}
        if self.swept:
            overrides |= {"alpha": self.alpha, **self._sweep_budget(recipe)}
        return recipe.transfer_recipe(self.base, self.language, roots=roots, **overrides)

    def bridges(self, recipe: GridRecipe, roots: dict[str, str] | None = None) -> tuple[str, ...]:
        """Names of the bridges that the cell uses; none for BM25, the English encoder or a baseline."""
        if self.method == DENSE:
            return recipe.bridges(DENSE, self.language, roots=roots)
        settings = self.transfer_recipe(recipe)
        if self.base is None or settings is None or not settings.rule.needs_bridge:
            return ()
        return recipe.bridges(self.base, self.language, roots=roots)

    def teacher(self, recipe: GridRecipe, roots: dict[str, str] | None = None) -> str | None:
        """The name of the bridge that the cell's training learns from; None where it has no teacher."""
        settings = self.train_recipe(recipe)
        if self.base is None or settings is None or settings.distill != "bridge":
            return None
        return recipe.bridges(self.base, self.language, roots=roots)[0]

    @property
    def is_trained(self) -> bool:
        return self.stage == FINE_TUNED

    def train_recipe(self, recipe: GridRecipe) -> TrainRecipe | None:
        """The settings of the cell's training; None where nothing is trained."""
        if self.base is None or not self.is_trained:
            return None
        return recipe.train_recipe(self.base, seed=self.seed or 0)

    def _sweep_budget(self, recipe: GridRecipe) -> dict[str, int]:
        """The memory budget that the recipe gives to the sweep; empty leaves the method's own."""
        of_method = [sweep for sweep in recipe.alpha_sweeps if sweep.method == self.base and self.alpha in sweep.alphas]
        budgets = [sweep.memory_budget_mb for sweep in of_method if sweep.memory_budget_mb is not None]
        return {"memory_budget_mb": max(budgets)} if budgets else {}


def grid_cells(recipe: GridRecipe) -> list[Cell]:
    """Every cell of the recipe, in its order; those of one stage, language and source encoder beside each other."""
    references = [cell for language in recipe.languages for cell in _references(recipe, language)]
    cells = [cell for stage in recipe.stages for language in recipe.languages for cell in _of(recipe, language, stage)]
    return list(dict.fromkeys([*references, *cells]))  # a repeated alpha


def _references(recipe: GridRecipe, language: str) -> Iterator[Cell]:
    for reference in recipe.references:
        for source_encoder in recipe.source_encoders if reference == "english" else (None,):
            yield Cell(source_encoder, language, reference, ZERO_SHOT)


def _of(recipe: GridRecipe, language: str, stage: str) -> Iterator[Cell]:
    for source_encoder in recipe.source_encoders:
        for method in recipe.methods:
            yield from _of_method(recipe, source_encoder, language, stage, method)
        for sweep in recipe.alpha_sweeps:
            if stage == ZERO_SHOT and _takes_part(sweep, source_encoder, language):
                yield from _of_sweep(recipe, source_encoder, language, sweep)


def _of_method(recipe: GridRecipe, source_encoder: str, language: str, stage: str, method: str) -> Iterator[Cell]:
    settings = recipe.transfer_recipe(method, language)
    for seed in _seeds(recipe, method, settings, stage):
        yield Cell(
            source_encoder, language, method, stage, seed,
            base=method, alpha=settings.entmax_alpha, with_hybrid=method in recipe.hybrids,
        )  # fmt: skip


def _seeds(recipe: GridRecipe, method: str, settings: TransferRecipe, stage: str) -> tuple[int | None, ...]:
    if stage == ZERO_SHOT and not settings.is_seeded:
        return (None,)
    trained = recipe.fine_tuning.methods
    if stage != ZERO_SHOT and trained is not None and method not in trained:
        return ()
    once = recipe.once if stage == ZERO_SHOT else recipe.fine_tuning.once
    return recipe.seeds[:1] if method in once else recipe.seeds


def _of_sweep(recipe: GridRecipe, source_encoder: str, language: str, sweep: AlphaSweep) -> Iterator[Cell]:
    own_alpha = recipe.transfer_recipe(sweep.method, language).entmax_alpha
    for alpha in sweep.alphas:
        settings = recipe.transfer_recipe(sweep.method, language, alpha=alpha)
        for seed in (sweep.seeds or recipe.seeds[:1]) if settings.is_seeded else (None,):
            if alpha == own_alpha and (seed is None or seed in recipe.seeds):
                continue  # the method's own cell, which the tables of the sweep take
            method = f"{sweep.method}-alpha-{alpha:g}"
            yield Cell(source_encoder, language, method, ZERO_SHOT, seed, base=sweep.method, alpha=alpha, swept=True)


def _takes_part(sweep: AlphaSweep, source_encoder: str, language: str) -> bool:
    encoders, languages = sweep.source_encoders, sweep.languages
    return (encoders is None or source_encoder in encoders) and (languages is None or language in languages)


def select(cells: Sequence[Cell], patterns: Sequence[str]) -> list[Cell]:
    """The cells that a pattern names: a whole name or a part of it, with * and ? as in file names.

    Raises:
        SembridgeError: a pattern that fits no cell.
    """
    for pattern in patterns:
        if not any(_fits(cell, pattern) for cell in cells):
            raise SembridgeError(
                f"No cell matches --only {pattern!r}: expected a name such as {cells[0].name}, or a part of one, as "
                f"/{cells[0].language}/; --dry-run lists all {len(cells)} cells."
            )
    return [cell for cell in cells if not patterns or any(_fits(cell, pattern) for pattern in patterns)]


def _fits(cell: Cell, pattern: str) -> bool:
    return fnmatch.fnmatchcase(cell.name, pattern) or fnmatch.fnmatchcase(cell.name, f"*{pattern}*")


def fingerprint(cell: Cell, recipe: GridRecipe) -> str:
    """32 hex digits of everything in the recipe that decides the cell's result.

    Roots are left out (a moved folder changes nothing), and so is the content of data sets and models. A setting of a
    transfer that equals its default counts like one that is not there, so a new setting leaves finished cells alone.
    The memory budget changes no result, alpha none but those of entmax, and presets none of a published baseline.
    """
    settings = cell.transfer_recipe(recipe)
    language = recipe.languages[cell.language]
    decides = {
        "format": FORMAT,
        "cell": cell.name,
        "source_encoder": cell.source_encoder,
        "bridge": _one_or_all(cell.bridges(recipe)),
        "transfer": settings
        and settings.model_dump(mode="json", exclude_defaults=True, exclude=_without_effect(settings)),
        "with_hybrid": cell.with_hybrid,
        "target_tokenizer": language.target_tokenizer,
        "words": language.words if settings is not None else (),
        **recipe.model_dump(include={"sampling", "measures"}),
        "test_sets": [_named(test_set, "test") for test_set in language.test_sets],
    }
    if cell.source_encoder is not None:
        # Under the name that finished cells know: they are not computed again for a word.
        decides |= {"engine": recipe.encode_with, "max_active_dims": recipe.max_active_dims}
    if cell.is_trained:
        decides["training"] = _training(cell, recipe)
    text = json.dumps(decides, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _training(cell: Cell, recipe: GridRecipe) -> dict[str, object]:
    """What decides the fine-tuning of a cell."""
    language, settings = recipe.languages[cell.language], cell.train_recipe(recipe)
    return {
        "settings": settings and settings.model_dump(mode="json", exclude_defaults=True),
        "teacher": cell.teacher(recipe),
        "training_sets": [_named(data, "train") for data in language.training_sets],
        "dev_set": language.dev_set and _named(language.dev_set, "dev"),
        **recipe.fine_tuning.model_dump(include={"pairs", "dev"}),
        "sample": recipe.sampling.seed,
    }


def _one_or_all(names: tuple[str, ...]) -> str | tuple[str, ...] | None:
    """A name alone, as cells were described before there could be several bridges."""
    return names if len(names) > 1 else next(iter(names), None)


def _named(data: DataSet, split: str) -> dict[str, str]:
    return {"name": data.name, "split": data.split or split}


def _without_effect(settings: TransferRecipe) -> set[str]:
    """Settings that change no result under the method."""
    return {name for name in TransferRecipe.model_fields if not settings.counts(name)}
