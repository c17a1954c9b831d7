"""Retrieval: data, runs, measures, and what they say of a system."""
