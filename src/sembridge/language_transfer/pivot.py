"""The way back: texts of the target language as vectors over the source vocabulary, the pivot where languages meet.

An index of English documents made by the source encoder is then searched in the target language, and documents of many
languages share one index. Two roads lead there, and both follow W:

- `in_source_vocabulary` maps vectors: v @ W, linear and exact, for any transferred encoder.
- `pivot_encoder` maps tokens: W @ E goes in where the source's rows E went in, and the source's own head, which knows
  that school goes with student, gives the weights. It is a stock SparseEncoder, and as sparse as the source.

MILCO (arXiv 2510.00671) learns such a connector on parallel text; here it costs a matrix product.
"""

import json
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from scipy.sparse import csr_array
from torch import Tensor

from sembridge.encoders.anatomy import Anatomy, check_source_encoder, read_anatomy
from sembridge.encoders.fingerprint import sparse_encoder_fingerprint
from sembridge.encoders.loading import load_encoder, load_tokenizer
from sembridge.encoders.transplant import narrowed, transplant_inputs
from sembridge.encoders.vectors import TextEncoder
from sembridge.encoders.vocabulary import read_vocabulary
from sembridge.errors import SembridgeError
from sembridge.files.records import read_record
from sembridge.language_transfer.alignment import ALIGNMENT_FILE, Alignment
from sembridge.language_transfer.bridge import Embed
from sembridge.language_transfer.folder import LanguageTransfer, read_report
from sembridge.language_transfer.pivot_of_bridge import bridge_pivot
from sembridge.language_transfer.pivot_reading import reading_english
from sembridge.language_transfer.pivot_words import with_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sentence_transformers import SentenceTransformer, SparseEncoder
    from transformers import PreTrainedTokenizerBase


PIVOT_FILE = "pivot.json"


def in_source_vocabulary(vectors: csr_array, alignment: Alignment) -> csr_array:
    """(n, n_source) float32: vectors over the target vocabulary mapped through W, `vectors @ W`.

    Linear; the identity alignment gives the vectors back. A dimension whose row fell back contributes nothing.

    Args:
        vectors: (n, n_target).

    Raises:
        SembridgeError: the vectors have another width than the alignment has rows.
    """
    weights = alignment.weights
    if vectors.shape[1] != weights.n_rows:
        raise SembridgeError(
            f"The vectors have {vectors.shape[1]:,} dimensions and the alignment {weights.n_rows:,} rows; expected "
            "vectors of the encoder that the alignment lies beside."
        )
    arrays = (weights.values.numpy(), weights.col_indices.numpy(), weights.crow_indices.numpy())
    return csr_array(vectors @ csr_array(arrays, shape=(weights.n_rows, weights.n_columns)))


def pivot_encoder(
    source: "SparseEncoder", target_tokenizer: "PreTrainedTokenizerBase", alignment: Alignment
) -> "SparseEncoder":
    """A stock encoder that reads the target language and writes over the vocabulary of `source`.

    Dimension i is source token i; where the target vocabulary is larger, the dimensions beyond are never set. A token
    whose row fell back reads as the mean source row, which says nothing.

    Raises:
        SembridgeError: the alignment is not one of `source` and `target_tokenizer`, or `source` is inference-free.
    """
    anatomy = check_source_encoder(source)
    check_alignment(alignment, anatomy, target_tokenizer)
    rows = partial(_input_rows, alignment=alignment)
    return transplant_inputs(anatomy, target_tokenizer, rows, n_target=alignment.weights.n_rows).encoder


def _input_rows(source_rows: Tensor, *, alignment: Alignment) -> Tensor:
    weights = alignment.weights
    rows = weights.matmul(source_rows)
    rows[weights.support_sizes() == 0] = source_rows.mean(0)
    return rows


def check_alignment(alignment: Alignment, source: Anatomy, target_tokenizer: "PreTrainedTokenizerBase") -> None:
    """Nothing, if the columns of the alignment are the tokens of `source` and its rows fit the tokenizer.

    Raises:
        SembridgeError: they are not; the message says how many tokens differ.
    """
    weights = alignment.weights
    tokens = read_vocabulary(source.encoder.tokenizer, n_rows=source.n_rows).tokens
    if tuple(tokens) != alignment.source_tokens:
        differing = sum(a != b for a, b in zip(tokens, alignment.source_tokens, strict=False))
        differing += abs(len(tokens) - len(alignment.source_tokens))
        raise SembridgeError(
            f"The alignment is of another source encoder: {differing:,} of its {weights.n_columns:,} source tokens are "
            "not those of this one. Give an encoder that was transferred from this very source."
        )
    if (n_ids := max(target_tokenizer.get_vocab().values()) + 1) > weights.n_rows:
        raise SembridgeError(
            f"The target tokenizer has {n_ids:,} ids and the alignment {weights.n_rows:,} rows; expected the tokenizer "
            "that lies beside the alignment."
        )


@dataclass(frozen=True, kw_only=True)
class PivotFacts:
    """What `pivot.json` says beside a saved pivot.

    Attributes:
        source_encoder: its name.
        source_fingerprint: of the encoder whose vectors the pivot's can be compared with.
        n_dims: width of the source's vectors; all dimensions from there on are zero.
        language: as the transfer's report says.
        n_words: words with a token of their own.
        trained_on: name of the parallel text that it was trained on.
    """

    source_encoder: str
    source_fingerprint: str | None
    n_dims: int
    language: str | None = None
    n_words: int = 0
    trained_on: str | None = None


@dataclass(frozen=True, eq=False)
class Pivot:
    """A transferred encoder's language, seen through its source encoder: what `pivot_encoder` gives, and its facts.

    Attributes:
        alignment: which source tokens its input rows were made of; None where nobody kept it.
    """

    encoder: "SparseEncoder"
    facts: PivotFacts
    alignment: Alignment | None = None

    @classmethod
    def load(cls, folder: str | Path, source: "SparseEncoder") -> "Pivot":
        """The pivot of a folder written by `sembridge transfer`, or one that was saved.

        Args:
            source: the encoder that it was transferred from, whose index is to be searched.

        Raises:
            SembridgeError: the folder holds neither, or one of another source.
        """
        folder, fingerprint = Path(folder), sparse_encoder_fingerprint(source)
        if (folder / PIVOT_FILE).is_file():
            facts = read_record(PivotFacts, folder / PIVOT_FILE, advice="export the pivot again")
            if facts.source_fingerprint != fingerprint:
                raise SembridgeError(
                    f"{folder} is a pivot through {facts.source_encoder} (fingerprint "
                    f"{str(facts.source_fingerprint)[:12]}), and this encoder has {str(fingerprint)[:12]}; give a "
                    "pivot that was made from this very encoder."
                )
            alignment = Alignment.load(folder) if (folder / ALIGNMENT_FILE).is_file() else None
            return cls(load_encoder(folder), facts, alignment)
        return cls.of_transferred(folder, source)

    @classmethod
    def of_transferred(
        cls, folder: Path, source: "SparseEncoder", *, words: "Sequence[str]" = (), embed: Embed | None = None
    ) -> "Pivot":
        """The pivot of a folder written by `sembridge transfer`; English in its texts is read as `source` reads it.

        Args:
            words: of the language, which get tokens of their own, placed by `embed`.

        Raises:
            SembridgeError: no such folder, or one of another source.
        """
        alignment, report = Alignment.load(folder), read_report(folder)
        names = (report.source_encoder, report.language)
        return cls._made(source, load_tokenizer(folder), alignment, *names, words=words, embed=embed)

    @classmethod
    def of_transfer(cls, source: "SparseEncoder", moved: "LanguageTransfer") -> "Pivot":
        """The pivot of a transfer from `source` that was not saved yet."""
        names = (moved.report.source_encoder, moved.report.language)
        return cls._made(source, moved.encoder.tokenizer, moved.alignment, *names)

    @classmethod
    def of_bridge(
        cls, source: "SparseEncoder", bridge: "SentenceTransformer", *, name: str, n_layers: int | None = None
    ) -> "Pivot":
        """The pivot of `bridge_pivot`, which reads all languages of the bridge once it is trained.

        Args:
            name: of the source encoder.

        Raises:
            SembridgeError: as `bridge_pivot`.
        """
        fingerprint = sparse_encoder_fingerprint(source)
        facts = PivotFacts(source_encoder=name, source_fingerprint=fingerprint, n_dims=read_anatomy(source).n_rows)
        return cls(bridge_pivot(source, bridge, n_layers=n_layers), facts)

    @classmethod
    def _made(
        cls,
        source: "SparseEncoder",
        tokenizer: "PreTrainedTokenizerBase",
        alignment: Alignment,
        name: str,
        language: str | None,
        *,
        words: "Sequence[str]" = (),
        embed: Embed | None = None,
    ) -> "Pivot":
        check_alignment(alignment, check_source_encoder(source), tokenizer)
        tokenizer, alignment = reading_english(source, tokenizer, alignment)
        n_pieces = len(tokenizer)
        if words and embed is not None:
            tokenizer, alignment = with_words(source, tokenizer, alignment, words, embed)
        facts = PivotFacts(
            source_encoder=name,
            source_fingerprint=sparse_encoder_fingerprint(source),
            n_dims=alignment.weights.n_columns,
            language=language,
            n_words=len(tokenizer) - n_pieces,
        )
        return cls(pivot_encoder(source, tokenizer, alignment), facts, alignment)

    def write(self, folder: Path) -> None:
        """Fills a folder with the stock encoder, `pivot.json` and the alignment."""
        self.encoder.save_pretrained(str(folder), create_model_card=False)
        self.write_facts(folder)

    def write_facts(self, folder: Path) -> None:
        """Puts beside a stock encoder what makes it known as a pivot."""
        text = json.dumps(asdict(self.facts), indent=1, ensure_ascii=False)
        (folder / PIVOT_FILE).write_text(text + "\n", encoding="utf-8")
        if self.alignment is not None:
            self.alignment.save(folder)

    @cached_property
    def text_model(self) -> "SparseEncoder":
        """The encoder over the source's dimensions alone."""
        return narrowed(self.encoder, self.n_dims)

    @property
    def language(self) -> str | None:
        """None of one that reads several."""
        return self.facts.language

    def speaking(self, language: str) -> "Pivot":
        """The same for texts of one language."""
        return replace(self, facts=replace(self.facts, language=language))

    @property
    def fingerprint(self) -> str | None:
        """Of the source encoder."""
        return self.facts.source_fingerprint

    @property
    def n_dims(self) -> int:
        return self.facts.n_dims

    def encode_query(self, texts: "Sequence[str]", **options: Any) -> csr_array:
        """(n_texts, n_dims) float32 over the source vocabulary; options as of `encode_queries`."""
        return TextEncoder(self.text_model, "query", **options)(texts)

    def encode_document(self, texts: "Sequence[str]", **options: Any) -> csr_array:
        """(n_texts, n_dims) float32 over the source vocabulary; options as of `encode_corpus`."""
        return TextEncoder(self.text_model, "document", **options)(texts)

    @torch.no_grad()
    def origins(self, text: str) -> dict[int, str]:
        """Source dimension -> the target token of `text` at whose place it is strongest, as max pooling takes it."""
        transformer = next(iter(self.text_model.children()))
        features = self.text_model.preprocess([text])
        features = {name: value.to(self.encoder.device) for name, value in features.items() if torch.is_tensor(value)}
        logits = transformer(features)["token_embeddings"][0]
        best, place = logits.max(dim=0)
        tokens = self.encoder.tokenizer.convert_ids_to_tokens(features["input_ids"][0].tolist())
        return {int(d): tokens[int(place[d])] for d in torch.nonzero(best > 0).flatten()}
