"""Masked-language-model classes and where each keeps its vocabulary; another one is a row of `HEADS`."""

from collections.abc import Mapping
from dataclasses import dataclass

import transformers
from sentence_transformers.base.modules import Transformer

from sembridge.errors import SembridgeError


@dataclass(frozen=True)
class Head:
    """Where a masked-language-model class keeps its vocabulary, as paths inside the model.

    Attributes:
        embeddings: the module of all embeddings.
        decoder: the module that gives the logits.
        second_bias: some classes hold the decoder bias under a second name; with an untied decoder it is a tensor of
            its own.
        tokens: name of the token embedding in `embeddings`.
        positions_follow_pad: positions are counted from the pad id on.
        pad_id_in_code: the class holds the pad id in its code, so that no tokenizer may have another.
        between: dense layer and norm between body and decoder, the activation aside; empty: not looked at.
    """

    embeddings: str
    decoder: str
    second_bias: str | None = None
    tokens: str = "word_embeddings"
    positions_follow_pad: bool = False
    pad_id_in_code: int | None = None
    between: tuple[str, ...] = ()

    @property
    def token_weight(self) -> str:
        return f"{self.embeddings}.{self.tokens}.weight"

    @property
    def decoder_weight(self) -> str:
        return f"{self.decoder}.weight"

    @property
    def biases(self) -> tuple[str, ...]:
        """Names that a decoder bias may have."""
        return (f"{self.decoder}.bias", *((self.second_bias,) if self.second_bias else ()))


_ROBERTA = Head(
    "roberta.embeddings", "lm_head.decoder", "lm_head.bias", positions_follow_pad=True,
    between=("lm_head.dense", "lm_head.layer_norm"),
)  # fmt: skip
HEADS: Mapping[str, Head] = {
    "BertForMaskedLM": Head(
        "bert.embeddings",
        "cls.predictions.decoder",
        "cls.predictions.bias",
        between=("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm"),
    ),
    "DistilBertForMaskedLM": Head(
        "distilbert.embeddings", "vocab_projector", between=("vocab_transform", "vocab_layer_norm")
    ),
    "RobertaForMaskedLM": _ROBERTA,
    "XLMRobertaForMaskedLM": _ROBERTA,
    "MPNetForMaskedLM": Head(
        "mpnet.embeddings", "lm_head.decoder", "lm_head.bias", positions_follow_pad=True, pad_id_in_code=1
    ),
    "ModernBertForMaskedLM": Head("model.embeddings", "decoder", tokens="tok_embeddings"),
}


def find_head(transformer: Transformer) -> Head:
    """The head of the model of a Transformer module.

    Raises:
        SembridgeError: it has a class that is not in `HEADS`, another task, or adapters.
    """
    model = transformer.model
    architecture = type(model).__name__
    head = HEADS.get(architecture)
    # A subclass or remote code under a known name may hold further tensors.
    if head is None or type(model) is not getattr(transformers, architecture, None):
        raise SembridgeError(
            f"The source encoder has the head {architecture} ({type(model).__module__}); one of {', '.join(HEADS)} of "
            "transformers was expected. Choose an encoder with one of these heads."
        )
    if transformer.transformer_task != "fill-mask":
        raise SembridgeError(
            f"The Transformer of the source encoder has the task {transformer.transformer_task!r}; 'fill-mask' was "
            "expected. Load it with transformer_task='fill-mask'."
        )
    if getattr(model, "_hf_peft_config_loaded", False):
        raise SembridgeError(
            "The source encoder carries adapters, which are saved without its vocabulary tensors; a plain model was "
            "expected. Merge the adapters into the model first."
        )
    return head
