"""Measures by the names of ir-measures: which there are, and how deep they look."""

import difflib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sembridge.errors import SembridgeError

if TYPE_CHECKING:
    from ir_measures import Measure


DEFAULT_MEASURES = ("nDCG@10", "R@100", "RR@10")
DEFAULT_TOP_K = 1000
_WHOLE_RANKING = ("AP", "Bpref", "RBP", "infAP")  # are mostly taken of all that was found


def depth(measures: Sequence[str]) -> int:
    """The deepest rank that one of the measures looks at: 100 of nDCG@10 and R@100, 0 without cutoffs.

    Raises:
        SembridgeError: an unknown measure.
    """
    return max(int(measure.params.get("cutoff", 0)) for measure in parse_measures(measures, None))


def is_measure(text: str) -> bool:
    """Whether ir-measures knows a measure of this name, such as nDCG@10 or AP."""
    try:
        _parse_measure(text, None)
    except SembridgeError:
        return False
    return True


def parse_measures(measures: Sequence[str], top_k: int | None) -> "list[Measure]":
    if not measures:
        raise SembridgeError("No measure given: name at least one, such as nDCG@10.")
    return list(dict.fromkeys(_parse_measure(measure, top_k) for measure in measures))


def _did_you_mean(name: str) -> str:
    """The measure that a name in another notation means: ndcg10, map_100, recall@5."""
    import ir_measures

    def letters(text: str) -> str:
        return re.sub(r"_cut|[\d\W_]+", "", text.lower())

    known = {letters(other): measure for other, measure in ir_measures.measures.registry.items()}
    near = difflib.get_close_matches(letters(name), list(known), n=1, cutoff=0.75)
    if not near:
        return ""
    measure = known[near[0]]
    stated = re.search(r"\d+", name)
    cutoff = stated[0] if stated else "" if str(measure) in _WHOLE_RANKING else "10"
    takes_cutoff = "cutoff" in measure.SUPPORTED_PARAMS and cutoff
    return f" Did you mean {measure}{f'@{cutoff}' if takes_cutoff else ''}?"


def _parse_measure(name: str, top_k: int | None) -> "Measure":
    import ir_measures

    try:
        measure = ir_measures.parse_measure(name)
        supported = ir_measures.DefaultPipeline.supports(measure)
    except (ValueError, NameError, TypeError, KeyError, AssertionError) as error:
        raise SembridgeError(
            f"Unknown measure {name!r} ({error}): expected ir-measures notation, such as nDCG@10, R@100, RR@10 or AP."
            f"{_did_you_mean(name)}"
        ) from error
    if not supported:
        raise SembridgeError(f"Measure {name!r} needs a tool that is not installed: choose another, such as nDCG@10.")
    cutoff = measure.params.get("cutoff", 0)
    if top_k is not None and cutoff > top_k:
        raise SembridgeError(f"{name} looks at {cutoff} documents but top_k is {top_k}: raise top_k to {cutoff}.")
    return measure
