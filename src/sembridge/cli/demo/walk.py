"""The main job on the bundled models: transfer, look at it, search with it, and compare it with what else there is."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sembridge.cli.demo.across import AcrossAnswer, ask_english
from sembridge.encoders.loading import load_bridge, load_encoder, load_tokenizer, read_model_card
from sembridge.language_transfer.assembly import transfer
from sembridge.language_transfer.explanation import Explainer, SharedDimension, TokenExplanation
from sembridge.language_transfer.folder import LanguageTransfer, Origin
from sembridge.language_transfer.initialization.rows import RowKind
from sembridge.language_transfer.recipe import TransferRecipe
from sembridge.retrieval.corpus import stream_corpus
from sembridge.retrieval.data import RetrievalData
from sembridge.retrieval.evaluation import Evaluation, evaluate, evaluate_bm25, evaluate_run
from sembridge.retrieval.lexical_overlap import lexical_overlap
from sembridge.retrieval.runs import BM25_WEIGHT, hybrid, ranked
from sembridge.retrieval.sources import load_retrieval_data
from sembridge.retrieval.system_rows import BM25_TOKENS, HYBRID, Kind, SystemRow
from sembridge.retrieval.system_rows import ENGLISH as ENGLISH_ROW
from sembridge.retrieval.verdicts import verdicts

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder

LANGUAGES = {"ar": "Arabic", "zh": "Chinese", "hi": "Hindi", "ko": "Korean", "ru": "Russian"}
SOURCE, BRIDGE = "mini/splade-en", "mini/bridge"
MEASURE = "nDCG@10"
OURS, FUSED, BM25 = "SemBridge, zero-shot", "SemBridge fused with BM25", "BM25 over the same tokens"
ENGLISH, RANDOM = "untouched English encoder", "random initialisation"


@dataclass(frozen=True)
class Found:
    """What a system answers a question with, in both languages."""

    title: str
    english: str
    right: bool


@dataclass(frozen=True)
class Question:
    """A question with the answers of both systems, the right one, and the dimensions that made the encoder's answer."""

    text: str
    english: str
    ours: Found
    bm25: Found
    wanted: Found
    shared: list[SharedDimension]


@dataclass(frozen=True)
class Demonstration:
    """All that the demo shows of one language.

    Attributes:
        n_ours, n_bm25: questions that one of both answers right and the other does not.
        across: the English FAQ, asked in the language.
    """

    language: str
    folder: Path
    result: LanguageTransfer
    tokens: list[TokenExplanation]
    questions: list[Question]
    n_ours: int
    n_bm25: int
    evaluations: dict[str, Evaluation]
    across: AcrossAnswer


def demonstrate(language: str, out: Path, *, progress: bool = False) -> Demonstration:
    """Transfers `mini/splade-en` to `language`, saves it below `out`, and searches the bundled FAQ with it."""
    source, tokenizer = load_encoder(SOURCE), load_tokenizer(f"mini/tokenizer-{language}")
    data = load_retrieval_data(f"mini/faq-{language}")
    origin = Origin(SOURCE, f"mini/tokenizer-{language}", BRIDGE, language, read_model_card(SOURCE).license)
    result = transfer(source, tokenizer, load_bridge(BRIDGE), origin=origin, progress=progress)
    random = transfer(source, tokenizer, None, recipe=TransferRecipe.build({"method": "random"}))
    ours, bm25 = _evaluated(result.encoder, data), evaluate_bm25(data, tokenizer, measures=[MEASURE])
    fused = hybrid([bm25.run, ours.run], [BM25_WEIGHT, 1 - BM25_WEIGHT], n_documents=len(data.corpus))
    evaluations = {
        OURS: ours,
        FUSED: evaluate_run(fused, data, measures=[MEASURE]),
        BM25: bm25,
        ENGLISH: _evaluated(source, data),
        RANDOM: _evaluated(random.encoder, data),
    }
    folder = result.save(out / f"splade-{language}", overwrite=True)
    explainer = Explainer(result.encoder, result.alignment)
    outcomes = questions_by_outcome(data, ours, bm25)
    return Demonstration(
        language, folder, result, _surest_words(explainer, data),
        [_question(query_id, data, explainer, ours, bm25) for query_id in telling(outcomes)],
        len(outcomes[True, False]), len(outcomes[False, True]), evaluations, ask_english(source, result, language),
    )  # fmt: skip


def _evaluated(encoder: "SparseEncoder", data: RetrievalData) -> Evaluation:
    return evaluate(encoder, data, measures=[MEASURE], encode_with="fast")


Outcomes = Mapping[tuple[bool, bool], list[str]]
"""(Is the encoder's first answer right, is BM25's?) -> ids of questions."""


def questions_by_outcome(data: RetrievalData, ours: Evaluation, bm25: Evaluation) -> Outcomes:
    """All questions by who answers them right; those that share fewest words with their answer come first."""
    outcomes: dict[tuple[bool, bool], list[str]] = {(a, b): [] for a in (True, False) for b in (True, False)}
    overlap = lexical_overlap(data)
    for query_id in sorted(overlap, key=lambda query_id: (overlap[query_id], query_id)):
        right = [data.qrels[query_id].get(_first(each, query_id), 0) > 0 for each in (ours, bm25)]
        outcomes[right[0], right[1]].append(query_id)
    return outcomes


def telling(outcomes: Outcomes) -> list[str]:
    """A question that only the encoder answers right, one that both do, and one that it gets wrong, where there are."""
    wrong = outcomes[False, True] or outcomes[False, False]
    return [query_id for its in (outcomes[True, False], outcomes[True, True], wrong) for query_id in its[:1]]


def _first(evaluation: Evaluation, query_id: str) -> str:
    """The best document; an empty name where nothing was found."""
    return next(iter(ranked(evaluation.run.get(query_id, {}))), "")


def _question(query_id: str, data: RetrievalData, explainer: Explainer, ours: Evaluation, bm25: Evaluation) -> Question:
    judged, text = data.qrels[query_id], data.queries[query_id]
    titles, english = _titles(data.language or ""), _titles("en")

    def found(document_id: str) -> Found:
        return Found(titles.get(document_id, "nothing"), english.get(document_id, ""), judged.get(document_id, 0) > 0)

    first = _first(ours, query_id)
    return Question(
        text, load_retrieval_data("mini/faq-en").queries[query_id], found(first), found(_first(bm25, query_id)),
        found(max(judged, key=judged.__getitem__)), explainer.match(text, data.corpus[first], top=4) if first else [],
    )  # fmt: skip


def _titles(language: str) -> dict[str, str]:
    return {document.id: document.title for document in stream_corpus(f"mini/faq-{language}")}


def headline(evaluations: Mapping[str, Evaluation]) -> str:
    """The table in a sentence, as far as paired tests allow: the verdict of `sembridge evaluate` on these rows."""
    kinds: dict[str, tuple[str, Kind]] = {
        OURS: (OURS, "encoder"), FUSED: (HYBRID + OURS, "hybrid"), BM25: (BM25_TOKENS, "bm25"),
        ENGLISH: (ENGLISH_ROW, "english"),
    }  # fmt: skip
    rows = [SystemRow(name, kind, evaluations[shown]) for shown, (name, kind) in kinds.items()]
    ((verdict,),) = verdicts([rows])
    return verdict.sentence


def _surest_words(explainer: Explainer, data: RetrievalData, *, count: int = 10) -> list[TokenExplanation]:
    """The combined tokens of two or more characters, in two or more entries, that lie nearest to a source token."""
    encodings = explainer.encoder.tokenizer(list(data.corpus.values()), add_special_tokens=False)["input_ids"]
    n_entries = Counter(token_id for encoding in encodings for token_id in set(encoding))
    kinds, texts = explainer.alignment.kinds, explainer.vocabulary.texts
    tokens = [
        explainer.token(i) for i, n in n_entries.items() if n > 1 and kinds[i] == RowKind.COMBINED and len(texts[i]) > 1
    ]
    return sorted(tokens, key=lambda token: (-_nearest(token), token.token_id))[:count]


def _nearest(token: TokenExplanation) -> float:
    return max(part.similarity or 0.0 for part in token.parts)
