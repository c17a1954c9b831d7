"""What an index folder remembers: its encoder, its engine, and work that was cut short."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from urllib.parse import urlsplit

from sembridge.deployment.recipe import IndexRecipe
from sembridge.encoders.names import lasting_name
from sembridge.encoders.readers import Reader
from sembridge.errors import SembridgeError
from sembridge.files.atomic import write_file
from sembridge.files.records import parse_record


def without_password(url: str | None) -> str | None:
    if url is None:
        return None
    parts = urlsplit(url)
    if parts.password is None:
        return url
    return parts._replace(netloc=f"{parts.username}@{parts.netloc.rpartition('@')[2]}").geturl()


INDEX_MANIFEST = "index.json"
FORMAT = 1


@dataclass(frozen=True)
class EncoderFacts:
    """Which encoder made the vectors."""

    name: str
    fingerprint: str
    n_dims: int

    @classmethod
    def of(cls, reader: Reader, name: str) -> "EncoderFacts":
        if reader.fingerprint is None:
            raise SembridgeError(
                f"Encoder {name} runs on {reader.encoder.backend}: an index knows its encoder by its torch weights."
            )
        return cls(lasting_name(name), reader.fingerprint, reader.n_dims)


@dataclass(frozen=True)
class Unfinished:
    """How far a run has come: the first `done` documents of `source`, which have this digest, are in."""

    source: str
    done: int
    digest: str


@dataclass(frozen=True)
class IndexManifest:
    """What `index.json` says.

    Attributes:
        created: the engine's place was made.
        ready: a build has come to its end once; searches are answered.
        unfinished: of a run that has not come to its end.
    """

    encoder: EncoderFacts
    recipe: IndexRecipe
    created: bool = False
    ready: bool = False
    n_documents: int = 0
    unfinished: Unfinished | None = None

    def write(self, folder: Path) -> None:
        """Replaces the manifest in one step; the address is written without a password."""
        facts = {field.name: getattr(self, field.name) for field in fields(self)}
        facts["encoder"] = asdict(self.encoder)
        facts["recipe"] = {**self.recipe.model_dump(), "url": without_password(self.recipe.url)}
        facts["unfinished"] = None if self.unfinished is None else asdict(self.unfinished)
        text = json.dumps({"format": FORMAT, **facts}, indent=1, ensure_ascii=False)
        write_file(folder / INDEX_MANIFEST, [text + "\n"])


def read_index_manifest(folder: Path) -> IndexManifest:
    """The manifest of an index folder.

    Raises:
        SembridgeError: the folder is no index, or its manifest cannot be read.
    """
    path = folder / INDEX_MANIFEST
    if not path.is_file():
        raise SembridgeError(f"{folder} holds no {INDEX_MANIFEST}; expected a folder written by `sembridge index`.")
    try:
        text = path.read_text(encoding="utf-8")
        if json.loads(text)["format"] != FORMAT:
            raise ValueError("made by another version of sembridge")
    except (ValueError, KeyError, TypeError) as error:
        raise SembridgeError(f"{path} cannot be read ({error}); build the index again.") from None
    return parse_record(IndexManifest, text, place=str(path), advice="build the index again")
