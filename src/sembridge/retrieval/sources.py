"""Retrieval data by name: a folder, bundled data, or a task of mteb."""

from pathlib import Path

from sembridge.encoders.names import mini_folder
from sembridge.errors import SembridgeError
from sembridge.retrieval.beir import qrels_splits, read_qrels, read_texts
from sembridge.retrieval.data import RetrievalData


def load_retrieval_data(name: str | Path, *, split: str | None = None, language: str | None = None) -> RetrievalData:
    """The retrieval data in a BEIR folder, bundled ones by mini/NAME, or those of mteb by mteb:TASK[:SUBSET].

    Documents all stay; of the queries only those judged in the split. Without `split` it is "test", or an mteb task's
    only one. The language of bundled data comes from its name (mini/faq-ko), that of a folder from `language`.

    Raises:
        MissingExtraError: an mteb task, and mteb is not installed.
        SembridgeError: a missing file, split or task, and any malformed line, with file and line number.
    """
    if str(name).startswith("mteb:"):
        from sembridge.retrieval.mteb import read_mteb

        data = read_mteb(str(name), split=split, language=language)
        data.warn_of_own_documents()
        return data
    try:
        data = _read_folder(name, split or "test", language)
        data.warn_of_own_documents()
        return data
    except OSError as error:
        raise SembridgeError(
            f"{error.filename or name} cannot be read ({error.strerror or error}); check its permissions and its disk."
        ) from error


def available_splits(name: str | Path) -> list[str]:
    """The names of the splits that a BEIR folder or bundled data have judgments of, in alphabetical order.

    Raises:
        SembridgeError: no such folder or bundled data.
    """
    return qrels_splits(_resolve_folder(name))


def _read_folder(name: str | Path, split: str, language: str | None) -> RetrievalData:
    folder = _resolve_folder(name)
    corpus = read_texts(folder, "corpus")
    all_queries = read_texts(folder, "queries")
    qrels = read_qrels(folder, split, all_queries, corpus)
    return RetrievalData(
        name=_display_name(name, folder),
        language=language or _mini_language(name),
        corpus=corpus,
        queries={query: text for query, text in all_queries.items() if query in qrels},
        qrels=qrels,
        split=split,
    )


def _resolve_folder(name: str | Path) -> Path:
    if _is_mini(name):
        return mini_folder(str(name))
    folder = Path(name)
    if not folder.is_dir():
        raise SembridgeError(
            f"No retrieval data at {str(name)!r}: expected a BEIR folder (corpus.jsonl, queries.jsonl, qrels/), "
            "a bundled set such as mini/faq-ko, or mteb:TASK[:SUBSET]."
        )
    return folder


def _is_mini(name: str | Path) -> bool:
    return isinstance(name, str) and name.startswith("mini/")


def _mini_language(name: str | Path) -> str | None:
    last = str(name).rpartition("-")[2]
    return last if _is_mini(name) and len(last) == 2 else None


def _display_name(name: str | Path, folder: Path) -> str:
    return str(name) if _is_mini(name) else "/".join(folder.resolve().parts[-2:])
