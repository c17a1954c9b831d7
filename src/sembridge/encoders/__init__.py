"""Encoders and tokenizers: found, loaded, taken apart, put together again, and run."""
