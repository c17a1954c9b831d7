"""Defaults of the exports, apart from the code that needs torch."""

DEFAULT_SCALE = 100.0  # of quantised weights, as in the Anserini and PISA experiments with SPLADE v2
