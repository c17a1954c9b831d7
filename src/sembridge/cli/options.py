"""Arguments of verbs: those that several share, and those that are the fields of a recipe.

A verb says what it takes in few parameters: an argument each, a group of arguments (a dataclass), or `Settings[Kind]`,
whose options are made from the fields of a recipe. `with_options` shows typer the options one by one.
"""

import dataclasses
import functools
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, TypeVar, get_args, get_origin, get_type_hints

import typer

from sembridge.cli.help import Verb
from sembridge.cli.program import app, quiet_loading
from sembridge.encoders.names import check_name
from sembridge.encoders.settings import EncodeWith
from sembridge.files.atomic import check_output_folder
from sembridge.files.recipe import RUNNING, Recipe, read_yaml

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder
    from transformers import PreTrainedTokenizerBase

    from sembridge.language_transfer.bridge import Bridge
    from sembridge.language_transfer.pivot import Pivot

R = TypeVar("R", bound=Recipe)

Source = Annotated[str, typer.Argument(help="English sparse encoder: a hub id, a folder or mini/NAME.")]
Target = Annotated[str, typer.Argument(help="Tokenizer of the target language: a hub id, a folder or mini/NAME.")]
Encoder = Annotated[str, typer.Argument(help="Sparse encoder: a hub id, a folder or mini/NAME.")]
HowToEncode = Annotated[
    EncodeWith,
    typer.Option(
        "--encode-with",
        metavar="|".join(get_args(EncodeWith)),
        help="How texts are encoded: fast is as good as stock, on a CPU sooner; auto: fast where it can be.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.", rich_help_panel=RUNNING)]
Cache = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="Where computed vectors are kept.", rich_help_panel=RUNNING)
]
Device = Annotated[
    str,
    typer.Option(
        help="Where models and similarities are computed: cpu, cuda, cuda:1.", metavar="NAME", rich_help_panel=RUNNING
    ),
]
RemoteCode = Annotated[
    bool,
    typer.Option("--trust-remote-code", help="Run Python code that comes with a model.", rich_help_panel=RUNNING),
]
AllowPickle = Annotated[
    bool,
    typer.Option(
        "--allow-pickle",
        help="Read pytorch_model.bin of a model that has no safetensors file.",
        rich_help_panel=RUNNING,
    ),
]


@dataclass(frozen=True)
class Loading:
    """How models are loaded: where to, and which of what they bring along."""

    device: Device = "cpu"
    trust_remote_code: RemoteCode = False
    allow_pickle: AllowPickle = False

    def check(self, *models: str, tokenizers: Sequence[str] = ()) -> None:
        """Refuses names that stand for nothing, before torch is imported: a misspelt folder costs no ten seconds."""
        for name in models:
            check_name(name, trust_remote_code=self.trust_remote_code, allow_pickle=self.allow_pickle)
        for name in tokenizers:
            check_name(name, trust_remote_code=self.trust_remote_code, weights=False)

    def encoder(self, name: str) -> "SparseEncoder":
        from sembridge.encoders.loading import load_encoder

        quiet_loading()
        return load_encoder(name, **dataclasses.asdict(self))

    def pivot(self, folder: str | Path, source: str) -> "Pivot":
        """The language of a transferred encoder through the encoder `source`."""
        from sembridge.language_transfer.pivot import Pivot

        return Pivot.load(folder, self.encoder(source))

    def is_dense(self, name: str) -> bool:
        """Whether a model is a dense encoder, by what it says of itself."""
        from sembridge.encoders.model_folder import says_dense
        from sembridge.encoders.names import resolve

        return says_dense(resolve(name, trust_remote_code=self.trust_remote_code, allow_pickle=self.allow_pickle))

    def bridge(self, name: str) -> "Bridge":
        from sembridge.encoders.loading import load_bridge

        quiet_loading()
        loaded: Bridge = load_bridge(name, **dataclasses.asdict(self))
        return loaded

    def tokenizer(self, name: str) -> "PreTrainedTokenizerBase":
        from sembridge.encoders.loading import load_tokenizer

        quiet_loading()
        return load_tokenizer(name, trust_remote_code=self.trust_remote_code)


@dataclass(frozen=True)
class Output:
    """A folder to write."""

    out: Annotated[Path, typer.Argument(help="Folder to write; it must be new or empty.")]
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a folder that is not empty.")] = False

    def check(self) -> None:
        check_output_folder(self.out, overwrite=self.overwrite)


@dataclass(frozen=True)
class Settings(Generic[R]):
    """What was said of a recipe: by options, and in the file of --recipe, which they go over.

    Attributes:
        flags: the options that were given.
    """

    kind: type[R]
    flags: Mapping[str, Any]
    file: Path | None = None

    @functools.cached_property
    def recipe(self) -> R:
        if self.file is None:
            return self.kind.build(dict(self.flags), origin="options")
        return self.kind.read(self.file, **self.flags)

    @property
    def said(self) -> dict[str, Any]:
        """All that was said, not checked: of a recipe that holds only together with another one."""
        return {**({} if self.file is None else read_yaml(self.file)), **self.flags}


@dataclass(frozen=True)
class Only:
    """Beside a recipe's settings or a group in Annotated: the fields that matter to a verb, where not all do."""

    fields: tuple[str, ...]


def verb(examples: str, *, of: typer.Typer = app) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Makes a function a verb of its name (`import_` for import), with the examples that end its help."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        name = function.__name__.rstrip("_").replace("_", "-")
        return of.command(name, cls=Verb, epilog=examples)(with_options(function))

    return register


def with_options(verb: Callable[..., None]) -> Callable[..., None]:
    """`verb` as typer shall see it: the members of groups and the fields of recipes are parameters of their own."""
    parts = {
        name: _part(name, parameter) for name, parameter in inspect.signature(verb, eval_str=True).parameters.items()
    }
    parameters = [parameter for part in parts.values() for parameter in part.parameters]
    if len({parameter.name for parameter in parameters}) < len(parameters):
        raise TypeError(f"two options of {verb.__name__} have the same name")

    @functools.wraps(verb)
    def run(**given: Any) -> None:
        verb(**{name: part.make({p.name: given[p.name] for p in part.parameters}) for name, part in parts.items()})

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


@dataclass(frozen=True)
class _Part:
    """One parameter of a verb: what the command line takes for it, and how the verb gets it."""

    parameters: list[inspect.Parameter]
    make: Callable[[dict[str, Any]], object]


def _part(name: str, parameter: inspect.Parameter) -> _Part:
    plain: Any
    plain, *notes = (
        get_args(parameter.annotation) if get_origin(parameter.annotation) is Annotated else [parameter.annotation]
    )
    only = next((note.fields for note in notes if isinstance(note, Only)), None)
    if get_origin(plain) is Settings:
        (kind,) = get_args(plain)
        shown = only or tuple(kind.model_fields)
        return _Part(list(_recipe_options(kind, shown)), functools.partial(_settings, kind))
    if isinstance(plain, type) and dataclasses.is_dataclass(plain):
        members = inspect.signature(plain).parameters.values()
        hints = get_type_hints(plain, include_extras=True)
        options = [_parameter(m.name, hints[m.name], m.default) for m in members if m.name in (only or hints)]
        return _Part(options, lambda given: plain(**given))
    return _Part([_parameter(name, parameter.annotation, parameter.default)], lambda given: given[name])


def _parameter(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def _recipe_options(kind: type[Recipe], shown: tuple[str, ...]) -> Iterator[inspect.Parameter]:
    for name in shown:
        field = kind.model_fields[name]
        said = field.json_schema_extra
        unit, group = (str(said[key]) for key in ("unit", "group")) if isinstance(said, dict) else ("", "")
        plain, choices = _plain_type(field.annotation)
        value = "|".join(choices) if choices and _is_short(choices) else _METAVARS[plain]
        option = typer.Option(
            help=_help(kind, name, choices),
            metavar=unit.upper() or value,
            rich_help_panel=group or None,
            autocompletion=_completion(choices) if choices else None,
        )
        yield _parameter(name, Annotated[plain | None, option], None)
    file = typer.Option("--recipe", metavar="FILE", help="YAML file with settings; options go over it.")
    yield _parameter("recipe_file", Annotated[Path | None, file], None)


def _completion(choices: list[str]) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        return [choice for choice in choices if choice.startswith(incomplete)]

    return complete


_METAVARS: dict[Any, str] = {bool: "", int: "NUMBER", float: "NUMBER", str: "NAME", Path: "FILE"}


def _plain_type(annotation: Any) -> tuple[Any, list[str]]:
    """The type of an option and its choices; the recipe checks them, so that it refuses in its own words."""
    plain = next((part for part in get_args(annotation) if part is not type(None)), annotation)
    if get_origin(annotation) is Literal:
        return str, list(get_args(annotation))
    return (str, list(get_args(plain))) if get_origin(plain) is Literal else (plain, [])


def _help(kind: type[Recipe], name: str, choices: list[str]) -> str:
    """What the field says of itself, which values it takes, and the one it has when nobody says it."""
    text = str(kind.model_fields[name].description)
    for other in kind.model_fields:
        if "_" in other:
            text = re.sub(rf"\b{other}\b", _flag(other), text)
    if re.match(r"[a-z]+ ", text):  # a name, as in `ofa: ...`, keeps its spelling
        text = text[:1].upper() + text[1:]
    default = kind.default_text(name)
    one_of = "" if _is_short(choices) else f"one of {', '.join(choices)}"
    remark = "; ".join(filter(None, (one_of, kind.bounds_text(name), f"default {default}" if default else "")))
    return text + (f" ({remark})." if remark else ".")


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _is_short(choices: list[str]) -> bool:
    """Whether the choices can stand beside the option's name, in 80 columns."""
    return len("|".join(choices)) < 30


def _settings(kind: type[R], given: dict[str, Any]) -> Settings[R]:
    file = given.pop("recipe_file")
    return Settings(kind, {name: value for name, value in given.items() if value is not None}, file)
