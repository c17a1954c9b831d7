"""How often drawn rows fire where trained rows do not: what an encoder can bear of noise in its new rows.

A Gaussian draw has the mean and covariance of the trained rows, so its logits have theirs, but not their tails:
training has seen to it that a row stays silent in nearly every context. In a wide encoder both fire about equally
often. In a narrow one (2 layers, 128 wide) drawn rows fire three times as often: what is drawn there is noise in every
text, and worth less than the little that a token gets of its own by it.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sembridge.encoders.anatomy import Anatomy
from sembridge.encoders.stated import prompt_of
from sembridge.language_transfer.initialization.rows import Initialization


@torch.no_grad()
def excess_firing(encoder: Anatomy, rows: Initialization, texts: Sequence[str]) -> float:
    """How many times as many dims a text has when every row of the decoder is drawn as `rows` draws; at least 1.

    The hidden states are those of `encoder`, which is not changed: only what they are multiplied with is drawn.

    Args:
        texts: in the language of `encoder`; without one nothing can be told, and the answer is 1.
    """
    if not texts:
        return 1.0
    states = _decoder_inputs(encoder, texts)
    weight = encoder.splade_route("document").decoder_module.weight.detach().float()
    biases = encoder.decoder_biases()
    bias = biases[0].detach().float() if biases else weight.new_zeros(len(weight))
    trained = torch.from_numpy(rows.statistics_ids).to(weight.device)
    own_weight, own_bias = weight[trained], bias[trained]
    generator = torch.Generator().manual_seed(rows.seed)
    drawn_weight, drawn_bias = (
        rows.draw(part.cpu(), len(part), generator).to(weight.device) for part in (own_weight, own_bias[:, None])
    )
    own = _mean_firing(states, own_weight, own_bias)
    return max(1.0, _mean_firing(states, drawn_weight, drawn_bias[:, 0]) / max(own, 1.0))


def _decoder_inputs(encoder: Anatomy, texts: Sequence[str]) -> list[Tensor]:
    """(n_tokens, d) float32 of every text, as they come to the decoder; text by text, so that there is no padding."""
    found: list[Tensor] = []
    route, prompt = encoder.splade_route("document"), prompt_of(encoder.encoder, "document")
    hook = route.decoder_module.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0][0].float()))
    try:
        for text in texts:
            route.transformer(encoder.encoder.preprocess([text], prompt=prompt, task="document"))
    finally:
        hook.remove()
    return found


def _mean_firing(states: Sequence[Tensor], weight: Tensor, bias: Tensor) -> float:
    """Rows of (n, d) `weight` that fire for some token of a text, the mean over texts."""
    return float(np.mean([int(((text @ weight.T + bias).amax(0) > 0).sum()) for text in states]))
