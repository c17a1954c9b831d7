"""The model card a transfer writes: language, source and licence up front, then how the model was made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import ModelCardData

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


def write_model_card(folder: Path, content: CardContent) -> None:
    (folder / "README.md").write_text(render_model_card(content), encoding="utf-8")


def render_model_card(content: CardContent) -> str:
    """Markdown with the Hub's YAML front matter."""
    data = ModelCardData(
        language=content.language,
        license=content.license,
        license_name=content.license_name,
        license_link=content.license_link,
        base_model=_hub_id(content.source_encoder),
        library_name="sentence-transformers",
        pipeline_tag="feature-extraction",
        tags=["sentence-transformers", "sparse-encoder", "sparse", "splade", "sembridge"],
    )
    return f"---\n{data.to_yaml()}\n---\n\n{_body(content)}"


ZERO_SHOT = "It has not been trained in the target language (zero-shot)."


def with_training(card: str | None, facts: Mapping[str, object], curve: Sequence[Mapping[str, float]]) -> str:
    """The start encoder's card with what it was trained on; a short card of its own where the start has none."""
    start = (
        card or "---\nlibrary_name: sentence-transformers\npipeline_tag: feature-extraction\n---\n\n# Sparse encoder\n"
    )
    start = start.replace(ZERO_SHOT, "After that it was trained in the target language (see below).")
    last = dict(curve[-1]) if curve else {}
    rows = {**{key: value for key, value in facts.items() if key != "versions" and value is not None}, **last}
    table = "\n".join(
        f"| {key} | {f'{value:.4g}' if isinstance(value, float) else value} |" for key, value in rows.items()
    )
    return f"""{start.rstrip()}

## Training

| | |
|---|---|
{table}

Settings in `train_recipe.yaml`, the curve of losses and dev measures in `curve.jsonl`.
"""


def is_non_commercial(license_name: str | None) -> bool:
    return license_name is not None and any(part in NON_COMMERCIAL for part in license_name.lower().split("-"))


def _body(content: CardContent) -> str:
    counts = "\n".join(f"| {kind} | {count:,} |" for kind, count in content.counts.items())
    recipe = "\n".join(f"    {key}: {value}" for key, value in content.recipe.items())
    versions = ", ".join(f"{name} {version}" for name, version in content.versions.items())
    return f"""# {content.title}

A learned sparse retrieval encoder: a text becomes weights over a vocabulary of {content.n_target:,} tokens. It was
moved from English by [SemBridge](https://arxiv.org/abs/2605.26002) and is a stock Sentence Transformers
`SparseEncoder`: nothing of SemBridge is needed to use it.

{_licence_line(content)}

```python
from sentence_transformers import SparseEncoder

encoder = SparseEncoder("PATH_OR_NAME_OF_THIS_MODEL")
documents = encoder.encode_document(["..."])
queries = encoder.encode_query(["..."])
scores = encoder.similarity(queries, documents)
```

## How it was made

| | |
|---|---|
| source encoder | `{content.source_encoder}` |
| target tokenizer | `{content.target_tokenizer}` |
| bridge | {f"`{content.bridge}`" if content.bridge else "none"} |
| method | {content.method} |

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


def _licence_line(content: CardContent) -> str:
    name = content.license_name or content.license
    if is_non_commercial(name):
        return f"**Not for commercial use.** The source encoder's licence, `{name}`, carries over."
    if name:
        return f"Licence: `{name}`, carried over from the source encoder."
    return "Licence: the source encoder states none that could be read; ask its authors before you use this model."


def _hub_id(name: str) -> str | None:
    """`owner/model`, or None for a folder or a bundled model: the Hub refuses other base models."""
    owner_and_name = name.split("/")
    bundled = owner_and_name[0] == "mini"
    is_id = len(owner_and_name) == 2 and all(owner_and_name) and not name.startswith((".", "~"))
    return name if is_id and not bundled and not Path(name).exists() else None
