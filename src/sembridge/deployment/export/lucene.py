"""Lucene through Anserini: `JsonVectorCollection` with quantised weights, and topics of repeated tokens.

Anserini repeats every token as often as its integer weight says and scores a document by the sum of query weight x
term frequency over the shared tokens, which is the dot product of the integer vectors (Mackenzie, Trotman and Lin,
arXiv 2110.11540).
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, count, islice, repeat
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

_DOCUMENTS_A_FILE = 250_000  # Anserini gives every file to one thread


def export_lucene(
    collection: VectorCollection, out: Path, *, scale: float = DEFAULT_SCALE, overwrite: bool = False
) -> ExportManifest:
    """The manifest of `corpus/*.jsonl` and, where there are queries, `queries.tsv` in `out`.

    A document is a line {"id", "contents", "vector": {token: integer}}, a query the id, a tab, and every token as often
    as its integer weight. A document without postings is written; Anserini counts it as empty and leaves it out. A
    query without weights is left out and counted: Anserini's reader ends at a line without a second field.

    Raises:
        SembridgeError: a scale that is not above 0, no document with a weight, an id with white space, a weight below 0
            or too large, or a place that cannot be written.
    """
    check_scale(scale)
    keys = token_keys(collection.tokens)

    def fill(folder: Path) -> ExportManifest:
        (folder / "corpus").mkdir()
        documents = _write_corpus(folder / "corpus", checked(collection.documents), keys, scale)
        queries = _write_queries(folder / "queries.tsv", checked(collection.queries), keys, scale)
        refuse_nothing(documents, scale=scale)
        return {
            "format": "lucene",
            "encoder": collection.encoder,
            "encoder_fingerprint": collection.fingerprint,
            "n_dims": len(keys),
            "scale": scale,
            "n_documents": documents.texts,
            "n_postings": documents.postings,
            "n_documents_without_postings": documents.without_postings,
            "n_queries": queries.with_postings,
            "n_queries_without_postings": queries.without_postings,
        }

    return write_export(out, fill, _readme, overwrite=overwrite)


def _write_corpus(folder: Path, blocks: Iterable[VectorBlock], keys: Sequence[str], scale: float) -> Counts:
    counts = Counts()
    lines = _document_lines(blocks, keys, scale, counts)
    for number in count():
        first = next(lines, None)
        if first is None:
            break
        with (folder / f"documents-{number:05d}.jsonl").open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(chain([first], islice(lines, _DOCUMENTS_A_FILE - 1)))
    return counts


def _document_lines(blocks: Iterable[VectorBlock], keys: Sequence[str], scale: float, counts: Counts) -> Iterator[str]:
    for block in blocks:
        refuse_white_space(block.ids)
        integers = quantized(block, scale)
        counts.add(integers.vectors)
        for (text_id, text), vector in rows(integers, keys):
            yield json.dumps({"id": text_id, "contents": text, "vector": vector}, ensure_ascii=False) + "\n"


def _write_queries(path: Path, blocks: Iterable[VectorBlock], keys: Sequence[str], scale: float) -> Counts:
    counts = Counts()
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for block in blocks:
            refuse_white_space(block.ids)
            integers = quantized(block, scale)
            counts.add(integers.vectors)
            for (text_id, _), vector in rows(with_weights(integers), keys):
                tokens = chain.from_iterable(repeat(token, int(weight)) for token, weight in vector.items())
                file.write(f"{text_id}\t{' '.join(tokens)}\n")
    if not counts.with_postings:
        path.unlink()
    return counts


def _readme(manifest: ExportManifest) -> str:
    return f"""# Impact vectors for Lucene

{manifest["n_documents"]} documents and {manifest["n_queries"]} queries encoded by {manifest["encoder"]}; weights are
round({manifest["scale"]} x weight). Tokens are spelled as in the tokenizer, except that white space, control characters
and `%` are written `%HEX;` and tokens over 30 characters `%#ID`.

With [Anserini](https://github.com/castorini/anserini) (a Java program; its fat jar also comes inside `pip install
pyserini`):

```bash
java -cp anserini-*-fatjar.jar io.anserini.index.IndexCollection -collection JsonVectorCollection \\
  -input corpus -index lucene-index -generator DefaultLuceneDocumentGenerator -impact -pretokenized -threads 4
java -cp anserini-*-fatjar.jar io.anserini.search.SearchCollection -index lucene-index -topics queries.tsv \\
  -topicreader TsvString -output run.txt -impact -pretokenized -hits 1000
```

A score in `run.txt` divided by {manifest["scale"]} squared is the dot product of the encoder's vectors, up to rounding.
"""
