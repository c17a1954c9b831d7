"""`--help`: options under headings, names that are never cut, examples that can be copied; 80 columns are enough.

Written with click's own formatter: typer's boxes cut long option names at 80 columns, and wrap the examples.
"""

import os
from collections import defaultdict
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from sembridge.files.recipe import RUNNING

ARGUMENTS, OPTIONS = "Arguments", "Options"


def _format_options(command: Any, ctx: Any, formatter: Any) -> None:
    rows: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for parameter in command.get_params(ctx):
        if not getattr(parameter, "hidden", False):
            rows[_heading(parameter)].append((_names(parameter), _help(parameter)))
    if RUNNING in rows and len(rows) == 1 + (OPTIONS in rows):  # the program's own: one heading is enough
        rows[OPTIONS] += rows.pop(RUNNING)
    for heading in sorted(rows, key=lambda name: (name != ARGUMENTS, name != OPTIONS, name == RUNNING)):
        with formatter.section(_styled(heading, bold=True)):
            formatter.write_dl(rows[heading])


def _heading(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return ARGUMENTS
    return getattr(parameter, "rich_help_panel", None) or (RUNNING if "--help" in parameter.opts else OPTIONS)


def _names(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return _styled(_argument(parameter), fg="cyan")
    names = ", ".join(sorted(parameter.opts, key=len)) + "".join(f" / {name}" for name in parameter.secondary_opts)
    value = "" if parameter.is_flag else f" {parameter.metavar or 'TEXT'}"
    return _styled(names, fg="cyan") + value


def _argument(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name.upper())


def _help(parameter: Any) -> str:
    default = parameter.default
    if isinstance(parameter.show_default, str):
        default = parameter.show_default
    if parameter.required and parameter.param_type_name == "option":
        remark = "required"
    elif default is None or default is False or not parameter.show_default or parameter.required or callable(default):
        remark = ""
    else:
        remark = f"default {default}"
    text = parameter.help or ""
    return f"{text.rstrip('.')} ({remark})." if remark else text


def _styled(text: str, **style: Any) -> str:
    """Where the output is no terminal, click takes the colours off."""
    return text if "NO_COLOR" in os.environ else typer.style(text, **style)


def _format_epilog(command: Any, formatter: Any) -> None:
    """The examples, each on one line however long, so that it can be copied."""
    for line in filter(None, (line.strip() for line in (command.epilog or "").splitlines())):
        if line.startswith("`"):
            formatter.write(f"  {line.strip('`')}\n")
        else:
            formatter.write_paragraph()
            formatter.write(f"{_styled(line, bold=True)}\n")


class Verb(TyperCommand):
    """A verb of the command line."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        arguments = [p for p in self.get_params(ctx) if p.param_type_name == "argument"]
        return ["[OPTIONS]", *(_argument(p) if p.required else f"[{_argument(p)}]" for p in arguments)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        _format_options(self, ctx, formatter)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        _format_epilog(self, formatter)


class Verbs(TyperGroup):
    """Verbs in the order of the work: typer by itself lists one with formats of its own, such as export, last."""

    order: tuple[str, ...] = ()

    def list_commands(self, ctx: Any) -> list[str]:
        names: list[str] = super().list_commands(ctx)
        return sorted(names, key=lambda name: self.order.index(name) if name in self.order else len(self.order))

    def format_options(self, ctx: Any, formatter: Any) -> None:
        _format_options(self, ctx, formatter)
        self.format_commands(ctx, formatter)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The first sentence of every verb, whole."""
        verbs = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(_styled(name, fg="cyan"), _first_paragraph(verb.help)) for name, verb in verbs if verb is not None]
        with formatter.section(_styled("Verbs", bold=True)):
            formatter.write_dl(rows)


def _first_paragraph(text: str | None) -> str:
    return " ".join((text or "").strip().split("\n\n")[0].split())
