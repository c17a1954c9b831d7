"""Settings of a transfer chosen on dev data: a few transfers, each measured, one setting varied at a time.

A transfer costs seconds once the bridge's vectors are cached, so a dozen of them can be tried before one is kept. The
search is greedy: of each setting all values are tried around the best recipe so far, until a pass changes nothing.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sembridge.errors import SembridgeError
from sembridge.files.progress import Progress
from sembridge.language_transfer.assembly import transfer
from sembridge.language_transfer.methods import METHODS
from sembridge.language_transfer.recipe import PRESETS, TransferRecipe
from sembridge.retrieval.data import RetrievalData
from sembridge.retrieval.evaluation import Evaluation, evaluate
from sembridge.retrieval.measures import depth
from sembridge.retrieval.significance import compare_all
from sembridge.retrieval.sources import available_splits, load_retrieval_data

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder
    from transformers import PreTrainedTokenizerBase

    from sembridge.language_transfer.bridge import Bridge

MEASURE = "nDCG@10"
MAX_TRANSFERS = 14
MAX_QUERIES, MAX_DOCUMENTS = 100, 500
SPLITS = ("dev", "validation", "train")  # the first that is there; never test
PSEUDO = "corpus:"
SIGNIFICANT = 0.05

Settings = Mapping[str, object]
# What is tried, the settings that matter most first; values that go together change together. Quantiles of a
# similarity differ from bridge to bridge, so the threshold of `min_similarity` is made of the first transfer's.
CALIBRATION: tuple[Settings, ...] = (
    {name: PRESETS["default"][name] for name in ("match_activity", "firing_cap")},
    {"match_activity": False, "firing_cap": 1.0},
)
TRUST: tuple[Settings, ...] = (
    *({"evidence": True, "residual": share} for share in (0.0, PRESETS["default"]["residual"], 0.5)),
    {"evidence": False, "residual": 0.4},
)
ALPHA: tuple[Settings, ...] = tuple({"alpha": alpha} for alpha in (3.0, 4.0, 6.0, 8.0))
THRESHOLD_QUANTILE = "25 %"
VARIED = ("match_activity", "firing_cap", "evidence", "residual", "alpha", "min_similarity")


@dataclass(frozen=True)
class Candidate:
    """A recipe that was tried, and what its encoder found in the tuning data.

    Attributes:
        step: its settings that differ from those of the best recipe before; empty for the start.
        changes: its settings that differ from the start's.
        is_new_best: whether it is better than every candidate before it.
        value: the mean of nDCG@10 over the queries.
        per_query: query id -> nDCG@10.
        p: two-sided randomization test against the start; None for the start itself.
        p_holm: the same after Holm's correction over all candidates.
    """

    recipe: TransferRecipe
    step: dict[str, object]
    changes: dict[str, object]
    is_new_best: bool
    value: float
    flops: float
    query_active_dims: float
    document_active_dims: float
    per_query: dict[str, float] = field(repr=False)
    p: float | None = None
    p_holm: float | None = None

    @property
    def step_text(self) -> str:
        """The step in words."""
        return _in_words(self.step)

    def to_dict(self) -> dict[str, object]:
        """What a table shows, as JSON-able values."""
        return {
            "settings": self.changes,
            MEASURE: self.value,
            "flops": self.flops,
            "query_active_dims": self.query_active_dims,
            "document_active_dims": self.document_active_dims,
            "p": self.p,
            "p_holm": self.p_holm,
        }


@dataclass(frozen=True)
class Tuning:
    """What was tried on which data, and the best of it.

    Attributes:
        data, split: names of the tuning data; no split for pseudo queries.
        candidates: in the order in which they were tried; the first is the recipe that the search started from.
        best: the candidate of the highest nDCG@10; of equal ones that with the lower FLOPS statistic, then the earlier.
    """

    data: str
    split: str | None
    n_queries: int
    n_documents: int
    candidates: tuple[Candidate, ...]
    best: Candidate

    @property
    def recipe(self) -> TransferRecipe:
        """The recipe of the best candidate."""
        return self.best.recipe

    @property
    def data_text(self) -> str:
        """The tuning data in a line, for cards and reports."""
        split = f", split {self.split}" if self.split else ""
        return f"{self.data}{split}: {self.n_queries} queries, {self.n_documents} documents"

    @property
    def verdict(self) -> str:
        """What was chosen and how far to believe it, in two or three sentences."""
        start = self.candidates[0]
        if self.best is start:
            return "Chosen: the settings of the first row; nothing that was tried found more."
        chance = self.best.p_holm is None or self.best.p_holm >= SIGNIFICANT
        return (
            f"Chosen: {_in_words(self.best.changes)}, {self.best.value - start.value:+.3f}. "
            + ("That is within chance: the settings of the first row are as safe a choice. " if chance else "")
            + f"The best of {len(self.candidates)} on the same queries looks better than it is: report a test split."
        )

    def to_dict(self) -> dict[str, object]:
        """The table as JSON-able values; `chosen` is a position in `candidates`."""
        return {
            "data": self.data,
            "split": self.split,
            "n_queries": self.n_queries,
            "n_documents": self.n_documents,
            "measure": MEASURE,
            "start": self.candidates[0].recipe.settings(),
            "candidates": [candidate.to_dict() for candidate in self.candidates],
            "chosen": self.candidates.index(self.best),
        }


def load_tuning_data(name: str, *, seed: int = 0) -> RetrievalData:
    """At most 100 queries and 500 documents (more, where the queries have more relevant ones) to choose settings on.

    From the dev split of a BEIR folder or of bundled data, else its validation or train split; or, for `corpus:PLACE`,
    pseudo queries made of its passages.

    Raises:
        SembridgeError: only a test split is there, or as `load_retrieval_data` and `load_training_data`.
    """
    if name.startswith(PSEUDO):
        return _sampled(_pseudo_data(name, seed), seed)
    if name.startswith(("mteb:", "hub:")):
        raise SembridgeError(
            f"{name}: settings are tuned on a BEIR folder with a dev or train split, mini/NAME, or {PSEUDO}PLACE "
            "(text without labels); give one of these."
        )
    splits = available_splits(name)
    split = next((split for split in SPLITS if split in splits), None)
    if split is None:
        raise SembridgeError(
            f"{name} has no {', '.join(SPLITS[:-1])} or {SPLITS[-1]} split to tune on (splits: "
            f"{', '.join(splits) or 'none'}), and a test split is never tuned on: its figures would be worth nothing "
            f"afterwards. Add qrels/dev.tsv with other queries, or give {PSEUDO}PLACE, text without labels."
        )
    return _sampled(load_retrieval_data(name, split=split), seed)


def check_tunable(recipe: TransferRecipe, fixed: Collection[str] = ()) -> None:
    """Refuses a recipe of which nothing can be tuned, before any work is done.

    Raises:
        SembridgeError: another method than sembridge, a name in `fixed` that is no setting, or all settings fixed.
    """
    if not recipe.rule.settings.issuperset(VARIED):
        tunable = ", ".join(name for name, method in METHODS.items() if method.settings.issuperset(VARIED))
        raise SembridgeError(
            f"Method {recipe.method} has no settings to tune; tuning is for method {tunable}. Leave one of the two out."
        )
    if unknown := sorted(set(fixed) - TransferRecipe.model_fields.keys()):
        raise SembridgeError(f"{unknown[0]} is no setting of a transfer; expected one of {', '.join(VARIED)}.")
    if set(VARIED) <= set(fixed):
        raise SembridgeError(
            f"All settings that tuning varies are fixed ({', '.join(VARIED)}); leave one of them open, or do not tune."
        )


def tune(
    encoder: "SparseEncoder",
    target_tokenizer: "PreTrainedTokenizerBase",
    bridge: "Bridge | Sequence[Bridge]",
    data: RetrievalData,
    *,
    recipe: TransferRecipe | None = None,
    fixed: Collection[str] = (),
    device: str = "cpu",
    cache_folder: Path | None = None,
    progress: bool = False,
) -> Tuning:
    """The settings of a transfer that find most in `data`, after at most 14 transfers.

    Why the highest value and not the cheapest of those that do not differ significantly from it: "not significant" is
    not "equal", and says the less the fewer queries there are. The highest mean is the best guess either way; the
    p-values beside it say how much of a guess it is.

    Args:
        encoder, target_tokenizer, bridge, device, cache_folder: as `transfer` takes them.
        data: what `load_tuning_data` gives, or any other; never the data that the result is tested on.
        recipe: where the search starts; `TransferRecipe()` by default.
        fixed: names of settings that keep the value they have in `recipe`.
        progress: show a progress bar on stderr.

    Raises:
        SembridgeError: as `check_tunable` and `transfer`.

    Example:
        >>> tuning = tune(load_encoder("mini/splade-en"), load_tokenizer("mini/tokenizer-ko"),
        ...               load_bridge("mini/bridge"), load_tuning_data("mini/faq-ko"))  # doctest: +SKIP
        >>> tuning.recipe, tuning.best.value  # doctest: +SKIP
    """
    start = recipe or TransferRecipe.build({})
    check_tunable(start, fixed)
    with _bar(shown=progress) as advance:

        def attempt(tried: TransferRecipe) -> _Found:
            result = transfer(
                encoder, target_tokenizer, bridge, recipe=tried, device=device, cache_folder=cache_folder,
                progress=progress and tried is start,  # only the first has the bridge at work
            )  # fmt: skip
            evaluation = evaluate(
                result.encoder, data, measures=(MEASURE,), top_k=depth((MEASURE,)), encode_with="fast"
            )
            advance(evaluation.measures[MEASURE])
            return _Found(evaluation, result.report.similarity)

        tried = _search(start, fixed, attempt)
    candidates = _with_p_values(tried)
    return Tuning(
        data=data.name,
        split=data.split,
        n_queries=len(data.queries),
        n_documents=len(data.corpus),
        candidates=candidates,
        best=_best(candidates),
    )


@dataclass(frozen=True)
class _Found:
    """What a transfer found, and the quantiles of its combined rows' best similarity."""

    evaluation: Evaluation
    similarity: Mapping[str, float]


def _search(
    start: TransferRecipe, fixed: Collection[str], attempt: Callable[[TransferRecipe], _Found]
) -> list[Candidate]:
    """The candidates in the order in which they were tried, the start first."""
    found = attempt(start)
    tried = [_candidate(start, found.evaluation, [])]
    choices = _choices(start, fixed, found.similarity)
    settled: Candidate | None = None
    while settled is not _best(tried):
        settled = _best(tried)
        for values in choices:
            around = _best(tried).recipe
            for value in values:
                recipe = TransferRecipe.build({**around.settings(), **value})
                if len(tried) < MAX_TRANSFERS and all(recipe != candidate.recipe for candidate in tried):
                    tried.append(_candidate(recipe, attempt(recipe).evaluation, tried, around=around))
    return tried


def _choices(start: TransferRecipe, fixed: Collection[str], similarity: Mapping[str, float]) -> list[list[Settings]]:
    """Of every setting the values that leave fixed ones as they are."""
    found = [CALIBRATION, TRUST]
    if start.weighting == "entmax":
        found.append(ALPHA)
    if (quartile := similarity.get(THRESHOLD_QUANTILE)) is not None:
        none = PRESETS[start.preset]["min_similarity"]
        found.append(({"min_similarity": none}, {"min_similarity": round(quartile, 2)}))
    kept = {name: getattr(start, name) for name in fixed}
    return [
        [value for value in values if all(kept.get(name, wanted) == wanted for name, wanted in value.items())]
        for values in found
    ]


def _best(candidates: Sequence[Candidate]) -> Candidate:
    return max(candidates, key=lambda candidate: (round(candidate.value, 9), -candidate.flops))  # the first of equals


def _candidate(
    recipe: TransferRecipe, found: Evaluation, before: Sequence[Candidate], *, around: TransferRecipe | None = None
) -> Candidate:
    candidate = Candidate(
        recipe=recipe,
        step={} if around is None else _difference(around, recipe),
        changes=_difference(before[0].recipe, recipe) if before else {},
        is_new_best=False,
        value=found.measures[MEASURE],
        flops=found.flops or 0.0,
        query_active_dims=found.query_active_dims or 0.0,
        document_active_dims=found.document_active_dims or 0.0,
        per_query=found.per_query[MEASURE],
    )
    return replace(candidate, is_new_best=_best([*before, candidate]) is candidate)


def _with_p_values(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    start, *others = candidates
    if not others:
        return (start,)
    compared = compare_all(
        {MEASURE: start.per_query}, {str(n): {MEASURE: other.per_query} for n, other in enumerate(others)}, n_changes=0
    )
    found = [compared[str(n)][MEASURE] for n in range(len(others))]
    pairs = zip(others, found, strict=True)
    return (start, *(replace(other, p=tested.p_permutation, p_holm=tested.p_holm) for other, tested in pairs))


def _pseudo_data(name: str, seed: int) -> RetrievalData:
    """As many passages as may be documents, each asked for by its title or by a sentence of it."""
    from sembridge.training.data import load_training_data

    pairs = load_training_data(name, pairs=MAX_DOCUMENTS, seed=seed)
    ids = {text: f"document-{n}" for n, text in enumerate(dict.fromkeys(pairs.documents), start=1)}
    queries = {f"query-{n}": text for n, text in enumerate(dict.fromkeys(pairs.queries), start=1)}
    return RetrievalData(
        name=pairs.name,
        language=None,
        corpus={document_id: text for text, document_id in ids.items()},
        queries=queries,
        qrels={query: {ids[answer]: 1 for answer in sorted(pairs.relevant[text])} for query, text in queries.items()},
    )


def _sampled(data: RetrievalData, seed: int) -> RetrievalData:
    """The name stays: what is printed beside it are the numbers of queries and documents."""
    asked = data.sample(MAX_QUERIES, seed=seed)
    relevant = {document for judged in asked.qrels.values() for document, score in judged.items() if score > 0}
    return replace(asked.sample(n_documents=max(MAX_DOCUMENTS, len(relevant)), seed=seed), name=data.name)


@contextmanager
def _bar(*, shown: bool) -> Iterator[Callable[[float], None]]:
    with Progress("tuning, at most", total=MAX_TRANSFERS, unit="transfers", shown=shown) as bar:
        best = 0.0

        def advance(value: float) -> None:
            nonlocal best
            best = max(best, value)
            bar.note = f"best {MEASURE} {best:.3f}"
            bar.advance()

        yield advance


def _difference(before: TransferRecipe, after: TransferRecipe) -> dict[str, object]:
    known = before.settings()
    return {name: value for name, value in after.settings().items() if value != known.get(name)}


def _in_words(settings: Settings) -> str:
    def shown(value: Any) -> str:
        return {True: "on", False: "off"}[value] if isinstance(value, bool) else f"{value:g}"

    return ", ".join(f"{name} {shown(value)}" for name, value in settings.items())
