"""A pivot whose body is the bridge's own: a multilingual encoder reads, the head of the source encoder writes.

Rows through W see a word by itself; a multilingual body reads it in its sentence, in every language that it was trained
on. Only the dense layer between its states and the source's decoder has to be learned, from English texts and the
vectors that the source gives them, and it then holds for the other languages, as the body places them alike. MILCO
(arXiv 2510.00671) trains such a connector on top of a multilingual encoder; here the decoder stays the source's.
"""

import copy
import tempfile
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from sembridge.encoders.anatomy import Anatomy, check_source_encoder, read_anatomy
from sembridge.encoders.heads import HEADS
from sembridge.encoders.loading import load_encoder
from sembridge.encoders.transplant import reloadable_copy
from sembridge.errors import SembridgeError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer, SparseEncoder
    from transformers import PreTrainedModel

BODIES = {"BertModel": "BertForMaskedLM", "XLMRobertaModel": "XLMRobertaForMaskedLM"}
# Of a bridge's layers: the last ones bring all states of a text together, and a term is told from one of them. Chosen
# on dev questions (Korean, e5-small): 9 of 12 layers find .43, all of them .38.
KEPT_LAYERS = 0.75


def bridge_pivot(
    source: "SparseEncoder", bridge: "SentenceTransformer", *, n_layers: int | None = None
) -> "SparseEncoder":
    """A stock encoder that reads as `bridge` does and writes over the vocabulary of `source`, not trained yet.

    Embeddings and the first layers are the bridge's, bit for bit; dense layer, norm and decoder are the source's.
    Stock classes have one vocabulary size for both sides, the larger one: dimensions from the source's on are zero.

    Args:
        n_layers: of the bridge that are kept, by default three quarters.

    Raises:
        SembridgeError: one of both is of a class that is not understood, or they differ in width.
    """
    anatomy = check_source_encoder(source)
    body = _body(bridge)
    if not anatomy.head.between or anatomy.inference_free:
        known = ", ".join(name for name, head in HEADS.items() if head.between)
        raise SembridgeError(
            f"The source encoder has the head {anatomy.architecture}; a bridge can write through one of {known}, "
            "without static query weights. Take such an encoder, or a transferred one's pivot."
        )
    if body.config.hidden_size != anatomy.hidden_size:
        raise SembridgeError(
            f"The bridge is {body.config.hidden_size} wide and the source encoder {anatomy.hidden_size}; expected the "
            "same, because the bridge's states go into the source's head. Take a bridge of that width, such as "
            "multilingual-e5-small (384), -base (768) or -large (1024)."
        )
    model = _with_head(body, n_layers, n_rows=max(body.config.vocab_size, anatomy.n_rows))
    for ours, theirs in zip(HEADS[type(model).__name__].between, anatomy.head.between, strict=True):
        model.get_submodule(ours).load_state_dict(anatomy.model.get_submodule(theirs).state_dict())
    _write_decoder(model, anatomy.model.get_submodule(anatomy.head.decoder))
    return _as_encoder(model, bridge, like=anatomy)


def _as_encoder(model: "PreTrainedModel", bridge: "SentenceTransformer", *, like: Anatomy) -> "SparseEncoder":
    """What loads from the folder of the model and the bridge's tokenizer; weights become terms as in `like`."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        reloadable_copy(bridge.tokenizer).save_pretrained(folder)
        made = load_encoder(folder)
    for pooling in read_anatomy(made).poolings:
        pooling.activation_function = like.poolings[0].activation_function
    return made


def _body(bridge: "SentenceTransformer") -> "PreTrainedModel":
    first: Any = next(iter(bridge.children()), None)
    model: Any = getattr(first, "model", None)
    if type(model).__name__ not in BODIES:
        raise SembridgeError(
            f"The bridge's body is {type(model).__name__}; expected one of {', '.join(BODIES)}, such as that of "
            "intfloat/multilingual-e5-small."
        )
    found: PreTrainedModel = model
    return found


def _with_head(body: "PreTrainedModel", n_layers: int | None, *, n_rows: int) -> "PreTrainedModel":
    """The body's masked language model over `n_rows` ids, its head not set yet."""
    import transformers

    config = copy.deepcopy(body.config)
    there = config.num_hidden_layers
    if n_layers is not None and not 1 <= n_layers <= there:
        raise SembridgeError(f"{n_layers} layers are to be kept of a bridge that has {there}; give 1 to {there}.")
    kind = BODIES[type(body).__name__]
    config.num_hidden_layers = n_layers or max(1, round(KEPT_LAYERS * there))
    config.vocab_size, config.tie_word_embeddings, config.architectures = n_rows, False, [kind]
    model: PreTrainedModel = getattr(transformers, kind)(config).eval()
    weights = body.state_dict()
    rows = next(name for name in weights if name.endswith("word_embeddings.weight"))
    weights[rows] = functional.pad(weights[rows], (0, 0, 0, n_rows - len(weights[rows])))
    kept = model.base_model.state_dict()
    model.base_model.load_state_dict({name: weights[name] for name in kept})
    return model


@torch.no_grad()
def _write_decoder(model: "PreTrainedModel", theirs: nn.Module) -> None:
    """The source's decoder, and zero rows behind it, which never fire."""
    decoder: Any = model.get_output_embeddings()
    for name in ("weight", "bias"):
        rows = getattr(theirs, name)
        getattr(decoder, name).zero_()[: len(rows)] = rows
