"""The templates of a package, and how all pages are filled: escaped, and with nothing undefined."""

from functools import partial
from importlib.resources import files

from jinja2 import Environment, FunctionLoader, StrictUndefined


def template(package: str, name: str) -> str:
    """The text of a file in the package's folder `templates`."""
    return files(package).joinpath("templates", name).read_text(encoding="utf-8")


def page_environment(package: str) -> Environment:
    """The environment of the package's templates, to which filters and globals may be added."""
    return Environment(
        loader=FunctionLoader(partial(template, package)),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
