"""What an encoder states in its settings, beside its weights, and what every verb must heed."""

import copy
from typing import TYPE_CHECKING, Any, Literal, get_args

from sembridge.errors import SembridgeError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer, SparseEncoder

Task = Literal["query", "document"]
LENGTHS = ("query_length", "document_length")


def prompt_of(encoder: "SparseEncoder | SentenceTransformer", task: Task) -> str | None:
    """The prompt that `encode_query` or `encode_document` takes by itself."""
    names = ("query",) if task == "query" else ("document", "passage", "corpus")
    name = next((name for name in names if name in encoder.prompts), encoder.default_prompt_name)
    return encoder.prompts.get(name) if name is not None else None


def scores_by_cosine(encoder: "SparseEncoder") -> bool:
    """Whether the encoder's own score is the cosine; False: the dot product.

    Raises:
        SembridgeError: it is a distance, which no index of sparse vectors can rank by.
    """
    stated = copy.copy(encoder).similarity_fn_name  # reading the property sets an unset name, here in a shallow copy
    if stated not in ("dot", "cosine"):
        raise SembridgeError(
            f"The encoder states the similarity {stated}; sparse vectors are searched by dot product or cosine. If it"
            ' was trained for one of them, set "similarity_fn_name" in its config_sentence_transformers.json.'
        )
    return bool(stated == "cosine")


def stated_settings(encoder: "SparseEncoder") -> dict[str, Any]:
    """Lengths and expansion of one side, prompts and the similarity cosine; only what the encoder states."""
    lengths: dict[str, Any] = {
        name: getattr(module, name)
        for module in encoder.modules()
        for name in LENGTHS
        if getattr(module, name, None) is not None
    }
    expansion = next((module.query_expansion for module in encoder.modules() if _expands(module)), None)
    if expansion is not None:
        lengths["query_expansion"] = f"{expansion['strategy']} {expansion['length']}"
    prompts = {f"{task}_prompt": prompt for task in get_args(Task) if (prompt := prompt_of(encoder, task))}
    return lengths | prompts | ({"similarity": "cosine"} if scores_by_cosine(encoder) else {})


def treats_sides_apart(encoder: "SparseEncoder") -> bool:
    """Whether a text must come with its task for another reason than a Router's routes: lengths, or an expansion."""
    return not {*LENGTHS, "query_expansion"}.isdisjoint(stated_settings(encoder))


def _expands(module: object) -> bool:
    return getattr(module, "query_expansion", None) is not None


def refuse_missing_routes(encoder: "SparseEncoder | SentenceTransformer", name: object, *tasks: str | None) -> None:
    """Refuses an encoder whose Router has no way for texts of one of the tasks; None: for texts without a task."""
    from sentence_transformers.base.modules import Router

    for router in (module for module in encoder.children() if isinstance(module, Router)):
        for task in tasks:
            try:
                router._resolve_route(task=task, modality="text")
            except ValueError as error:
                asked = f"{task} texts" if task else "texts without a task"
                raise SembridgeError(
                    f"{name} has no route for {asked} (routes: {', '.join(router.sub_modules)}); expected query and"
                    " document, or a default_route in its router_config.json."
                ) from error
