"""The small models, target tokenizers and FAQ data that SemBridge loads as mini/NAME: data, no program."""
