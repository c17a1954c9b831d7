"""What a tokenizer of one's own consists of: normalizer, words, model and trainer, family by family."""

import unicodedata
from collections.abc import Collection, Iterable, Sequence

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

ROLES = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
_PREFIX = "##"
_DOTTED_I = ("tr", "az", "crh")
_WIDTHS = ("zh", "ja", "ko")
OPTIONAL_VOWEL_SIGNS = ("ar", "he")


def normalizer(language: str | None, *, keep_case: bool, strip_accents: bool, spaces: bool) -> normalizers.Normalizer:
    """What is done to a text before it is cut, so that a word is one word however it was typed.

    Accents stay unless `strip_accents`; a letter and an accent that were typed as two become one (NFC), and where
    characters have two widths, one width (NFKC). Lower case is that of the language: Turkish I becomes ı, and the sigma
    that ends a Greek word is the other one's twin.

    Args:
        spaces: whether the language sets spaces; else a run of Chinese characters is not cut into single ones.
    """
    code = (language or "").partition("-")[0]
    steps: list[normalizers.Normalizer] = [normalizers.NFKC() if code in _WIDTHS else normalizers.NFC()]
    if code in _DOTTED_I and not keep_case:
        steps += [normalizers.Replace("İ", "i"), normalizers.Replace("I", "ı")]
    steps.append(
        normalizers.BertNormalizer(
            clean_text=True, handle_chinese_chars=spaces, strip_accents=strip_accents, lowercase=not keep_case
        )
    )
    if strip_accents:
        steps.append(normalizers.NFC())  # what is left of Hangul in pieces
    if code == "el" and not keep_case:
        steps.append(normalizers.Replace("ς", "σ"))
    return normalizers.Sequence(steps)


def wordpiece(
    normalizer: normalizers.Normalizer,
    size: int,
    *,
    spaces: bool = True,
    alphabet: Collection[str] = (),
    limit_alphabet: int | None = None,
    longest_word: int = 100,
    continuing: Collection[str] = (),
) -> tuple[Tokenizer, trainers.Trainer]:
    """BERT's kind. Where no spaces are set, words have no start, and no piece is marked as continuing one.

    Args:
        longest_word: characters; a longer word, or run of a text without spaces, is unknown as a whole.
        continuing: characters that are pieces within words, too, whether the corpus has them there or not: one unknown
            letter makes a whole word unknown. They are named to the trainer as special tokens are, which
            `without_named_pieces` undoes, and so have ids before it meets them in the order of chance: the same corpus
            gives the same tokens.
    """
    prefix = _PREFIX if spaces else ""
    tokenizer = Tokenizer(
        models.WordPiece(
            unk_token=ROLES["unk_token"], continuing_subword_prefix=prefix, max_input_chars_per_word=longest_word
        )
    )
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix=_PREFIX)
    return tokenizer, trainers.WordPieceTrainer(
        vocab_size=size, continuing_subword_prefix=prefix,
        special_tokens=[*ROLES.values(), *(f"{_PREFIX}{character}" for character in sorted(continuing))],
        initial_alphabet=sorted(alphabet), limit_alphabet=limit_alphabet,
    )  # fmt: skip


def byte_level_bpe(normalizer: normalizers.Normalizer, size: int) -> tuple[Tokenizer, trainers.Trainer]:
    """RoBERTa's kind, in which nothing is unknown."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    return tokenizer, trainers.BpeTrainer(vocab_size=size, special_tokens=[*ROLES.values()], initial_alphabet=alphabet)


def unigram(
    normalizer: normalizers.Normalizer, size: int, *, spaces: bool = True, alphabet: Collection[str] = ()
) -> tuple[Tokenizer, trainers.Trainer]:
    """XLM-R's kind. Where no spaces are set, a text's first word has no mark that the others lack."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizer
    marks = pre_tokenizers.Metaspace(prepend_scheme="always" if spaces else "never")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([marks, pre_tokenizers.Punctuation(behavior="isolated")])
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer, trainers.UnigramTrainer(
        vocab_size=size, special_tokens=[*ROLES.values()], unk_token=ROLES["unk_token"], n_sub_iterations=2,
        initial_alphabet=sorted(alphabet),
    )  # fmt: skip


def finished(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    """A trained pipeline as transformers loads it, with [CLS] and [SEP] around every text."""
    ends = [(ROLES[role], tokenizer.token_to_id(ROLES[role])) for role in ("cls_token", "sep_token")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=512, **ROLES)


def without_named_pieces(tokenizer: Tokenizer) -> Tokenizer:
    """The trained WordPiece tokenizer, in which the pieces that its trainer was given are pieces like all others."""
    vocabulary = tokenizer.get_vocab()
    plain = Tokenizer(models.WordPiece(vocabulary, unk_token=ROLES["unk_token"], continuing_subword_prefix=_PREFIX))
    plain.normalizer, plain.pre_tokenizer = tokenizer.normalizer, tokenizer.pre_tokenizer
    plain.decoder = tokenizer.decoder
    plain.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in ROLES.values()])
    return plain


_PAGE_BITS = 7
_FIRST_LARGE_SCRIPT = 0x2E80  # from here on Han, Kana and Hangul, of which a text holds what it needs
_ASCII = [chr(code) for code in range(0x21, 0x7F)]
_SIGNS = "–—‘’‚“”„…•‹›«»€£§°·¿¡©®™"
_LATIN_PAGES = (1, 2)  # U+0080 to U+017F: letters of names


def alphabet(letters: Iterable[str], normalizer: normalizers.Normalizer) -> list[str]:
    """Characters that a tokenizer shall know though its corpus may lack them, in their normalized form.

    ASCII, common signs, the letters of European names, and all letters, signs and digits beside those that the text
    has: on the same pages of 128 code points, which hold the alphabets but for the large ones of East Asia.
    """
    pages: Sequence[int] = sorted({ord(c) >> _PAGE_BITS for c in letters if ord(c) < _FIRST_LARGE_SCRIPT} - {0})
    codes = [page << _PAGE_BITS | low for page in {*pages, *_LATIN_PAGES} for low in range(1 << _PAGE_BITS)]
    found = {chr(code) for code in codes if unicodedata.category(chr(code))[0] in "LMN"}
    normal = {normalizer.normalize_str(character) for character in {*found, *_ASCII, *_SIGNS}}
    return sorted(character for character in normal if len(character) == 1 and not character.isspace())
