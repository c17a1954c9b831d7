"""Retrieval data of two languages: questions in one, documents in the other."""

from dataclasses import dataclass, replace

from sembridge.errors import SembridgeError
from sembridge.retrieval.data import RetrievalData


@dataclass(frozen=True)
class AcrossData:
    """Questions of one language against documents of another.

    Attributes:
        data: the test collection.
        asked_in_own: query id -> the same question in the documents' language, of those that have one.
    """

    data: RetrievalData
    asked_in_own: dict[str, str]


def across(questions: RetrievalData, documents: RetrievalData) -> AcrossData:
    """The questions of one against the documents of the other: parallel data, in which ids mean the same.

    Judgments are those of the questions. A document that only their own corpus has is left out, and a question without
    any document left.

    Raises:
        SembridgeError: no question has a relevant document in the other corpus.
    """
    judged = {
        query: {doc: grade for doc, grade in grades.items() if doc in documents.corpus}
        for query, grades in questions.qrels.items()
    }
    qrels = {query: grades for query, grades in judged.items() if max(grades.values(), default=0) > 0}
    if not qrels:
        raise SembridgeError(
            f"No question of {questions.name} has a relevant document in {documents.name}; expected two folders with "
            "the same ids, one in each language."
        )
    data = replace(
        questions,
        name=f"{questions.name} in {documents.name}",
        corpus=documents.corpus,
        queries={query: text for query, text in questions.queries.items() if query in qrels},
        qrels=qrels,
    )
    own = {query: documents.queries[query] for query in data.queries if query in documents.queries}
    same = all(data.queries[query] == text for query, text in own.items())
    return AcrossData(data, {} if same else own)
