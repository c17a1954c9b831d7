"""Exports: an encoder, or a corpus as an encoder sees it, in the files that other programs read. One file a format.

Every export is a folder that appears whole or not at all, with `manifest.json` (how it was made, counts, checksums)
and `README.md` (how to load it in the program it is meant for).
"""
