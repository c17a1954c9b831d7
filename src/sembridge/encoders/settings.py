"""How texts are encoded, said once: the recipes read it here, where importing costs nothing."""

from typing import Literal

EncodeWith = Literal["auto", "stock", "fast", "fast-bf16"]
"""stock: the encoder's own way; fast: the same vectors within 1e-4 in less time on a CPU; fast-bf16: in bfloat16;
auto: fast where it knows the encoder, else stock."""

BATCH_SIZE = 32
"""Texts encoded at once, at most."""
