"""Training: a sparse encoder fine-tuned on query-document pairs of its language."""

from sembridge.training.data import TrainingData, joined, load_training_data, pairs_data
from sembridge.training.fine_tuning import Training, has_checkpoint, mine_hard_negatives, train

__all__ = [
    "Training",
    "TrainingData",
    "has_checkpoint",
    "joined",
    "load_training_data",
    "mine_hard_negatives",
    "pairs_data",
    "train",
]
