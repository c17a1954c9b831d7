"""The settings of a tokenizer that is trained."""

from typing import Literal

from sembridge.files.recipe import Recipe, setting


class TokenizerRecipe(Recipe):
    """Everything that decides what tokenizer a corpus gives."""

    language: str | None = setting(
        None, pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]+)*$", unit="code",
        help="of the corpus, such as de: Turkish and Greek letters, vowel signs and widths are treated by it",
    )  # fmt: skip
    family: Literal["wordpiece", "unigram", "bpe"] | None = setting(
        None,
        help="kind of tokenizer, bpe is byte-level; not given: wordpiece, and unigram for text without spaces. "
        "transfer --extend needs that of the source",
    )
    vocabulary_size: int | None = setting(
        None, ge=1000, le=500_000, unit="tokens",
        help="at most; not given: as many as the words that cover 95 % of the corpus, 2,000 to 48,000",
    )  # fmt: skip
    keep_case: bool = setting(False, help="tell capitals from small letters")
    strip_accents: bool | None = setting(
        None, help="take accents and vowel signs away; not given: of Arabic and Hebrew only, where they are optional"
    )
