"""Alignments as data for a page: every target token with the source tokens it is made of, in a few hundred kilobytes.

Columns instead of records, deflated, in base64: five languages of 24,000 tokens fit a page that a mail can carry.
"""

import base64
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MAX_PARTS = 3
NO_SIMILARITY = 255  # of rows that were not combined


@dataclass(frozen=True, eq=False)
class TokenColumns:
    """A transfer's target tokens: one entry a token in every column but the last two.

    Attributes:
        name: of the transfer.
        language: its code, or None.
        texts: what a reader sees: the text without markers, or the raw spelling where there is none.
        kinds: name of the RowKind in lower case.
        continues: (n_target,) bool, whether the token goes on a word.
        support: (n_target,) number of source tokens.
        similarity: (n_target,) the best cosine, NaN where there is none.
        part_tokens: the source tokens of all rows, of each row the heaviest first.
        part_weights: (sum of support,) their weights.
    """

    name: str
    language: str | None
    texts: Sequence[str]
    kinds: Sequence[str]
    scripts: Sequence[str]
    continues: np.ndarray
    support: np.ndarray
    similarity: np.ndarray
    part_tokens: Sequence[str]
    part_weights: np.ndarray


def pack_explorer(transfers: Sequence[TokenColumns], *, budget: int) -> dict[str, object] | None:
    """What the page's explorer reads, within `budget` bytes; None without transfers.

    Over the budget a row keeps its two heaviest source tokens, then one; then the last tokens of the vocabularies, the
    rarest ones in most, are left out. The page says so.
    """
    if not transfers:
        return None
    for max_parts in range(MAX_PARTS, 0, -1):
        packed = _pack(transfers, max_parts, share=1.0)
        if _size(packed) <= budget:
            return packed
    share = budget / _size(packed)
    while _size(packed := _pack(transfers, 1, share=share)) > budget and share > 0.001:
        share *= 0.9
    return packed


def _size(packed: dict[str, object]) -> int:
    return len(json.dumps(packed))


def _pack(transfers: Sequence[TokenColumns], max_parts: int, *, share: float) -> dict[str, object]:
    numbers: dict[str, int] = {}  # of all transfers' source tokens, in the order in which they come
    packed = [
        _pack_transfer(columns, numbers, max_parts, n_kept=max(1, round(share * len(columns.texts))))
        for columns in transfers
    ]
    return {"max_parts": max_parts, "sources": _deflated(_json(list(numbers))), "transfers": packed}


def _pack_transfer(columns: TokenColumns, numbers: dict[str, int], max_parts: int, *, n_kept: int) -> dict[str, object]:
    support = columns.support[:n_kept].astype(np.int64)
    place = np.arange(support.sum()) - np.repeat(np.cumsum(support) - support, support)
    shown = np.flatnonzero(place < max_parts)  # of the parts, which a row's support follow each other
    sources = np.array(
        [numbers.setdefault(columns.part_tokens[i], len(numbers)) for i in shown.tolist()], dtype=np.int64
    )
    kinds, scripts = (list(dict.fromkeys(names)) for names in (columns.kinds, columns.scripts))
    similarity = columns.similarity[:n_kept]
    # Bytes of one meaning beside each other deflate better than records do.
    planes = (
        _numbers(columns.kinds[:n_kept], kinds),
        _numbers(columns.scripts[:n_kept], scripts),
        columns.continues[:n_kept],
        support.clip(0, 255),
        np.where(np.isnan(similarity), NO_SIMILARITY, np.round(100 * np.nan_to_num(similarity).clip(0, 1))),
        np.round(100 * columns.part_weights[shown]),
        *(sources >> shift & 255 for shift in (0, 8, 16)),
    )
    return {
        "name": columns.name,
        "language": columns.language,
        "n": len(support),
        "n_all": len(columns.texts),
        "n_parts": len(shown),
        "kinds": kinds,
        "scripts": scripts,
        "texts": _deflated(_json(list(columns.texts[:n_kept]))),
        "columns": _deflated(b"".join(np.asarray(plane).astype(np.uint8).tobytes() for plane in planes)),
    }


def _numbers(values: Sequence[str], names: Sequence[str]) -> np.ndarray:
    number_of = {name: number for number, name in enumerate(names)}
    return np.array([number_of[value] for value in values], dtype=np.uint8)


def _json(values: list[str]) -> bytes:
    return json.dumps(values, ensure_ascii=False).encode("utf-8", "replace")  # half a surrogate pair has no UTF-8


def _deflated(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content, 9)).decode("ascii")
