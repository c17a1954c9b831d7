"""The bundled small models, target tokenizers and FAQ data: package data, read through `sembridge.loading`."""
