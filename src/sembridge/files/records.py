"""JSON that was written from a class, read back as that class or refused in one line."""

import json
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from sembridge.errors import SembridgeError

_Record = TypeVar("_Record")


def read_record(kind: type[_Record], path: Path, *, advice: str) -> _Record:
    """The `kind` (a dataclass or a pydantic model) that the file `path` holds; keys it does not know are left out.

    Args:
        advice: what to do where the file is missing or damaged, the end of the message.

    Raises:
        SembridgeError: the file is missing, unreadable, no JSON, or a value does not fit its field.
    """
    return parse_record(kind, read_text(path, advice=advice), place=str(path), advice=advice)


def read_text(path: Path, *, advice: str) -> str:
    """The UTF-8 text of a file.

    Raises:
        SembridgeError: the file is missing or unreadable.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SembridgeError(f"{path.parent} has no {path.name}; {advice}.") from None
    except UnicodeDecodeError:
        raise SembridgeError(f"{path} is not UTF-8 text; {advice}.") from None
    except OSError as error:
        raise SembridgeError(f"{path} cannot be read ({error.strerror or error}); check its permissions.") from None


def parse_record(kind: type[_Record], text: str, *, place: str, advice: str) -> _Record:
    """The `kind` that JSON `text` holds; `place` names it in messages.

    Raises:
        SembridgeError: it is no JSON, or a value does not fit its field.
    """
    try:
        return TypeAdapter(kind).validate_python(json.loads(text))
    except json.JSONDecodeError as error:
        raise SembridgeError(f"{place} is not JSON ({error.msg}, character {error.pos}); {advice}.") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise SembridgeError(f"{place}: {where}: {first['msg']}; {advice}.") from None
