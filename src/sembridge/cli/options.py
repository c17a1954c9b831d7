"""Arguments that several verbs share, and the recipe they make."""

from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from sembridge.encoders.settings import EncodeWith
from sembridge.files.recipe import Recipe

_Recipe = TypeVar("_Recipe", bound=Recipe)

Source = Annotated[str, typer.Argument(help="English sparse encoder: a hub id, a folder or mini/NAME.")]
Target = Annotated[str, typer.Argument(help="Tokenizer of the target language: a hub id, a folder or mini/NAME.")]
DEFAULT_BRIDGE = "intfloat/multilingual-e5-small"
BridgeNames = Annotated[
    list[str] | None,
    typer.Option(
        "--bridge",
        help="Multilingual dense encoder: hub id, folder or mini/NAME. Given again, several are averaged.",
        show_default=DEFAULT_BRIDGE,
    ),
]
RecipeFile = Annotated[Path | None, typer.Option("--recipe", help="YAML file with settings; flags go over it.")]
Preset = Annotated[str | None, typer.Option(help="default, or paper (as published).")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
Device = Annotated[str, typer.Option(help="Where models and similarities are computed: cpu, cuda, cuda:1.")]
HowToEncode = Annotated[
    EncodeWith, typer.Option("--encode-with", help="How texts are encoded: fast is as good as stock, on a CPU sooner.")
]
RemoteCode = Annotated[bool, typer.Option("--trust-remote-code", help="Run Python code that comes with a model.")]
AllowPickle = Annotated[
    bool, typer.Option("--allow-pickle", help="Read pytorch_model.bin of a model that has no safetensors file.")
]


def read_recipe(kind: type[_Recipe], path: Path | None, **flags: Any) -> _Recipe:
    """A recipe of the flags, over those of a file where one is given."""
    return kind.build(flags, origin="options") if path is None else kind.read(path, **flags)
