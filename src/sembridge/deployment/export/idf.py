"""`idf.json`: the query side of inference-free models, a weight a token instead of a neural network.

The weights are those that an inference-free encoder has learned, or the IDF of the user's own corpus under the
encoder's tokenizer.
"""

import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from sembridge.deployment.export.collection import encoder_tokens
from sembridge.deployment.export.manifest import ExportManifest, write_export
from sembridge.encoders.anatomy import check_source_encoder
from sembridge.encoders.fingerprint import sparse_encoder_fingerprint
from sembridge.encoders.idf import idf_weights
from sembridge.encoders.stated import Task, prompt_of, scores_by_cosine
from sembridge.errors import SembridgeError

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder
    from transformers import PreTrainedTokenizerBase

    from sembridge.encoders.anatomy import Anatomy

logger = logging.getLogger(__name__)


def export_idf(
    encoder: "SparseEncoder",
    out: Path,
    documents: Iterable[str] | None = None,
    *,
    name: str,
    overwrite: bool = False,
) -> ExportManifest:
    """The manifest of `idf.json` (raw token -> weight) in `out`, with the tokenizer beside it.

    Without documents it holds the weights of the encoder's own static query side. With documents it holds log(1 + (N -
    n + .5) / (n + .5)) for a token that occurs in n of the N texts that have any token; tokens that occur in none get
    1, special tokens are left out. Texts are not cut off at the encoder's length.

    Raises:
        SembridgeError: no documents are given and the encoder has no static query side; no document has a token; the
            encoder is no SPLADE; or a place that cannot be written.
    """
    anatomy = check_source_encoder(encoder)
    tokens = encoder_tokens(anatomy)
    static = next((module.weight.detach().float().cpu().tolist() for module in anatomy.static_queries), None)
    if documents is None and static is None:
        raise SembridgeError(
            f"{name} has no static query weights: its queries go through the network. Give a corpus, and their weights "
            "are computed from it as IDF."
        )

    def fill(folder: Path) -> ExportManifest:
        facts: ExportManifest = {
            "format": "idf",
            "encoder": name,
            "encoder_fingerprint": sparse_encoder_fingerprint(encoder),
            "n_dims": len(tokens),
            "similarity": "cosine" if scores_by_cosine(encoder) else "dot",
            "prompts": _prompts(anatomy),
        }
        if documents is None:
            weights = {token: weight for token, weight in zip(tokens, static or (), strict=True) if token}
            facts["weights"] = "of the encoder's query side"
        else:
            found = idf_weights(encoder.tokenizer, documents, n_tokens=len(tokens))
            special = set(encoder.tokenizer.all_special_ids)
            weights = {
                token: float(found.weights[token_id])
                for token_id, token in enumerate(tokens)
                if token and token_id not in special
            }
            facts |= {"weights": "IDF of a corpus", "n_documents": found.n_documents, "n_seen": found.n_seen}
        (folder / "idf.json").write_text(json.dumps(weights, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
        encoder.tokenizer.save_pretrained(str(folder))
        facts["n_tokens"] = len(weights)
        facts["n_tokens_opensearch_spells_otherwise"] = _n_spelled_otherwise(encoder.tokenizer, tokens)
        return facts

    manifest = write_export(out, fill, _readme, overwrite=overwrite)
    if manifest["n_tokens_opensearch_spells_otherwise"]:
        logger.warning("%s", _opensearch_note(manifest))
    return manifest


def _prompts(anatomy: "Anatomy") -> dict[str, str]:
    """What the encoder puts before its documents; and before its queries, where they are static already."""
    tasks: tuple[Task, ...] = ("query", "document") if anatomy.inference_free else ("document",)
    return {task: prompt for task in tasks if (prompt := prompt_of(anatomy.encoder, task))}


def _n_spelled_otherwise(tokenizer: "PreTrainedTokenizerBase", tokens: tuple[str, ...]) -> int:
    """How many tokens OpenSearch looks up under another spelling: it decodes every id by itself."""
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    special = set(tokenizer.all_special_ids)
    return sum(
        token != backend.decode([token_id], skip_special_tokens=True)
        for token_id, token in enumerate(tokens)
        if token and token_id not in special
    )


def _opensearch_note(manifest: ExportManifest) -> str:
    return (
        f"OpenSearch's tokenizer model looks {manifest['n_tokens_opensearch_spells_otherwise']} of these tokens up"
        " under another spelling (it decodes each id by itself, and fails where two read alike). Use this file with"
        " Sentence Transformers and send OpenSearch the query's weights, as `sembridge search` does."
    )


def _readme(manifest: ExportManifest) -> str:
    opensearch = """In OpenSearch, zip `idf.json` and `tokenizer.json` and register the archive as a model of function
`SPARSE_TOKENIZE`; its `model_id` then serves the query text of `neural_sparse`, without a network at query time.
Documents are encoded by the full encoder. A token that is missing from the file would get the weight 1 there."""
    if manifest["n_tokens_opensearch_spells_otherwise"]:
        opensearch = _opensearch_note(manifest)
    settings = f'similarity_fn_name="{manifest["similarity"]}"'
    settings += f", prompts={manifest['prompts']}" if manifest["prompts"] else ""
    return f"""# Query weights of an inference-free encoder

A weight for each of {manifest["n_tokens"]} tokens of {manifest["encoder"]}: {manifest["weights"]}.

With [Sentence Transformers](https://sbert.net), the encoder with these weights as its query side:

```python
from sentence_transformers import SparseEncoder
from sentence_transformers.base.modules import Router
from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding
from transformers import AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(".")
queries = SparseStaticEmbedding.from_json("idf.json", tokenizer=tokenizer, frozen=True)
documents = SparseEncoder("{manifest["encoder"]}")  # the folder or hub id of the encoder
router = Router.for_query_document([queries], list(documents))
encoder = SparseEncoder(modules=[router], {settings})
```

{opensearch}
"""
