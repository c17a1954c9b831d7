"""Seismic: documents and queries as JSON lines of float weights, and which of its index classes they need.

Bruch, Nardini, Rulli and Venturini, SIGIR 2024 (arXiv 2404.18812).
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from sembridge.deployment.export.collection import (
    Counts,
    VectorBlock,
    VectorCollection,
    checked,
    refuse_nothing,
    rows,
    with_weights,
)
from sembridge.deployment.export.manifest import ExportManifest, write_export
from sembridge.deployment.export.token_keys import token_keys

LARGEST_VOCABULARY = 2**16  # of SeismicIndex, which numbers tokens in 16 bits


def export_seismic(collection: VectorCollection, out: Path, *, overwrite: bool = False) -> ExportManifest:
    """The manifest of `documents.jsonl` and, where there are queries, `queries.jsonl` in `out`.

    A line is {"id", "content", "vector": {token: weight}}; weights read back as the same float32, Seismic keeps them in
    16 bits. A query without weights, which finds nothing, is left out and counted. `index_class` in the manifest is
    SeismicIndexLV where the vocabulary has more than 65,536 tokens.

    Raises:
        SembridgeError: no document with a weight, a weight below 0, or a place that cannot be written.
    """
    keys = token_keys(collection.tokens)

    def fill(folder: Path) -> ExportManifest:
        documents = _write(folder / "documents.jsonl", checked(collection.documents), keys)
        queries = _write(folder / "queries.jsonl", checked(collection.queries), keys, empty=False)
        refuse_nothing(documents)
        return {
            "format": "seismic",
            "encoder": collection.encoder,
            "encoder_fingerprint": collection.fingerprint,
            "n_dims": len(keys),
            "index_class": "SeismicIndex" if len(keys) <= LARGEST_VOCABULARY else "SeismicIndexLV",
            "n_documents": documents.texts,
            "n_postings": documents.postings,
            "n_documents_without_postings": documents.without_postings,
            "n_queries": queries.with_postings,
            "n_queries_without_postings": queries.without_postings,
        }

    return write_export(out, fill, _readme, overwrite=overwrite)


def _write(path: Path, blocks: Iterable[VectorBlock], keys: Sequence[str], *, empty: bool = True) -> Counts:
    """Writes all rows, or those with weights; counts both."""
    counts = Counts()
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for block in blocks:
            counts.add(block.vectors)
            for (text_id, text), vector in rows(block if empty else with_weights(block), keys):
                file.write(json.dumps({"id": text_id, "content": text, "vector": vector}, ensure_ascii=False) + "\n")
    if not counts.texts or not (empty or counts.with_postings):
        path.unlink()
    return counts


def _readme(manifest: ExportManifest) -> str:
    return f"""# Sparse vectors for Seismic

{manifest["n_documents"]} documents and {manifest["n_queries"]} queries encoded by {manifest["encoder"]}, over
{manifest["n_dims"]} tokens, which is why the class below is `{manifest["index_class"]}`. Tokens are spelled as in the
tokenizer, except that white space, control characters and `%` are written `%HEX;` and tokens over 30 characters `%#ID`.

With [Seismic](https://github.com/TusKANNy/seismic) (`pip install pyseismic-lsr`):

```python
import json
import numpy as np
from seismic import {manifest["index_class"]}, get_seismic_string

index = {manifest["index_class"]}.build("documents.jsonl")
for line in open("queries.jsonl", encoding="utf-8"):
    query = json.loads(line)
    tokens = np.array(list(query["vector"]), dtype=get_seismic_string())
    weights = np.array(list(query["vector"].values()), dtype=np.float32)
    hits = index.search(query["id"], tokens, weights, k=10, query_cut=10, heap_factor=0.7)
    print(query["id"], [(document, round(score, 3)) for _, score, document in hits])
```

Seismic is approximate: a larger `query_cut` and a smaller `heap_factor` come nearer to exact search, and so do a larger
`n_postings` and `summary_energy` of `build`.
"""
