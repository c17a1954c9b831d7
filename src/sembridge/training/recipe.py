"""The settings of a training."""

from typing import Literal

from pydantic import Field

from sembridge.files.recipe import Recipe


class TrainRecipe(Recipe):
    """Everything that decides what a training makes, apart from the encoder, the data and the bridge.

    The paper's training settings are not published; these are those of Sentence Transformers' sparse encoder example
    but for the weights of the regularisers (Formal et al. 2021, SPLADE v2, equations 5 and 6). The example's 3e-5 and
    5e-5 hold a dense start down over a long training; a transferred encoder starts sparse, and under them its documents
    grew from 105 to 740 active dims within 50 steps on dev data.
    """

    epochs: float = Field(default=1.0, gt=0.0)
    steps: int | None = Field(default=None, ge=1, description="instead of epochs")
    batch_size: int = Field(
        default=32, ge=2, description="pairs a step, over all processes; the others' documents are negatives"
    )
    gradient_cache: int | None = Field(
        default=None, ge=1, description="texts encoded at once: large batches in little memory, at half the speed"
    )
    learning_rate: float = Field(default=2e-5, gt=0.0)
    static_learning_rate: float | None = Field(
        default=None,
        ge=0.0,
        description="of an inference-free encoder's query weights; 0: they stay; None: frozen ones stay, others 1e-3",
    )
    warmup: float = Field(default=0.1, ge=0.0, lt=1.0, description="share of the steps")
    max_length: int | None = Field(default=None, ge=8, description="tokens a text while training; None: the encoder's")
    document_weight: float = Field(default=0.03, ge=0.0, description="of the FLOPS regulariser on documents")
    query_weight: float = Field(default=0.03, ge=0.0, description="of the FLOPS regulariser on queries")
    regularizer_warmup: float = Field(default=1 / 3, gt=0.0, le=1.0, description="share of the steps, quadratic")
    document_threshold: int | None = Field(
        default=None, ge=1, description="only documents with more active dims are regularised"
    )
    query_threshold: int | None = Field(
        default=None, ge=1, description="only queries with more active dims are regularised"
    )
    freeze_body_steps: int = Field(default=0, ge=0, description="first steps that train the vocabulary's rows only")
    combined_rows_factor: float = Field(
        default=1.0, ge=0.0, description="learning rate of rows that were not copied, over that of all others"
    )
    hard_negatives: Literal["none", "bm25", "self"] = Field(default="none", description="who finds them")
    n_negatives: int = Field(default=1, ge=1, description="hard negatives a pair")
    distill: Literal["none", "bridge"] = Field(default="none", description="learn the bridge's scores of documents too")
    distill_weight: float = Field(default=1.0, gt=0.0)
    distill_temperature: float = Field(default=0.05, gt=0.0, description="of the bridge's cosines")
    dev_measure: str = "nDCG@10"
    eval_steps: int | None = Field(default=None, ge=1, description="steps between evaluations; None: ten in all")
    patience: int | None = Field(default=None, ge=1, description="evaluations without gain before training stops")
    collapse: Literal["stop", "warn"] = Field(
        default="stop", description="what the guards do; warn trains on, for comparing starts that may collapse"
    )
    bf16: Literal["auto", "yes", "no"] = Field(default="auto", description="auto: where the processor computes in it")
    seed: int = Field(default=0, ge=0, lt=2**31)
