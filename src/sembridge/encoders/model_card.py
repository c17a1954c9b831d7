"""The model card that every verb writes: licence and language up front, how the model was made, and its numbers.

A card is text in, text out. Its front matter is what the Hub reads (huggingface.co/docs/hub/model-cards), the measures
included (`model-index`).
"""

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from sembridge.errors import SembridgeError, reason_of

NON_COMMERCIAL = ("nc", "noncommercial", "non-commercial")


@dataclass(frozen=True)
class CardContent:
    """What a card says; None where it is not known."""

    title: str
    language: str | None
    license: str | None
    source_encoder: str
    target_tokenizer: str
    bridge: str | None
    method: str
    n_target: int
    counts: dict[str, int]
    recipe: dict[str, object]
    versions: dict[str, str]
    license_name: str | None = None  # with license "other"
    license_link: str | None = None
    tuned_on: str | None = None  # the data that the settings were chosen on


def write_model_card(folder: Path, content: CardContent) -> None:
    (folder / "README.md").write_text(render_model_card(content), encoding="utf-8")


def render_model_card(content: CardContent) -> str:
    """Markdown with the Hub's YAML front matter."""
    data = _data(
        language=content.language,
        license=content.license,
        license_name=content.license_name,
        license_link=content.license_link,
        base_model=_hub_id(content.source_encoder),
    )
    return with_front_matter(data, _body(content))


ZERO_SHOT = "It has not been trained in the target language (zero-shot)."
_TAGS = ["sentence-transformers", "sparse-encoder", "sparse", "splade", "sembridge"]
_SCORES = re.compile(r"\n## Quality\n.*?(?=\n## |\Z)", re.DOTALL)
_TASK = ("sparse-information-retrieval", "Sparse Information Retrieval")  # as in Sentence Transformers' own cards


@dataclass(frozen=True)
class Score:
    """A measure of the model on a data set.

    Attributes:
        data: what tables call the data, such as mini/faq-ko.
        measure: in ir-measures notation, such as nDCG@10, or the name of a figure, such as document_active_dims.
        heading: what tables call it; the measure itself where nothing is given.
    """

    data: str
    split: str | None
    measure: str
    value: float
    heading: str | None = None


def with_training(
    card: str | None, facts: Mapping[str, object], figures: Mapping[str, float], scores: Sequence[Score] = ()
) -> str:
    """The card of an encoder after a training: the start's card with what it was trained on.

    Args:
        card: the start's; one that SemBridge did not write gives its licence, language and base models only, because
            its words and numbers are about another model.
        facts: names and counts, in the order of the table; None is left out.
        figures: of the step that was kept.
        scores: on the dev data.
    """
    start = _card_of_ours(card).replace(ZERO_SHOT, "After that it was trained in the target language (see below).")
    rows = {**{key: value for key, value in facts.items() if value is not None}, **figures}
    table = "\n".join(
        f"| {_plain(key)} | {f'{value:.4g}' if isinstance(value, float) else _plain(value)} |"
        for key, value in rows.items()
    )
    trained = f"""{start.rstrip()}

## Training

| | |
|---|---|
{table}

Settings in `train_recipe.yaml`, the curve of losses and dev measures in `curve.jsonl`.
"""
    return with_scores(_without_scores(trained), scores)


def read_card(path: Path) -> str:
    """The text of a card whose front matter can be read.

    Raises:
        SembridgeError: it is no UTF-8, no valid YAML, or the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
        _parsed(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SembridgeError(
            f"The model card {path} cannot be read ({reason_of(error)[:120]}); mend the YAML between its first two "
            "lines of three dashes, or move the card away."
        ) from None
    return text


def with_scores(card: str, scores: Sequence[Score], verdicts: Mapping[str, str] | None = None) -> str:
    """The card with measures in the front matter and in the section Quality; those of before stay where not new.

    Args:
        verdicts: data set -> what was said of the model there, a sentence.
    """
    if not scores:
        return card
    data, body = _parsed(card)
    results = {_key(result): result for result in (*(data.eval_results or ()), *map(_result, scores))}
    data.eval_results = list(results.values())
    data.model_name = data.model_name or _title(body)
    measured_again = {_plain(score.data) for score in scores}
    before = {name: said for name, said in _said(body).items() if name not in measured_again}
    new = {_plain(name): _plain(said) for name, said in (verdicts or {}).items()}
    section = _quality(data.eval_results, before | new)
    return with_front_matter(data, _SCORES.sub("", body).rstrip() + "\n\n" + section)


def _said(body: str) -> dict[str, str]:
    """Data set -> verdict in the section Quality, both as they are written there."""
    section = _SCORES.search(body)
    return dict(re.findall(r"^- \*\*(.+?)\*\*: (.+)$", section[0], re.MULTILINE)) if section else {}


def _without_scores(card: str) -> str:
    """A trained model is another one than that which was measured."""
    data, body = _parsed(card)
    data.eval_results = None
    return with_front_matter(data, _SCORES.sub("", body))


def _card_of_ours(card: str | None) -> str:
    data, body = _parsed(card) if card else (ModelCardData(), "")
    if card and "sembridge" in (data.get("tags") or ()):
        return card
    known = {key: data.get(key) for key in ("language", "license", "license_name", "license_link", "base_model")}
    licence = licence_line(data.get("license_name") or data.get("license"), "start encoder")
    body = f"# Sparse encoder\n\n{licence}\n\n{_ABOUT}\n\n{_USAGE}"
    return with_front_matter(_data(**known), body)


def _data(**known: Any) -> ModelCardData:
    """Front matter with what every card of ours says."""
    return ModelCardData(
        **known, library_name="sentence-transformers", pipeline_tag="feature-extraction", tags=[*_TAGS]
    )


def _parsed(card: str) -> tuple[ModelCardData, str]:
    parsed = ModelCard(card, ignore_metadata_errors=True)
    return cast(ModelCardData, parsed.data), parsed.text.lstrip("\n")


def with_front_matter(data: ModelCardData, body: str) -> str:
    """A card of what the Hub reads and what people read."""
    return f"---\n{data.to_yaml()}\n---\n\n{body}"


def _title(body: str) -> str:
    found = re.search(r"^# (.+)$", body, re.MULTILINE)
    return re.sub(r"\\([|\[*`\\])", r"\1", html.unescape(found[1].strip())) if found else "sparse encoder"


def _plain(value: object) -> str:
    """A name or a value in one line, so that neither Markdown nor HTML takes a part of it for its own."""
    return re.sub(r"([|\[*`\\])", r"\\\1", html.escape(" ".join(str(value).split()), quote=False))


def _code(name: str) -> str:
    """A name as code, in a cell of a table; its fence is longer than any of its own backticks."""
    text = " ".join(name.split()).replace("|", "\\|")
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}{text}{fence}" if len(fence) == 1 else f"{fence} {text} {fence}"


def _result(score: Score) -> EvalResult:
    return EvalResult(
        task_type=_TASK[0], task_name=_TASK[1], dataset_type=score.data, dataset_name=score.data,
        dataset_split=score.split, metric_type=score.measure, metric_name=score.heading or score.measure,
        metric_value=round(float(score.value), 4),
    )  # fmt: skip


def _key(result: EvalResult) -> tuple[str, ...]:
    return (result.dataset_name, str(result.dataset_split), result.metric_type)


def _quality(results: Sequence[EvalResult], verdicts: Mapping[str, str]) -> str:
    rows = "\n".join(
        f"| {_plain(result.dataset_name)} | {_plain(result.dataset_split or '')} "
        f"| {_plain(result.metric_name or result.metric_type)} | {_value_text(result.metric_value)} |"
        for result in results
    )
    said = "".join(f"- **{name}**: {text}\n" for name, text in verdicts.items()) + ("\n" if verdicts else "")
    return f"""## Quality

{said}| data | split | measure | value |
|---|---|---|---:|
{rows}
"""


def _value_text(value: float) -> str:
    """Shares to four places, costs to two, counts as they are."""
    return f"{value:.4f}" if value <= 1 else f"{value:,.0f}" if value == int(value) else f"{value:,.2f}"


def is_non_commercial(license_name: str | None) -> bool:
    return license_name is not None and any(part in NON_COMMERCIAL for part in license_name.lower().split("-"))


_ABOUT = """A learned sparse retrieval encoder, and a stock Sentence Transformers `SparseEncoder`: nothing of
SemBridge is needed to use it."""
_USAGE = """```python
from sentence_transformers import SparseEncoder

encoder = SparseEncoder("PATH_OR_NAME_OF_THIS_MODEL")
documents = encoder.encode_document(["..."])
queries = encoder.encode_query(["..."])
scores = encoder.similarity(queries, documents)
```
"""


def _body(content: CardContent) -> str:
    counts = "\n".join(f"| {kind} | {count:,} |" for kind, count in content.counts.items())
    recipe = "\n".join(f"    {key}: {' '.join(str(value).split())}" for key, value in content.recipe.items())
    versions = ", ".join(f"{name} {version}" for name, version in content.versions.items())
    tuned_on = f"| settings chosen on | {_plain(content.tuned_on)} |\n" if content.tuned_on else ""
    return f"""# {_plain(content.title)}

{licence_line(content.license_name or content.license, "source encoder")}

{_ABOUT}

A text becomes weights over a vocabulary of {content.n_target:,} tokens. It was moved from English by
[SemBridge](https://arxiv.org/abs/2605.26002).

{_USAGE}
## How it was made

| | |
|---|---|
| language | {_plain(content.language or "not stated")} |
| source encoder | {_code(content.source_encoder)} |
| target tokenizer | {_code(content.target_tokenizer)} |
| bridge | {_code(content.bridge) if content.bridge else "none"} |
| method | {_plain(content.method)} |
| training data | none |
{tuned_on}
{ZERO_SHOT} Rows of the new vocabulary, by where they come from:

| kind | tokens |
|---|---:|
{counts}

`special`, `exact`, `fuzzy` and `byte` rows are copies of source rows; `combined` rows are weighted sums of a few source
rows (the weights are in `alignment.safetensors`, the figures in `report.json`); `fallback` rows are drawn.

    # recipe.yaml
{recipe}

Made with {versions}.
"""


def licence_line(name: str | None, whose: str) -> str:
    """The sentence about the licence, loud where it forbids commercial use."""
    if name and is_non_commercial(name):
        return f"> **Not for commercial use.** The {whose}'s licence, {_code(name)}, carries over to this model."
    if name:
        return f"Licence: {_code(name)}, carried over from the {whose}."
    return f"Licence: the {whose} states none that could be read; ask its authors before you use this model."


def _hub_id(name: str) -> str | None:
    """`owner/model`, or None for a folder or a bundled model: the Hub refuses other base models."""
    owner_and_name = name.split("/")
    bundled = owner_and_name[0] == "mini"
    is_id = len(owner_and_name) == 2 and all(owner_and_name) and not name.startswith((".", "~"))
    return name if is_id and not bundled and not Path(name).exists() else None
