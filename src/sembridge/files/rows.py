"""Files of records, a name -> value mapping each: JSON lines, JSON arrays, CSV, TSV and Parquet, by one set of laws.

Nothing is guessed. What CSV and TSV hold is text: 005, 2024-01-01 and true stay what stands there. CSV is quoted as in
RFC 4180; a TSV has no quoting, so a quotation mark is a character of its text and no text holds a tab or a line end.
Both begin with a line of names. JSON and Parquet state the type of every value, and it is kept.
"""

import csv
import json
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from sembridge.errors import SembridgeError, reason_of
from sembridge.files.lines import decoded_lines, numbered_lines, unreadable, without_end

Record = dict[str, object]

RECORD_FILES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")  # all but .parquet also with .gz
_BLOCK_ROWS = 1024  # of a Parquet file in memory at a time
_SHOWN = 80  # characters of a value in a refusal


def stream_records(path: Path, *, columns: Collection[str] | None = None) -> Iterator[tuple[str, Record]]:
    """("line 3", "item 3" or "row 3", record) of a file, by the end of its name.

    Args:
        columns: those of a Parquet file that are read; None reads every one.

    Raises:
        SembridgeError: while iterating, with file and line: the file is missing, damaged, not UTF-8, or a line is no
            record.
    """
    kind = record_kind(path)
    if kind == ".parquet":
        return _parquet_rows(path, columns)
    if kind == ".csv":
        return _named(path, _csv_rows(path), "")
    if kind == ".tsv":
        return _named(path, _tsv_rows(path), " A .tsv has no quoting: a text with a tab or line end goes into a .csv.")
    return _array(path) if kind == ".json" and _is_array(path) else _json_lines(path, kind)


def record_kind(path: Path) -> str:
    """The end of a file's name that says how it is read, without .gz."""
    return path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix


def shown(value: object) -> str:
    """A value as a refusal shows it, cut to a length that fits a line."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _json_lines(path: Path, kind: str) -> Iterator[tuple[str, Record]]:
    for number, line in numbered_lines(path):
        where = f"{path}, line {number}"
        hint = "; expected an object a line, or one array of objects" if kind == ".json" else ""
        yield f"line {number}", _object(_parsed(line, where, hint), where)


def _is_array(path: Path) -> bool:
    return next((line.lstrip() for _, line in numbered_lines(path)), "").startswith("[")


def _array(path: Path) -> Iterator[tuple[str, Record]]:
    items = _parsed("".join(line for _, line in decoded_lines(path)), str(path), "")
    if not isinstance(items, list):
        raise SembridgeError(f"{path}: a {type(items).__name__}; expected an array of objects, or an object a line.")
    for number, item in enumerate(items, start=1):
        yield f"item {number}", _object(item, f"{path}, item {number}")


def _parsed(text: str, where: str, hint: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        nul = "; it holds NUL bytes, so the file is damaged: fetch it again" if "\0" in text else ""
        place = f"column {error.colno}" if error.lineno == 1 else f"line {error.lineno}, column {error.colno}"
        raise SembridgeError(f"{where}: not valid JSON ({error.msg}, {place}){nul or hint}.") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; thousands of brackets
        raise SembridgeError(f"{where}: JSON that cannot be read ({error}).") from error


def _object(value: object, where: str) -> Record:
    if not isinstance(value, dict):
        raise SembridgeError(f"{where}: a {type(value).__name__} instead of a JSON object of names and values.")
    return value


Rows = Iterator[tuple[int, list[str]]]
"""(number of its first line, fields) of every row, that of the names among them."""


def _csv_rows(path: Path) -> Rows:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # of the whole process; 131,072 characters are a page or two
    reader = csv.reader((line for _, line in decoded_lines(path)), strict=True)
    first = 1
    try:
        for fields in reader:
            if fields:  # a blank line has none
                yield first, fields
            first = reader.line_num + 1
    except csv.Error as error:
        raise SembridgeError(
            f"{path}, line {first}: not valid CSV ({reason_of(error)}); a field that begins with a quotation mark ends "
            'with one, and those inside are doubled: """Home"" is here".'
        ) from error


def _tsv_rows(path: Path) -> Rows:
    for number, line in decoded_lines(path):
        if text := without_end(line):
            yield number, text.split("\t")


def _named(path: Path, rows: Rows, advice: str) -> Iterator[tuple[str, Record]]:
    """The rows under the names of the first one."""
    names = [name.strip() for name in next(rows, (1, []))[1]]
    _check_names(path, names)
    for number, fields in rows:
        if len(fields) != len(names):
            raise SembridgeError(
                f"{path}, line {number}: {len(fields)} fields under {len(names)} names ({shown(fields[0])}).{advice}"
            )
        yield f"line {number}", dict(zip(names, fields, strict=True))


def _check_names(path: Path, names: Sequence[str]) -> None:
    for name in names:
        if "\0" in name:
            raise SembridgeError(f"{path}, line 1: NUL bytes; the file is damaged or in UTF-16, save it as UTF-8.")
        if name and names.count(name) > 1:
            raise SembridgeError(f"{path}, line 1: two columns are called {shown(name)}; give each its own name.")


def _parquet_rows(path: Path, asked: Collection[str] | None) -> Iterator[tuple[str, Record]]:
    """The rows of a Parquet file in blocks, with the columns that were asked for."""
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        file = ParquetFile(path)
        columns = [name for name in file.schema_arrow.names if asked is None or name in asked]
        number = 0
        for batch in file.iter_batches(batch_size=_BLOCK_ROWS, columns=columns):
            for record in batch.to_pylist():
                number += 1
                yield f"row {number}", record
    except ArrowException as error:
        reason = " ".join(str(error).split())[:_SHOWN]
        raise SembridgeError(f"{path}: not a Parquet file, or a broken one ({reason}); fetch it again.") from error
    except OSError as error:
        raise unreadable(path, error) from error
