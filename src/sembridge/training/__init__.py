"""Training: a sparse encoder fine-tuned on query-document pairs of its language."""

from sembridge.training.data import TrainingData, joined, load_training_data, pairs_data
from sembridge.training.fine_tuning import Training, has_checkpoint, mine_hard_negatives, train
from sembridge.training.inference_free import inference_free_encoder
from sembridge.training.pseudo_queries import stream_passages

__all__ = [
    "Training",
    "TrainingData",
    "has_checkpoint",
    "inference_free_encoder",
    "joined",
    "load_training_data",
    "mine_hard_negatives",
    "pairs_data",
    "stream_passages",
    "train",
]
