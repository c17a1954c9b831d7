"""Retrieval data of mteb: `mteb:TASK[:SUBSET]`, with the texts and judgments that mteb itself evaluates.

Documents are title and text joined by a space, queries are text and instruction; an empty text stays, because mteb
ranks it too. What mteb would measure in another way (reranking, image, conversations) is refused, not approximated.
"""

import copy
import difflib
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from sembridge.encoders.model_folder import one_line
from sembridge.errors import SembridgeError, require
from sembridge.retrieval.beir import Qrels
from sembridge.retrieval.data import RetrievalData

if TYPE_CHECKING:
    from datasets import Dataset
    from mteb.abstasks.retrieval import AbsTaskRetrieval

PREFIX = "mteb:"

_TYPES: tuple[Literal["Retrieval", "InstructionRetrieval"], ...] = ("Retrieval", "InstructionRetrieval")
_MANY = 20  # names listed in a refusal
_ROWS = 1000

logger = logging.getLogger(__name__)


def read_mteb(name: str, *, split: str | None = None, language: str | None = None) -> RetrievalData:
    """The retrieval data of `mteb:TASK[:SUBSET]`, downloaded by mteb or read from the cache of datasets.

    Raises:
        MissingExtraError: mteb is not installed.
        SembridgeError: mteb has no such task, its data cannot be had, or `read_task` refuses it.
    """
    task_name, _, subset = name.removeprefix(PREFIX).partition(":")
    return read_task(_task(task_name), subset=subset or None, split=split, language=language)


def read_task(
    task: "AbsTaskRetrieval", *, subset: str | None = None, split: str | None = None, language: str | None = None
) -> RetrievalData:
    """The retrieval data of one subset and split of an mteb task, which stays as it is.

    Without `subset` the task has to have only one; without `split` it is "test", or the only one.
    The name says task, subset, split and revision; the language is the subset's code, or mteb's (ISO 639-3) where the
    subset is called otherwise.

    Raises:
        SembridgeError: no text retrieval task, or no such subset or split (or several and none chosen); data that
            cannot be loaded; judgments of relevant documents that the corpus lacks.
    """
    _check_kind(task)
    metadata = task.metadata
    subset = _one_of(subset, metadata.hf_subsets, f"{PREFIX}{metadata.name}", "subset", f"{PREFIX}{metadata.name}:{{}}")
    split = _one_of(
        split or _usual_split(metadata.eval_splits),
        metadata.eval_splits,
        f"{PREFIX}{metadata.name}",
        "split",
        "--split {}",
    )
    parts = _loaded(task, subset, split).dataset[subset][split]
    if parts.get("top_ranked"):
        raise SembridgeError(f"mteb task {metadata.name} ranks given candidates; expected one that searches a corpus.")
    full_name = f"{PREFIX}{metadata.name}" + (f":{subset}" if subset != "default" else "")
    corpus = _texts(parts["corpus"], "title", full_name)
    queries = _texts(parts["queries"], "instruction", full_name)
    _check_own_documents(task)
    qrels = _known_judgments(parts["relevant_docs"], queries, corpus, full_name)
    return RetrievalData(
        name=f"{full_name} ({split}, revision {metadata.revision[:7]})",
        language=language or _language(subset, metadata.hf_subsets_to_langscripts[subset]),
        corpus=corpus,
        queries={query_id: text for query_id, text in queries.items() if query_id in qrels},
        qrels=qrels,
        split=split,
        same_ids_are_own=bool(task.ignore_identical_ids),
    )


def _task(name: str) -> "AbsTaskRetrieval":
    require("mteb", "mteb", what=f"{PREFIX}{name}")
    import mteb

    try:
        task: AbsTaskRetrieval = mteb.get_task(name)  # read_task checks its kind
    except KeyError as error:
        names = [task.metadata.name for task in mteb.get_tasks(task_types=list(_TYPES))]
        close = _close(name, names) or ["MIRACLRetrieval", "WebFAQRetrieval"]
        raise SembridgeError(
            f"mteb {mteb.__version__} has no task {name!r}; did you mean {' or '.join(close)}?"
        ) from error
    return task


def _check_kind(task: "AbsTaskRetrieval") -> None:
    from mteb.abstasks.retrieval import AbsTaskRetrieval

    metadata = task.metadata
    if not isinstance(task, AbsTaskRetrieval) or metadata.type not in _TYPES:
        raise SembridgeError(f"mteb task {metadata.name} is of type {metadata.type}; expected {' or '.join(_TYPES)}.")
    if list(metadata.modalities) != ["text"]:
        raise SembridgeError(
            f"mteb task {metadata.name} is about {', '.join(metadata.modalities)}; expected a task of text alone."
        )


def _one_of(chosen: str | None, available: Sequence[str], task: str, what: str, how: str) -> str:
    """The chosen name, or the only one there is."""
    if chosen in available:
        return str(chosen)
    listed = ", ".join(available[:_MANY]) + (f", ... ({len(available)} in all)" if len(available) > _MANY else "")
    if chosen is not None:
        hint = "".join(f"; did you mean {' or '.join(close)}?" for close in [_close(chosen, available)] if close)
        raise SembridgeError(f"{task} has no {what} {chosen!r}{hint or '.'} It has: {listed}.")
    if len(available) > 1:
        raise SembridgeError(f"{task} has several {what}s; choose one as {how.format(available[0])}. It has: {listed}.")
    return available[0]


def _usual_split(available: Sequence[str]) -> str | None:
    return "test" if "test" in available else None


def _close(name: str, available: Sequence[str]) -> list[str]:
    """Up to three similar names; then those that contain it, such as kor_Hang-kor_Hang for kor."""
    similar = difflib.get_close_matches(name, available)
    containing = [other for other in available if name.casefold() in other.casefold()]
    return list(dict.fromkeys([*similar, *sorted(containing, key=len)]))[:3]


def _loaded(task: "AbsTaskRetrieval", subset: str, split: str) -> "AbsTaskRetrieval":
    """A copy of the task with (at least) one subset and split in mteb's present form."""
    copied = copy.copy(task)
    path = str(task.metadata.dataset["path"])
    try:
        if not copied.data_loaded:
            copied.filter_languages(languages=None, hf_subsets=[subset]).filter_eval_splits([split])
            copied.load_data()
        copied.convert_v1_dataset_format_to_v2(num_proc=None)
    except ConnectionError as error:
        raise SembridgeError(
            f"mteb task {task.metadata.name}: {path} is not in the cache of datasets and the hub is out of reach"
            f" ({one_line(error)}); connect once, without HF_HUB_OFFLINE, to download it."
        ) from error
    except Exception as error:  # mteb, datasets, pyarrow and 150 tasks with code of their own share no class
        raise SembridgeError(f"mteb task {task.metadata.name}: {path} cannot be loaded: {one_line(error)}") from error
    if split not in copied.dataset.get(subset, {}):
        raise SembridgeError(f"mteb task {task.metadata.name} was loaded without subset {subset}, split {split}.")
    return copied


def _texts(dataset: "Dataset", companion: str, task: str) -> dict[str, str]:
    """Id -> text, with the title in front of it or the instruction behind it."""
    if missing := {"id", "text"} - {*dataset.column_names}:
        raise SembridgeError(f"{task}: no column {min(missing)!r}; found {', '.join(dataset.column_names)}.")
    columns = [name for name in ("id", "text", companion) if name in dataset.column_names]
    texts: dict[str, str] = {}
    for batch in dataset.select_columns(columns).iter(batch_size=_ROWS):
        companions = batch.get(companion, [None] * len(batch["id"]))
        for text_id, text, other in zip(map(str, batch["id"]), batch["text"], companions, strict=True):
            joined = _joined(text, other, companion, f"{task}, id {text_id!r}")
            if texts.setdefault(text_id, joined) != joined:
                raise SembridgeError(f"{task}: id {text_id!r} has two different texts; ids are unique.")
    if n_empty := sum(not text for text in texts.values()):
        logger.warning("%s: %d of %d texts are empty; they stay, as in mteb.", task, n_empty, len(texts))
    return texts


def _joined(text: object, other: object, companion: str, where: str) -> str:
    """As mteb joins them: documents are stripped, queries are not."""
    for value in (text, other):
        if not isinstance(value, str | None):
            raise SembridgeError(f"{where}: a {type(value).__name__} instead of a text; conversations are not read.")
    if companion == "title":
        return f"{other or ''} {text or ''}".strip()
    return f"{text or ''}" if other is None else f"{text or ''} {other}"


def _check_own_documents(task: "AbsTaskRetrieval") -> None:
    """Some tasks leave the first result out, whatever it is, where they mean a query's own document."""
    if task.skip_first_result:
        raise SembridgeError(
            f"mteb task {task.metadata.name} leaves every query's own document out of its answer by dropping the first "
            "result, which is not done here; evaluate it with mteb."
        )


def _known_judgments(
    judgments: Mapping[str, Mapping[str, int]], queries: Mapping[str, str], corpus: Mapping[str, str], task: str
) -> Qrels:
    """The judgments of known queries; what mteb cannot find either is left out where no measure sees it."""
    qrels: Qrels = {}
    n_unknown = 0
    for query_id, judged in judgments.items():
        if query_id not in queries or not judged:
            continue
        qrels[query_id] = {doc: _whole(score, task) for doc, score in judged.items() if doc in corpus}
        unknown = {doc: score for doc, score in judged.items() if doc not in corpus}
        if relevant := [doc for doc, score in unknown.items() if score > 0]:
            raise SembridgeError(
                f"{task}: the qrels of query {query_id!r} name document {min(relevant)!r} as relevant, which is not in"
                " the corpus; no system can find it. Write the task as a BEIR folder without that line."
            )
        n_unknown += len(unknown)
    if n_unknown:
        logger.warning("%s: %d judgments name documents outside of the corpus, none relevant.", task, n_unknown)
    return qrels


def _whole(score: float, task: str) -> int:
    if score != int(score):
        raise SembridgeError(f"{task}: a score is {score}; expected whole numbers such as 0, 1 or 2.")
    return int(score)


def _language(subset: str, langscripts: Sequence[str]) -> str | None:
    if len(subset) == 2:
        return subset
    languages = {langscript.partition("-")[0] for langscript in langscripts}
    return languages.pop() if len(languages) == 1 else None
