"""The settings of a training."""

from typing import Literal

from sembridge.files.recipe import RUNNING, Recipe, setting

# Headings of `sembridge train --help`.
LEARNING, SPARSITY, TEACHING, WATCHING = "Learning", "Sparsity", "Negatives and a teacher", "Evaluations and guards"


class TrainRecipe(Recipe):
    """Everything that decides what a training makes, apart from the encoder, the data and the bridge.

    The paper's training settings are not published; these are those of Sentence Transformers' sparse encoder example
    but for the weights of the regularisers (Formal et al. 2021, SPLADE v2, equations 5 and 6). The example's 3e-5 and
    5e-5 hold a dense start down over a long training; a transferred encoder starts sparse, and under them its documents
    grew from 105 to 740 active dims within 50 steps on dev data.
    """

    epochs: float = setting(1.0, gt=0.0, help="passes over the data")
    steps: int | None = setting(None, ge=1, help="optimizer steps, instead of epochs")
    batch_size: int = setting(
        32, ge=2, unit="pairs", help="a step, over all processes; the others' documents are negatives"
    )
    gradient_cache: int | None = setting(
        None, ge=1, unit="texts", group=LEARNING,
        help="encoded at once: large batches in little memory, at half the speed",
    )  # fmt: skip
    learning_rate: float = setting(2e-5, gt=0.0, help="peak learning rate")
    rows_learning_rate: float | None = setting(
        None, gt=0.0, group=LEARNING,
        help="of the input rows, a token each; not given: that of all others",
    )  # fmt: skip
    static_learning_rate: float | None = setting(
        None, ge=0.0, group=LEARNING,
        help="of an inference-free encoder's query weights; 0: they stay; not given: frozen ones stay, others 1e-3",
    )  # fmt: skip
    warmup: float = setting(0.1, ge=0.0, lt=1.0, unit="share", help="of the steps", group=LEARNING)
    max_length: int | None = setting(
        None, ge=8, unit="tokens", help="of a text while training; not given: the encoder's"
    )
    document_weight: float = setting(0.03, ge=0.0, help="of the FLOPS regulariser on documents", group=SPARSITY)
    query_weight: float = setting(0.03, ge=0.0, help="of the FLOPS regulariser on queries", group=SPARSITY)
    regularizer_warmup: float = setting(
        1 / 3, gt=0.0, le=1.0, unit="share", help="of the steps; quadratic", group=SPARSITY
    )
    document_threshold: int | None = setting(
        None, ge=1, unit="dims", help="only documents with more active dims are regularised", group=SPARSITY
    )
    query_threshold: int | None = setting(
        None, ge=1, unit="dims", help="only queries with more active dims are regularised", group=SPARSITY
    )
    freeze_body_steps: int = setting(
        0, ge=0, unit="steps", help="the first ones, which train the vocabulary's rows only", group=LEARNING
    )
    freeze_body: bool = setting(
        False, group=LEARNING,
        help="with --align-to: train only what stands between body and decoder, at a rate of 1e-3 or so; of a bridge",
    )  # fmt: skip
    combined_rows_factor: float = setting(
        1.0, ge=0.0, help="learning rate of rows that were not copied, over that of all others", group=LEARNING
    )
    hard_negatives: Literal["none", "bm25", "self"] = setting("none", help="who finds them", group=TEACHING)
    n_negatives: int = setting(1, ge=1, help="hard negatives a pair", group=TEACHING)
    distill: Literal["none", "bridge"] = setting(
        "none", help="learn the bridge's scores of documents too", group=TEACHING
    )
    distill_weight: float = setting(1.0, gt=0.0, help="of the bridge's scores in the loss", group=TEACHING)
    distill_temperature: float = setting(0.05, gt=0.0, help="of the bridge's cosines", group=TEACHING)
    dev_measure: str = setting("nDCG@10", unit="measure", help="in ir-measures notation", group=WATCHING)
    eval_steps: int | None = setting(
        None, ge=1, unit="steps", help="between evaluations; not given: ten in all", group=WATCHING
    )
    patience: int | None = setting(
        None, ge=1, unit="evaluations", help="without gain before training stops", group=WATCHING
    )
    collapse: Literal["stop", "warn"] = setting(
        "stop", help="what the guards do; warn trains on, for comparing starts that may collapse", group=WATCHING
    )
    bf16: Literal["auto", "yes", "no"] = setting(
        "auto", help="half precision; auto: where the processor computes in it", group=RUNNING
    )
    seed: int = setting(0, ge=0, lt=2**31, help="of the order of the pairs and of dropout", group=RUNNING)
