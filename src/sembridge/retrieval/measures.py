"""Measures by the names of ir-measures: which there are, and how deep they look."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sembridge.errors import SembridgeError

if TYPE_CHECKING:
    from ir_measures import Measure


DEFAULT_MEASURES = ("nDCG@10", "R@100", "RR@10")
DEFAULT_TOP_K = 1000


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


def _parse_measure(name: str, top_k: int | None) -> "Measure":
    import ir_measures

    try:
        measure = ir_measures.parse_measure(name)
        supported = ir_measures.DefaultPipeline.supports(measure)
    except (ValueError, NameError, TypeError, KeyError, AssertionError) as error:
        raise SembridgeError(
            f"Unknown measure {name!r} ({error}): expected ir-measures notation, such as nDCG@10, R@100, RR@10 or AP."
        ) from error
    if not supported:
        raise SembridgeError(f"Measure {name!r} needs a tool that is not installed: choose another, such as nDCG@10.")
    cutoff = measure.params.get("cutoff", 0)
    if top_k is not None and cutoff > top_k:
        raise SembridgeError(f"{name} looks at {cutoff} documents but top_k is {top_k}: raise top_k to {cutoff}.")
    return measure
