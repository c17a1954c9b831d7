"""YAML <-> checked models: what every kind of recipe has in common."""

from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from sembridge.errors import SembridgeError


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
        values = {**_read_yaml(Path(path)), **cls._implied(overrides), **overrides}
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

    def settings(self) -> dict[str, Any]:
        """Every setting that has a value, as YAML and JSON can say it; what `read` takes back."""
        return self.model_dump(mode="json", exclude_none=True)

    def write(self, path: Path) -> None:
        path.write_text(yaml.safe_dump(self.settings(), sort_keys=False, allow_unicode=True), encoding="utf-8")


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _read_yaml(path: Path) -> dict[str, Any]:
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
