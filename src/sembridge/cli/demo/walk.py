"""The main job on the bundled models: transfer, look at it, search with it, and compare it with what else there is."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sembridge.encoders.loading import load_bridge, load_encoder, load_tokenizer, read_model_card
from sembridge.language_transfer.assembly import transfer
from sembridge.language_transfer.explanation import Explainer, SharedDimension, TokenExplanation
from sembridge.language_transfer.folder import LanguageTransfer, Origin
from sembridge.language_transfer.initialization.rows import RowKind
from sembridge.language_transfer.recipe import TransferRecipe
from sembridge.retrieval.data import RetrievalData
from sembridge.retrieval.evaluation import Evaluation, evaluate, evaluate_bm25
from sembridge.retrieval.sources import load_retrieval_data

LANGUAGES = {"ar": "Arabic", "zh": "Chinese", "hi": "Hindi", "ko": "Korean", "ru": "Russian"}
SOURCE, BRIDGE = "mini/splade-en", "mini/bridge"
# Each has a wording of its own in every language; the first hardly repeats a word of its answer.
QUESTIONS = ("travel-03-b", "health-03-a", "devices-04-a")
MEASURE = "nDCG@10"


@dataclass(frozen=True)
class Answer:
    """A question with the best document, the dimensions both have, and whether it is the right document."""

    question: str
    title: str
    correct: bool
    shared: list[SharedDimension]


@dataclass(frozen=True)
class Demonstration:
    """All that the demo shows of one language."""

    language: str
    folder: Path
    result: LanguageTransfer
    tokens: list[TokenExplanation]
    answers: list[Answer]
    evaluations: dict[str, Evaluation]


def demonstrate(language: str, out: Path, *, progress: bool = False) -> Demonstration:
    """Transfers `mini/splade-en` to `language`, saves it below `out`, and searches the bundled FAQ with it."""
    source, tokenizer = load_encoder(SOURCE), load_tokenizer(f"mini/tokenizer-{language}")
    data = load_retrieval_data(f"mini/faq-{language}")
    origin = Origin(SOURCE, f"mini/tokenizer-{language}", BRIDGE, language, read_model_card(SOURCE).license)
    result = transfer(source, tokenizer, load_bridge(BRIDGE), origin=origin, progress=progress)
    random = transfer(source, tokenizer, None, recipe=TransferRecipe.build({"method": "random"}))
    evaluations = {
        "SemBridge, zero-shot": evaluate(result.encoder, data, measures=[MEASURE], encode_with="fast"),
        "untouched English encoder": evaluate(source, data, measures=[MEASURE], encode_with="fast"),
        "random initialisation": evaluate(random.encoder, data, measures=[MEASURE], encode_with="fast"),
        "BM25 over the same tokens": evaluate_bm25(data, tokenizer, measures=[MEASURE]),
    }
    folder = result.save(out / f"splade-{language}", overwrite=True)
    explainer = Explainer(result.encoder, result.alignment)
    answers = list(_answers(explainer, data, evaluations["SemBridge, zero-shot"]))
    return Demonstration(language, folder, result, _surest_words(explainer, data), answers, evaluations)


def _answers(explainer: Explainer, data: RetrievalData, evaluation: Evaluation) -> Iterator[Answer]:
    for query_id in QUESTIONS:
        scores = evaluation.run.get(query_id, {})
        best = min(scores, key=lambda document_id: (-scores[document_id], document_id), default=None)
        if best is not None:
            query, document = data.queries[query_id], data.corpus[best]
            yield Answer(
                query, document, data.qrels[query_id].get(best, 0) > 0, explainer.match(query, document, top=4)
            )


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
