"""Retrieval data: a corpus, queries and qrels, from a BEIR folder, from mteb, or bundled with the package.

`beir_folder` reads the files, `mteb_data` the tasks; here is what both make, and how it is named and sampled.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sembridge.beir_folder import Qrels, qrels_splits, read_qrels, read_texts
from sembridge.errors import SembridgeError
from sembridge.loading import mini_folder

__all__ = ["Qrels", "RetrievalData", "available_splits", "load_retrieval_data"]


@dataclass(frozen=True)
class RetrievalData:
    """A test collection.

    Attributes:
        name: what tables and saved results call it.
        language: language code such as "ko", or None where it is not known.
        corpus: document id -> document text (title and text joined by a space).
        queries: query id -> query text; every one of them is judged in `qrels`.
        qrels: query id -> document id -> relevance (0 or less: not relevant).
        split: that of the qrels, or None where it is not known.
    """

    name: str
    language: str | None
    corpus: dict[str, str]
    queries: dict[str, str]
    qrels: Qrels
    split: str | None = None

    def __post_init__(self) -> None:
        if not self.corpus or not self.queries:
            raise SembridgeError(
                f"Retrieval data {self.name!r} has {len(self.corpus)} documents and {len(self.queries)} queries: "
                "expected at least one of each."
            )
        if self.queries.keys() != self.qrels.keys():
            odd_one = min(self.queries.keys() ^ self.qrels.keys())
            raise SembridgeError(
                f"Retrieval data {self.name!r}: query {odd_one!r} is in only one of queries and qrels; give both."
            )
        for query_id, judged in self.qrels.items():
            if unknown := judged.keys() - self.corpus.keys():
                raise SembridgeError(
                    f"Retrieval data {self.name!r}: the qrels of query {query_id!r} name document {min(unknown)!r}, "
                    "which is not in the corpus; add it or drop the line."
                )
        if not any(score > 0 for judged in self.qrels.values() for score in judged.values()):
            raise SembridgeError(
                f"Retrieval data {self.name!r} has no relevant document: expected a qrel with a score above 0."
            )

    def sample(self, n_queries: int | None = None, n_documents: int | None = None, *, seed: int = 0) -> "RetrievalData":
        """A smaller collection for quick runs: random queries, their relevant documents, random other documents.

        Both numbers are caps; None or a number above the size keeps everything. Its measures are higher than those of
        the whole collection (fewer documents compete), so its name says that it is a sample.

        Raises:
            SembridgeError: a cap below 1, or fewer documents than the chosen queries have relevant ones.
        """
        for label, cap in (("n_queries", n_queries), ("n_documents", n_documents)):
            if cap is not None and cap < 1:
                raise SembridgeError(f"{label} is {cap}: expected 1 or more, or None for all.")
        generator = np.random.default_rng(seed)
        query_ids = _random_subset(sorted(self.queries), n_queries, generator)
        gold = {doc for query in query_ids for doc, score in self.qrels[query].items() if score > 0}
        document_ids = self._with_fillers(gold, n_documents, generator)
        if len(query_ids) == len(self.queries) and len(document_ids) == len(self.corpus):
            return self
        return RetrievalData(
            name=f"{self.name} ({len(query_ids)} queries, {len(document_ids)} documents, seed {seed})",
            language=self.language,
            corpus={doc: text for doc, text in self.corpus.items() if doc in document_ids},
            queries={query: text for query, text in self.queries.items() if query in query_ids},
            qrels={
                query: {doc: score for doc, score in judged.items() if doc in document_ids}
                for query, judged in self.qrels.items()
                if query in query_ids
            },
            split=self.split,
        )

    def _with_fillers(self, gold: set[str], n_documents: int | None, generator: np.random.Generator) -> set[str]:
        if n_documents is not None and n_documents < len(gold):
            raise SembridgeError(
                f"n_documents is {n_documents}, but the chosen queries have {len(gold)} relevant documents: "
                f"give n_documents={len(gold)} or more, or fewer queries."
            )
        n_fillers = None if n_documents is None else n_documents - len(gold)
        return gold | _random_subset(sorted(self.corpus.keys() - gold), n_fillers, generator)


def load_retrieval_data(name: str | Path, *, split: str | None = None, language: str | None = None) -> RetrievalData:
    """The retrieval data in a BEIR folder, bundled ones by mini/NAME, or those of mteb by mteb:TASK[:SUBSET].

    Documents all stay; of the queries only those judged in the split. Without `split` it is "test", or an mteb task's
    only one. The language of bundled data comes from its name (mini/faq-ko), that of a folder from `language`.

    Raises:
        MissingExtraError: an mteb task, and mteb is not installed.
        SembridgeError: a missing file, split or task, and any malformed line, with file and line number.
    """
    if str(name).startswith("mteb:"):
        from sembridge.mteb_data import read_mteb

        return read_mteb(str(name), split=split, language=language)
    try:
        return _read_folder(name, split or "test", language)
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


def _random_subset(ids: list[str], size: int | None, generator: np.random.Generator) -> set[str]:
    if size is None or size >= len(ids):
        return set(ids)
    return {ids[position] for position in generator.choice(len(ids), size=size, replace=False)}
