"""YAML <-> checked models: what every kind of recipe has in common."""

from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sembridge.errors import SembridgeError
from sembridge.files.atomic import write_file

RUNNING = "Running"
"""The heading of what changes how a run goes and not what comes out; the last of a verb's help."""

_NO_BOUND = 2**30  # larger bounds are those of a machine word, and tell nobody anything


def setting(default: Any = ..., *, help: str, unit: str = "", group: str = "", **bounds: Any) -> Any:
    """A field of a recipe. All that is said of a setting is said here; command-line options are made from it.

    Args:
        default: left out for what presets settle.
        help: what the setting is, for whoever turns it.
        unit: of its value, or what kind of value it is.
        group: the heading that `--help` lists it under; none: among the first.
        bounds: as of pydantic's Field: ge, gt, le, lt, pattern.
    """
    return Field(default, description=help, json_schema_extra={"unit": unit, "group": group}, **bounds)


class Recipe(BaseModel):
    """Settings that are checked when made, cannot change, and write themselves to a YAML file."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    def read(cls, path: str | Path, **overrides: Any) -> Self:
        """The recipe of a YAML file, with `overrides` (those that are not None) over it.

        Raises:
            SembridgeError: the file is missing, is not YAML, or holds a key or value a recipe does not know.
        """
        overrides = _given(overrides)
        values = {**read_yaml(Path(path)), **cls._implied(overrides), **overrides}
        return cls.build(values, origin=str(path))

    @classmethod
    def build(cls, values: dict[str, Any], *, origin: str = "settings") -> Self:
        """A checked recipe; the first problem is reported in one line."""
        try:
            return cls(**_given(values))
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"])) or "recipe"
            if first["type"] == "extra_forbidden":
                expected = f"; expected one of {', '.join(cls.model_fields)}" if len(first["loc"]) == 1 else ""
                raise SembridgeError(f"{origin}: {key} is no setting{expected}.") from None
            if not first["loc"]:  # a rule over several settings, which says itself what was given
                raise SembridgeError(f"{origin}: {first['msg'].removeprefix('Value error, ')}") from None
            raise SembridgeError(f"{origin}: {key}: {first['msg']} (given: {first['input']!r})") from None

    @classmethod
    def _implied(cls, overrides: dict[str, Any]) -> dict[str, Any]:
        """Settings that some of the overrides bring with them."""
        del overrides
        return {}

    @classmethod
    def default_text(cls, name: str) -> str:
        """What a setting is when nobody says it, in words; nothing where help says what its absence means."""
        return value_text(cls.model_fields[name].default)

    @classmethod
    def bounds_text(cls, name: str) -> str:
        """Which values a setting may have, in words."""
        bounds = {
            key: getattr(rule, key)
            for rule in cls.model_fields[name].metadata
            for key in ("ge", "gt", "le", "lt")
            if hasattr(rule, key)
        }
        words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
        if bounds.keys() == {"ge", "le"}:
            return f"{bounds['ge']:g} to {bounds['le']:g}"
        return ", ".join(f"{words[key]} {value:g}" for key, value in bounds.items() if value < _NO_BOUND)

    def settings(self) -> dict[str, Any]:
        """Every setting that has a value, as YAML and JSON can say it; what `read` takes back."""
        return self.model_dump(mode="json", exclude_none=True)

    def write(self, path: Path) -> None:
        import yaml

        write_file(path, [yaml.safe_dump(self.settings(), sort_keys=False, allow_unicode=True)])


def value_text(value: object) -> str:
    """A setting's value as help shows it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:.3g}"
    return "" if value is None else str(value)


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def read_yaml(path: Path) -> dict[str, Any]:
    """The keys and values of a recipe file, not checked yet.

    Raises:
        SembridgeError: the file is missing, or is not YAML.
    """
    import yaml

    try:
        # BaseLoader leaves every scalar a string and pydantic converts: `no` is not False, 1e-5 is not text.
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    except OSError as error:
        raise SembridgeError(f"Recipe {path} cannot be read: {error.strerror}. Give the path of a YAML file.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        problem = " ".join(str(error).split())
        raise SembridgeError(f"Recipe {path} is not valid YAML: {problem}") from None
    if not isinstance(content, dict):
        raise SembridgeError(f"Recipe {path} holds no `key: value` lines; expected for example `alpha: 4`.")
    return content
