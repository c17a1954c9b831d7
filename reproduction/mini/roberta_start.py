"""The start of `mini/splade-roberta-en`: layers of `mini/splade-en` as a RoBERTa over byte-level BPE.

Only the shape of a second architecture is wanted (RoBERTa's head, positions and cased byte-level pieces), so its body
need not be found anew: layers and head are those of the trained BERT, and every new piece starts as the mean of the
WordPiece rows of its text.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import (
    AutoTokenizer,
    BertForMaskedLM,
    PreTrainedTokenizerBase,
    RobertaConfig,
    RobertaForMaskedLM,
    RobertaTokenizerFast,
)

SPECIAL_TOKENS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
HEAD_NAMES = {
    "cls.predictions.transform.dense": "lm_head.dense",
    "cls.predictions.transform.LayerNorm": "lm_head.layer_norm",
    "cls.predictions.bias": "lm_head.bias",
}


def bpe_tokenizer(texts: list[str], size: int, folder: Path) -> RobertaTokenizerFast:
    """A cased byte-level BPE tokenizer with RoBERTa's special tokens at RoBERTa's ids."""
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(texts, vocab_size=size, min_frequency=3, special_tokens=SPECIAL_TOKENS)
    folder.mkdir(parents=True, exist_ok=True)
    trained.save_model(str(folder))
    tokenizer = RobertaTokenizerFast(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=256)
    for name in ("vocab.json", "merges.txt"):
        (folder / name).unlink()  # tokenizer.json holds both
    tokenizer.save_pretrained(folder)
    return tokenizer


def wordpieces(tokenizer: RobertaTokenizerFast, bert_tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """For every BPE token the WordPiece ids of its text; inside a word the ##-piece where there is one."""
    vocabulary = bert_tokenizer.get_vocab()
    pieces = []
    for token in tokenizer.convert_ids_to_tokens(list(range(len(tokenizer)))):
        text = tokenizer.convert_tokens_to_string([token])
        inner = vocabulary.get(f"##{text.lower()}") if not text.startswith(" ") else None
        ids = bert_tokenizer(text, add_special_tokens=False)["input_ids"]
        pieces.append([inner] if inner is not None else ids)
    for special, role in zip(SPECIAL_TOKENS, ("cls", "pad", "sep", "unk", "mask"), strict=True):
        pieces[tokenizer.convert_tokens_to_ids(special)] = [getattr(bert_tokenizer, f"{role}_token_id")]
    return pieces


def mean_rows(rows: torch.Tensor, pieces: list[list[int]]) -> torch.Tensor:
    """Row t is the mean of rows[pieces[t]]; of all rows where there are none (bytes without text)."""
    return torch.stack([rows[ids].mean(0) if ids else rows.mean(0) for ids in pieces])


def start_roberta(body: Path, layers: Sequence[int], texts: list[str], *, vocabulary_size: int, folder: Path) -> None:
    """Saves a RobertaForMaskedLM with the given layers of the BERT in `body`, and its tokenizer."""
    bert = BertForMaskedLM.from_pretrained(body, dtype=torch.float32)
    tokenizer = bpe_tokenizer(texts, vocabulary_size, folder)
    pieces = wordpieces(tokenizer, AutoTokenizer.from_pretrained(body))
    old = bert.state_dict()
    state = {}
    for name, values in old.items():
        match = re.match(r"bert\.encoder\.layer\.(\d+)\.(.*)", name)
        if match and int(match[1]) in layers:
            state[f"roberta.encoder.layer.{list(layers).index(int(match[1]))}.{match[2]}"] = values
        for prefix, new in HEAD_NAMES.items():
            if name.startswith(prefix):
                state[name.replace(prefix, new)] = values
    state["lm_head.bias"] = mean_rows(old["cls.predictions.bias"][:, None], pieces)[:, 0]
    for part in ("weight", "bias"):
        state[f"roberta.embeddings.LayerNorm.{part}"] = old[f"bert.embeddings.LayerNorm.{part}"]
    state["roberta.embeddings.word_embeddings.weight"] = mean_rows(
        old["bert.embeddings.word_embeddings.weight"], pieces
    )
    state["roberta.embeddings.token_type_embeddings.weight"] = old["bert.embeddings.token_type_embeddings.weight"][:1]
    positions = old["bert.embeddings.position_embeddings.weight"][:256]
    state["roberta.embeddings.position_embeddings.weight"] = torch.cat([torch.zeros_like(positions[:2]), positions])
    config = RobertaConfig(
        vocab_size=len(tokenizer), hidden_size=bert.config.hidden_size, num_hidden_layers=len(layers),
        num_attention_heads=bert.config.num_attention_heads, intermediate_size=bert.config.intermediate_size,
        max_position_embeddings=258, type_vocab_size=1, layer_norm_eps=bert.config.layer_norm_eps,
    )  # fmt: skip
    model = RobertaForMaskedLM(config)
    missing, unexpected = model.load_state_dict(state, strict=False)
    if unexpected or any("decoder" not in name for name in missing):
        raise ValueError(f"The BERT's weights do not fit: missing {missing}, unexpected {unexpected}")
    model.tie_weights()
    model.save_pretrained(folder)
