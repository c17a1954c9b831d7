"""Files: what is written whole or not at all, read line by line, kept in caches, or filled from a template."""
