"""What the columns of training data mean: Sentence Transformers' documented formats, read for what they say.

A column is known by its name. Labels tell relevant documents from others, numbered columns and lists hold several
documents, and what no loss here learns from (a teacher's scores) is refused by name instead of being passed over.
https://sbert.net/docs/sparse_encoder/loss_overview.html lists the formats, `mine_hard_negatives` writes most of them.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sembridge.errors import SembridgeError
from sembridge.files.rows import shown

# The first name found in a file is taken; the order is that of Sentence Transformers' and WebFAQ's usual layouts.
QUERY_NAMES = (
    "query", "anchor", "question", "queries", "premise", "sentence1", "sentence_A", "english",
)  # fmt: skip
DOCUMENT_NAMES = (
    "positive", "document", "passage", "answer", "text", "context", "hypothesis", "pos", "positives", "documents",
    "passages", "sentence2", "sentence_B", "non_english", "translation",
)  # fmt: skip
LABEL_NAMES = ("label", "labels", "score", "scores")
_NEGATIVE = re.compile(r"(negative|hard_negative|neg)(s|_?\d+)?")
_TEACHER = re.compile(
    r"(passage|document)_?(one|two|three|\d+)|gold_sim.*|margins?|similarity"
    r"|(pos|positive|neg|negative|teacher|gold|ce|cross_encoder)_?(\d+_)?(score|sim)s?"
)
_NLI = {"entailment": 0, "neutral": 1, "contradiction": 2}  # the classes of SNLI and All-NLI; -1 is no agreed one
_SENTENCES = ("premise", "sentence1", "sentence_A")
_HALF_PAIR = re.compile("[\ud800-\udfff]")
_WORDS = {"true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0}


@dataclass(frozen=True)
class TrainingRow:
    """A query, a document that is relevant to it, and documents that are not."""

    query: str
    document: str
    negatives: tuple[str, ...] = ()


@dataclass
class ReadRows:
    """The rows of a source, and what was read but is in none of them.

    Attributes:
        left_out: what -> how many.
        unused_columns: names of columns that say nothing to a training.
    """

    rows: list[TrainingRow] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)
    unused_columns: tuple[str, ...] = ()

    def leave_out(self, what: str, number: int = 1) -> None:
        if number:
            self.left_out[what] = self.left_out.get(what, 0) + number


@dataclass(frozen=True)
class _Columns:
    query: str
    document: str
    negatives: tuple[str, ...]
    label: str | None


def read_rows(name: str, records: Iterable[tuple[str, Mapping[str, object]]]) -> ReadRows:
    """The training rows of (place, record) pairs, a record a mapping from column to value.

    A list of relevant documents gives a row each. Of labelled pairs those marked relevant are rows, and the others are
    negatives of all rows of their query.

    Raises:
        SembridgeError: no record, columns that are not known, that contradict each other or that are scores, a label
            that is no yes or no, or a value that is no text.
    """
    read = list(records)
    names = list(dict.fromkeys(column for _, record in read for column in record))
    if not names:
        raise SembridgeError(
            f"{name} is empty: it holds no pair of a query and a relevant document; nothing can be learned from it."
        )
    columns = _known_columns(name, names)
    used = {columns.query, columns.document, columns.label, *columns.negatives}
    found = ReadRows(unused_columns=tuple(column for column in names if column not in used))
    if columns.label is None:
        _add_tuples(found, name, columns, read)
    else:
        _add_labelled(found, name, columns, columns.label, read)
    return found


def _known_columns(name: str, names: Sequence[str]) -> _Columns:
    negatives = tuple(column for column in names if _NEGATIVE.fullmatch(column))
    label = next((column for column in LABEL_NAMES if column in names), None)
    scores = [column for column in names if _TEACHER.fullmatch(column)]
    if label is not None and negatives:
        scores.insert(0, label)
    if scores:
        raise SembridgeError(
            f"{name} has the column {scores[0]}, as data with a teacher's scores have, which no loss here learns from; "
            "remove it to train on query, positive and negatives alone, or take a teacher with --distill bridge."
        )
    query, document = (_column(name, names, known) for known in (QUERY_NAMES, DOCUMENT_NAMES))
    return _Columns(query, document, negatives, label)


def _column(name: str, names: Sequence[str], known: tuple[str, ...]) -> str:
    for column in known:
        if column in names:
            return column
    raise SembridgeError(
        f"{name} has the columns {', '.join(map(repr, names))[:300]}: expected one of {', '.join(known[:4])} "
        f"{'for the query' if known is QUERY_NAMES else 'for its relevant document'}."
    )


def _add_tuples(
    found: ReadRows, name: str, columns: _Columns, records: Sequence[tuple[str, Mapping[str, object]]]
) -> None:
    for place, record in records:
        where = f"{name}, {place}"
        query = _text(record.get(columns.query), columns.query, where)
        documents = _texts(record.get(columns.document), columns.document, where)
        negatives = tuple(
            text
            for column in columns.negatives
            if record.get(column) not in (None, "")  # a shorter tuple in a table of longer ones
            for text in _texts(record[column], column, where)
        )
        if not documents:
            found.leave_out("rows without a relevant document")
        found.rows += [TrainingRow(query, document, negatives) for document in documents]


def _add_labelled(
    found: ReadRows, name: str, columns: _Columns, label: str, records: Sequence[tuple[str, Mapping[str, object]]]
) -> None:
    relevant: list[tuple[str, str]] = []
    negatives: dict[str, dict[str, None]] = {}
    pairs = list(_labelled_pairs(name, columns, label, records))
    judge = _Judge.of(name, columns, label, {value for _, _, value in pairs})
    for query, document, value in pairs:
        is_relevant = judge.relevance(value)
        if is_relevant is None:
            found.leave_out(f"pairs whose {label} says neither")
        elif is_relevant:
            relevant.append((query, document))
        else:
            negatives.setdefault(query, {})[document] = None
    asked = {query for query, _ in relevant}
    found.leave_out(
        "not relevant documents of queries without a relevant one",
        sum(len(documents) for query, documents in negatives.items() if query not in asked),
    )
    found.rows += [TrainingRow(query, document, tuple(negatives.get(query, ()))) for query, document in relevant]


def _labelled_pairs(
    name: str, columns: _Columns, label: str, records: Sequence[tuple[str, Mapping[str, object]]]
) -> Iterator[tuple[str, str, object]]:
    """(query, document, label) of every pair, those of lists among them."""
    for place, record in records:
        where = f"{name}, {place}"
        query = _text(record.get(columns.query), columns.query, where)
        documents = _texts(record.get(columns.document), columns.document, where)
        value = record.get(label)
        labels = list(value) if isinstance(value, list | tuple) else [value] * len(documents)
        if len(labels) != len(documents):
            raise SembridgeError(f"{where}: {len(labels)} {label} for {len(documents)} documents; give one for each.")
        for document, one in zip(documents, labels, strict=True):
            if not isinstance(one, str | int | float):
                raise SembridgeError(f"{where}: {label} is {shown(one)}; expected 1 (relevant) or 0.")
            yield query, document, one


@dataclass(frozen=True)
class _Judge:
    """How the labels of a source are to be understood."""

    name: str
    label: str
    is_nli: bool

    @classmethod
    def of(cls, name: str, columns: _Columns, label: str, values: set[object]) -> "_Judge":
        words = {str(value).strip().lower() for value in values}
        numbers = {_number(value) for value in values}
        of_sentences = columns.query in _SENTENCES
        if words & {*_NLI} and words <= {*_NLI, "-", "-1"}:
            return cls(name, label, is_nli=True)
        is_nli = of_sentences and 2.0 in numbers and numbers <= {-1.0, 0.0, 1.0, 2.0}
        if columns.query == "premise" and not is_nli:
            raise SembridgeError(
                f"{name}: {label} of {columns.query} and {columns.document} is {', '.join(sorted(words)[:4])}: 0 means "
                "entailment in All-NLI and not relevant elsewhere; write entailment, neutral and contradiction, or "
                "call the columns query and document."
            )
        for value in values:
            number = _number(value)
            if not is_nli and (number is None or number != int(number)):
                raise SembridgeError(
                    f"{name}: {label} is {shown(value)}, which is no yes or no, and no loss here learns from degrees; "
                    "give 1 for relevant and 0 for not, or keep the relevant pairs and remove the column."
                )
        return cls(name, label, is_nli)

    def relevance(self, value: object) -> bool | None:
        """Whether a pair is relevant; None where its label says neither yes nor no."""
        number = _number(value)
        if self.is_nli:
            number = _NLI.get(str(value).strip().lower(), number)
            return {0: True, 2: False}.get(-1 if number is None else int(number))
        return number is not None and number > 0


def _number(value: object) -> float | None:
    text = str(value).strip().lower()
    try:
        number = _WORDS[text] if text in _WORDS else float(text)
    except ValueError:
        return None
    return number if abs(number) < float("inf") else None


def _texts(value: object, column: str, where: str) -> list[str]:
    """One text, or those of a list."""
    if isinstance(value, list | tuple):
        return [_text(item, column, where) for item in value]
    return [_text(value, column, where)]


def _text(value: object, column: str, where: str) -> str:
    if isinstance(value, str) and value.strip() and not _HALF_PAIR.search(value):
        return value
    kind = "a list" if isinstance(value, list | tuple | dict) else shown(value)
    raise SembridgeError(f"{where}: {column} is {kind} instead of a text; remove the row.")
