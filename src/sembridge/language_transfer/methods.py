"""The methods that build the rows of a target vocabulary. One more is a row here and a file of its own name.

The file lies in `initialization`. It has `place(inputs)`, which gives weights over source tokens to the target tokens
that it can place, or, where every new row is drawn, `draw(source_rows, count, generator)`. All methods copy the same
overlap and go through the same surgery.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

# Settings that decide over the result of every method.
_OF_ALL = frozenset({"method", "fuzzy", "extend", "add_special_tokens", "seed"})


@dataclass(frozen=True)
class Method:
    """What is known of a method before its file is loaded.

    Attributes:
        name: also that of its file.
        needs_bridge: whether it asks a bridge for vectors of token texts.
        files: settings that name a file it cannot do without.
        optional_files: settings that name a file it reads where one is given.
        own_settings: further settings that count for it; all others change nothing in its rows.
        is_drawn: whether it draws every new row, and places none.
        fallback: the drawing method behind the rows that it does not place; None leaves it to the setting `fallback`.
        is_seeded: whether another seed gives another encoder worth measuring. Without it at most the few rows that the
            method does not place are drawn.
        seeded_with: settings that make it so where they are set.
    """

    name: str
    needs_bridge: bool = False
    files: tuple[str, ...] = ()
    optional_files: tuple[str, ...] = ()
    own_settings: tuple[str, ...] = ()
    is_drawn: bool = False
    fallback: str | None = "univariate"
    is_seeded: bool = False
    seeded_with: tuple[str, ...] = ()

    @property
    def settings(self) -> frozenset[str]:
        """Every setting that decides over the result under this method."""
        return _OF_ALL.union(self.files, self.optional_files, self.own_settings)


def _by_name(methods: Iterable[Method]) -> Mapping[str, Method]:
    return {method.name: method for method in methods}


METHODS: Mapping[str, Method] = _by_name(
    (
        Method(
            "sembridge",
            needs_bridge=True,
            optional_files=("target_text", "dictionary"),
            own_settings=(
                "preset", "weighting", "alpha", "top_k", "temperature", "through_words", "merge_twins", "candidates",
                "hub_neighbours", "residual", "evidence", "match_activity", "firing_cap",
                "min_similarity", "fallback", "covariance_scale", "bridge_dtype",
            ),
            fallback=None,
            seeded_with=("residual", "evidence"),
        ),
        Method("random", is_drawn=True, fallback="random", is_seeded=True),
        Method("mean", is_drawn=True, fallback="mean"),
        Method("univariate", is_drawn=True, fallback="univariate", is_seeded=True),
        Method(
            "multivariate", is_drawn=True, fallback="multivariate", is_seeded=True,
            own_settings=("covariance_scale",),
        ),
        # FOCUS and WECHSEL publish a univariate Gaussian for tokens without a vector, and OFA's rule is close to it.
        Method("focus", files=("target_text",)),
        Method(
            "ofa", files=("word_vectors",), optional_files=("source_word_vectors",),
            own_settings=("top_k", "temperature"),
        ),
        Method(
            "wechsel", files=("word_vectors", "source_word_vectors", "dictionary"),
            own_settings=("top_k", "temperature"),
        ),
    )
)  # fmt: skip
