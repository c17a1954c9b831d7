"""What a transfer starts from: the source encoder read, the tokenizer of the result, and both vocabularies compared."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sembridge.encoders.anatomy import Anatomy, check_source_encoder
from sembridge.encoders.tokenizer_habits import add_special_tokens
from sembridge.encoders.transplant import check_target_tokenizer
from sembridge.encoders.vocabulary import read_vocabulary
from sembridge.language_transfer.extension import extend_tokenizer, extended_overlap
from sembridge.language_transfer.initialization.translations import translated_tokens
from sembridge.language_transfer.overlap import Vocabularies, match_vocabularies
from sembridge.language_transfer.recipe import TransferRecipe

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, eq=False)
class PreparedTransfer:
    """A transfer before its rows are built.

    Attributes:
        encoder: the source encoder, understood down to every tensor with a vocabulary axis.
        tokenizer: of the encoder to be made: the target's, with the special tokens around a text that it does not add
            where the recipe asks for them, or the source's with the target's new tokens appended.
        vocabularies: of the source encoder and of `tokenizer`.
        recipe: its settings.
    """

    encoder: Anatomy
    tokenizer: "PreTrainedTokenizerBase"
    vocabularies: Vocabularies
    recipe: TransferRecipe

    @property
    def source_tokenizer(self) -> "PreTrainedTokenizerBase":
        return self.encoder.encoder.tokenizer


def prepare_transfer(
    encoder: "SparseEncoder", target_tokenizer: "PreTrainedTokenizerBase", recipe: TransferRecipe
) -> PreparedTransfer:
    """What a transfer of `encoder` to `target_tokenizer` starts from; refused is what would be refused after long work.

    Raises:
        SembridgeError: as `check_source_encoder`, `check_target_tokenizer`, `extend_tokenizer` and `read_vocabulary`.
    """
    anatomy = check_source_encoder(encoder)
    tokenizer = target_tokenizer
    if recipe.add_special_tokens:
        tokenizer = add_special_tokens(target_tokenizer)
    if recipe.extend:
        tokenizer = extend_tokenizer(encoder.tokenizer, target_tokenizer, first_new_id=anatomy.n_rows)
    source, target = read_vocabulary(encoder.tokenizer, n_rows=anatomy.n_rows), read_vocabulary(tokenizer)
    overlap = (extended_overlap if recipe.extend else match_vocabularies)(source, target, fuzzy=recipe.fuzzy)
    if not recipe.extend:  # there the English words stay, and mean what they mean in English
        overlap = overlap.without([*translated_tokens(recipe.translations, target)])
    check_target_tokenizer(anatomy, tokenizer, n_target=len(target))
    return PreparedTransfer(anatomy, tokenizer, Vocabularies(source, target, overlap), recipe)
