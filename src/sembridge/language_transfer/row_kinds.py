"""Where the rows of a transferred encoder come from."""

from enum import IntEnum

from sembridge.language_transfer.overlap import MatchKind


class RowKind(IntEnum):
    """Where a target row comes from; the first four are the overlap's kinds.

    INERT rows stand for ids that the target tokenizer never gives to a text: unused and role-less special tokens, holes
    and padding of the matrix. The head scores them all the same, so they must not fire.
    """

    SPECIAL = MatchKind.SPECIAL
    EXACT = MatchKind.EXACT
    FUZZY = MatchKind.FUZZY
    BYTE = MatchKind.BYTE
    COMBINED = 4
    FALLBACK = 5
    INERT = 6
