"""Rules that build the rows of a target vocabulary from the rows of a source vocabulary; one file a method."""
