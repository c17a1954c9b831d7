"""Pseudo queries: training pairs from text that nobody labelled.

A title asks for its text. A passage without a title gives one of its sentences, which asks for the rest: the inverse
cloze task of Lee et al. 2019 (arXiv 1906.00300, section 4).
"""

import logging
import random
import re
from collections.abc import Iterable
from dataclasses import dataclass

from sembridge.errors import SembridgeError
from sembridge.retrieval.corpus import Document

logger = logging.getLogger(__name__)

MAX_PAIRS = 100_000  # kept in memory when nothing else is said; a gigabyte at most, for passages of a page each
KEPT_SHARE = 0.1  # of the passages keep their sentence, so that equal words stay worth learning (Lee et al.)
MIN_CHARACTERS, MAX_CHARACTERS = 10, 300  # of a sentence that serves as a query
# A full stop ends a sentence before white space only (3.5, U.S.A.); the marks of Chinese and Japanese need none.
_SENTENCE_ENDS = re.compile(r"(?<=[.!?؟۔।…])\s+|(?<=[。！？])|\n+")
_CLAUSE_ENDS = re.compile(r"(?<=[,;:،؛])\s+|(?<=[，、；：])")


@dataclass(frozen=True)
class PseudoPair:
    query: str
    document: str


def pseudo_pairs(documents: Iterable[Document], *, name: str, n_pairs: int, seed: int) -> list[PseudoPair]:
    """A pair each of at most `n_pairs` random documents, in their order; memory is that of the result.

    The pair of a document depends on its id and text and the seed, not on the documents around it.

    Raises:
        SembridgeError: no document has a title, or two sentences.
    """
    chosen: list[tuple[int, PseudoPair]] = []
    draw = random.Random(seed)
    n_documents = n_usable = 0
    for n_documents, document in enumerate(documents, start=1):
        if (pair := pseudo_pair(document, seed=seed)) is None:
            continue
        n_usable += 1
        if len(chosen) < n_pairs:
            chosen.append((n_documents, pair))
        elif (place := draw.randrange(n_usable)) < n_pairs:  # reservoir sampling: every document is as likely to stay
            chosen[place] = (n_documents, pair)
    if not chosen:
        raise SembridgeError(
            f"None of the {n_documents:,} documents of {name} has a title or two sentences to make a pair of; give a "
            "corpus of passages."
        )
    logger.info("%s: %d pairs; %d of %d documents give one", name, len(chosen), n_usable, n_documents)
    return [pair for _, pair in sorted(chosen, key=lambda numbered: numbered[0])]


def pseudo_pair(document: Document, *, seed: int) -> PseudoPair | None:
    """Title and text, or a random sentence (a clause where there is one sentence) and the rest; None without either.

    In nine of ten passages the sentence is cut out, wherever it occurs.
    """
    title, text = document.title.strip(), document.text.strip()
    if title and text:
        return PseudoPair(title, text)
    parts = _parts(text, _SENTENCE_ENDS)
    if len(parts) < 2:
        parts = _parts(text, _CLAUSE_ENDS)
    draw = random.Random(f"{seed} {document.id}")  # a text as seed: the same in every process
    queries = [part for part in parts if MIN_CHARACTERS <= len(part) <= MAX_CHARACTERS]
    if not queries:
        return None
    query = draw.choice(queries)
    rest = " ".join(part for part in parts if query not in part)
    if len(rest) < MIN_CHARACTERS or query in rest:
        return None
    return PseudoPair(query, text if draw.random() < KEPT_SHARE else rest)


def _parts(text: str, ends: re.Pattern[str]) -> list[str]:
    return [part.strip() for part in ends.split(text) if part.strip()]
