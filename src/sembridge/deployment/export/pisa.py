"""PISA: an inverted index of quantised weights, written by pyterrier_pisa, which also searches it.

CIFF, the exchange format of inverted indexes, is not written: of the two packages on PyPI that can, one asks for a
protobuf of 2023 (below 5) and the other has not changed since 2022. Its readers Anserini and PISA have exports here.
"""

import contextlib
import json
import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from sembridge.deployment.export.collection import (
    Counts,
    VectorBlock,
    VectorCollection,
    check_scale,
    checked,
    quantized,
    refuse_nothing,
    refuse_white_space,
    rows,
    with_weights,
)
from sembridge.deployment.export.manifest import ExportManifest, write_export
from sembridge.deployment.export.settings import DEFAULT_SCALE
from sembridge.deployment.export.token_keys import token_keys
from sembridge.errors import require

_BATCH_DOCUMENTS = 50_000  # inverted in memory at once; the rest waits on disk and is merged


def export_pisa(
    collection: VectorCollection, out: Path, *, scale: float = DEFAULT_SCALE, overwrite: bool = False
) -> ExportManifest:
    """The manifest of the PISA index `index/` and, where there are queries, `queries.jsonl` in `out`.

    A query is {"qid", "query_toks": {token: integer}}, as pyterrier_pisa takes them; one without weights is left out
    and counted.

    Raises:
        MissingExtraError: pyterrier_pisa is not installed.
        SembridgeError: a scale that is not above 0, no document with a weight, an id with white space, a weight below 0
            or too large, or a place that cannot be written.
    """
    check_scale(scale)
    check_pisa()
    keys = token_keys(collection.tokens, lowercase=True)  # PISA lowercases the terms of a query

    def fill(folder: Path) -> ExportManifest:
        counts = Counts()
        _write_index(folder / "index", _documents(checked(collection.documents), keys, scale, counts))
        queries = _write_queries(folder / "queries.jsonl", checked(collection.queries), keys, scale)
        return {
            "format": "pisa",
            "encoder": collection.encoder,
            "encoder_fingerprint": collection.fingerprint,
            "n_dims": len(keys),
            "scale": scale,
            "n_documents": counts.texts,
            "n_postings": counts.postings,
            "n_documents_without_postings": counts.without_postings,
            "n_queries": queries.with_postings,
            "n_queries_without_postings": queries.without_postings,
        }

    return write_export(out, fill, _readme, overwrite=overwrite)


def check_pisa() -> None:
    """Refuses where pyterrier_pisa is not installed, before any work is done."""
    require("pisa", "pyterrier_pisa", what="The PISA export")


def _documents(
    blocks: Iterable[VectorBlock], keys: Sequence[str], scale: float, counts: Counts
) -> Iterator[dict[str, object]]:
    for block in blocks:
        refuse_white_space(block.ids)
        integers = quantized(block, scale)
        counts.add(integers.vectors)
        for (text_id, _), vector in rows(integers, keys):
            yield {"docno": text_id, "toks": vector}
    refuse_nothing(counts, scale=scale)


def _write_index(folder: Path, documents: Iterator[dict[str, object]]) -> None:
    from pyterrier_pisa import PisaIndex

    with _quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        index = PisaIndex(str(folder), stemmer="none", batch_size=_BATCH_DOCUMENTS)
        index.toks_indexer("toks", scale=1.0).index(documents)  # weights are integers before they come here


def _write_queries(path: Path, blocks: Iterable[VectorBlock], keys: Sequence[str], scale: float) -> Counts:
    counts = Counts()
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for block in blocks:
            integers = quantized(block, scale)
            counts.add(integers.vectors)
            for (text_id, _), vector in rows(with_weights(integers), keys):
                file.write(json.dumps({"qid": text_id, "query_toks": vector}, ensure_ascii=False) + "\n")
    if not counts.with_postings:
        path.unlink()
    return counts


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what PISA's own code prints on stdout, where only results go."""
    sys.stdout.flush()
    kept = os.dup(1)
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(null)


def _readme(manifest: ExportManifest) -> str:
    return f"""# Index for PISA

{manifest["n_documents"]} documents and {manifest["n_queries"]} queries encoded by {manifest["encoder"]}; weights are
round({manifest["scale"]} x weight). Tokens are spelled as in the tokenizer, except that capital letters, white space,
control characters and `%` are written `%HEX;` and tokens over 30 characters `%#ID`.

With [pyterrier_pisa](https://github.com/terrierteam/pyterrier_pisa) (`pip install pyterrier-pisa`):

```python
import json
import pandas as pd
from pyterrier_pisa import PisaIndex

retrieve = PisaIndex("index", stemmer="none", stops="none").quantized(num_results=10, toks_scale=1.0)
queries = pd.DataFrame([json.loads(line) for line in open("queries.jsonl", encoding="utf-8")])
print(retrieve.transform(queries)[["qid", "docno", "score", "rank"]])
```

A score divided by {manifest["scale"]} squared is the dot product of the encoder's vectors, up to rounding.
"""
