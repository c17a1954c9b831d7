"""What the names of a grid's recipe lead to on this machine, as digests: a cell knows its data and models again."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sembridge.encoders.names import mini_folder
from sembridge.experiments.cells import Cell
from sembridge.experiments.places import Places
from sembridge.experiments.recipe import DataSet, GridRecipe
from sembridge.files.digests import file_digest, folder_digest

_QRELS = "qrels"


@dataclass
class Contents:
    """Digests of everything that cells of a recipe read, each made once.

    A name of the hub stands for the commit in the cache. What is not on this machine, and what mteb and `datasets` keep
    in caches of their own, has no digest.
    """

    recipe: GridRecipe
    places: Places
    _known: dict[str, str | None] = field(default_factory=dict)

    def of(self, cell: Cell) -> dict[str, str]:
        """Name -> digest of what the cell reads, as far as it is here.

        Raises:
            SembridgeError: a file is there and cannot be read.
        """
        found = {name: self._digest(name, place, split) for name, place, split in self._read_by(cell)}
        return {name: digest for name, digest in found.items() if digest is not None}

    def _read_by(self, cell: Cell) -> Iterator[tuple[str, str | Path, str | None]]:
        """(name for people, name or place, split of a data set) of everything that the cell reads."""
        recipe, roots, language = self.recipe, self.places.roots(), self.recipe.languages[cell.language]
        for name, place in zip(self._models(cell, {}), self._models(cell, roots), strict=True):
            yield name, place, None
        settings = cell.transfer_recipe(recipe, roots)
        paths = {} if settings is None else {name: getattr(settings, name) for name in type(settings).model_fields}
        yield from ((name, path, None) for name, path in paths.items() if isinstance(path, Path))
        data_sets: list[tuple[DataSet, str]] = [(data, "test") for data in language.test_sets]
        if cell.is_trained:
            data_sets += [(data, "train") for data in language.training_sets]
            data_sets += [(language.dev_set, "dev")] if language.dev_set else []
        for data, usual in data_sets:
            split = data.split or usual
            yield f"{data.name} ({split})", self.places.data_set(data.name), split

    def _models(self, cell: Cell, roots: dict[str, str]) -> list[str]:
        """As the recipe names them, its roots filled in where they are given: a moved folder keeps its name."""
        names = [cell.source_encoder, *cell.bridges(self.recipe, roots), cell.teacher(self.recipe, roots)]
        if cell.source_encoder is not None or cell.method == "bm25-tokens":
            names.append(self.recipe.target_tokenizer(cell.language, roots=roots))
        return [name for name in names if name is not None]

    def _digest(self, name: str, place: str | Path, split: str | None) -> str | None:
        key = f"{name}\0{place}"
        if key not in self._known:
            self._known[key] = _data_digest(place, split) if split is not None else _model_digest(place)
        return self._known[key]


def _model_digest(name: str | Path) -> str | None:
    path = _folder(name)
    if path.is_file():
        return file_digest(path)
    if path.is_dir():
        return folder_digest(path, counts=lambda file: file.suffix != ".md")
    from huggingface_hub import constants

    commit = Path(constants.HF_HUB_CACHE) / f"models--{str(name).replace('/', '--')}" / "refs" / "main"
    return commit.read_text(encoding="utf-8").strip() if commit.is_file() else None


def _data_digest(name: str | Path, split: str) -> str | None:
    """Of corpus, queries and the judgments of one split; of a file of pairs itself."""
    path = _folder(name)
    if path.is_file():
        return file_digest(path)
    if not path.is_dir():
        return None
    return folder_digest(path, counts=lambda file: _is_read(file.relative_to(path), split))


def _is_read(file: Path, split: str) -> bool:
    if file.parts[0] == _QRELS:
        return file.stem == split
    return len(file.parts) == 1 and file.name.partition(".")[0] in ("corpus", "queries")


def _folder(name: str | Path) -> Path:
    return mini_folder(name) if isinstance(name, str) and name.startswith("mini/") else Path(name).expanduser()
