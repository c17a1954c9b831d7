"""Training: a sparse encoder fine-tuned on query-document pairs of its language."""
