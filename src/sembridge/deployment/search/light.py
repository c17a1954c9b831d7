"""The light way of an index: what asks it without torch lies in its folder, and may be deleted (`encoders/light`)."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sembridge.encoders.names import folder_here
from sembridge.encoders.readers import OwnReader, Reader
from sembridge.files.atomic import write_file
from sembridge.language_transfer.origins import RowNames

if TYPE_CHECKING:
    from sembridge.deployment.search.explanation import TermExplainer
    from sembridge.encoders.light import LightQueries

PLACE, NAMES_FILE = "light", "names.json"


def keep_light_way(reader: Reader, name: str, folder: Path) -> None:
    """Puts the light way of a reader into its index folder, where there is one.

    There is none of an encoder on the hub, which may change under its name, and of a pivot, whose queries are found
    through two encoders.
    """
    from sembridge.encoders.light_plan import keep_light_queries
    from sembridge.encoders.vocabulary import read_vocabulary

    encoder_folder = folder_here(name)
    if not isinstance(reader, OwnReader) or encoder_folder is None:
        return
    if keep_light_queries(reader.encoder, encoder_folder, folder / PLACE):
        vocabulary = read_vocabulary(reader.encoder.tokenizer, n_rows=reader.n_dims)
        names = asdict(RowNames(vocabulary.tokens, vocabulary.texts))
        write_file(folder / PLACE / NAMES_FILE, [json.dumps(names, ensure_ascii=False) + "\n"])


@dataclass(frozen=True)
class LightWay:
    """How an index is asked without torch."""

    queries: "LightQueries"
    place: Path
    encoder_folder: Path

    @classmethod
    def open(cls, folder: Path, name: str, *, n_queries: int) -> "LightWay | None":
        """That of an index folder, for so many queries; None: load the whole encoder `name`."""
        place, encoder_folder = folder / PLACE, folder_here(name)
        if encoder_folder is None or not (place / NAMES_FILE).is_file():
            return None
        from sembridge.encoders.light import MOST_QUERIES, LightQueries

        queries = LightQueries.open(place, encoder_folder) if n_queries <= MOST_QUERIES else None
        return None if queries is None else cls(queries, place, encoder_folder)

    def explainer(self) -> "TermExplainer":
        from sembridge.deployment.search.explanation import TermExplainer

        names = json.loads((self.place / NAMES_FILE).read_text(encoding="utf-8"))
        return TermExplainer.of_names(RowNames(*map(tuple, (names["tokens"], names["texts"]))), self.encoder_folder)
