"""The demo's page as HTML text: what a reader sees of results, without the widgets around them."""

from functools import cache

from jinja2 import Environment

from sembridge.cli.demo.systems import WAYS, DemoCollection, Result, Step
from sembridge.cli.demo.walk import LANGUAGES
from sembridge.deployment.search.explanation import ExplainedTerm
from sembridge.files.templates import page_environment, template

MAX_PARTS = 4
RIGHT_TO_LEFT = frozenset({"ar"})  # of the bundled languages


def introduction() -> str:
    """What the page is, in one sentence."""
    return _render("introduction")


def column(way: str, collection: DemoCollection, question: str, result: Result) -> str:
    """A system's answers to a question, each with the terms that made its score."""
    return _render(
        "answers", way=WAYS[way], collection=collection, result=result, right=collection.examples.get(question),
        empty=None if result.answers else _why_nothing(result, question)
    )  # fmt: skip


def working(way: str, step: Step) -> str:
    """A column whose system is being made."""
    return _render("working", way=WAYS[way], step=step, hint="")


def waiting(way: str, *, asked: bool = False) -> str:
    """A column that has not been asked yet, or whose turn comes after another's."""
    hint = "Comes next." if asked else "Answers stand here after a search."
    return _render("working", way=WAYS[way], step=None, hint=hint)


def refusal(way: str, message: str) -> str:
    """A column that cannot answer, and why."""
    return _render("refusal", way=WAYS[way], message=message)


def gloss(collection: DemoCollection, question: str) -> str:
    """An example question in English; nothing for a question that a reader typed."""
    english = collection.example_glosses.get(question)
    return _render("gloss", english=english) if english else ""


def style() -> str:
    return template("sembridge.cli.demo", "page.css")


def _why_nothing(result: Result, question: str) -> str:
    if not question.strip():
        return "Type a question, or take one of the examples."
    if not result.query_terms:
        return "Nothing in this question is a term that this system knows."
    return "No answer shares a term with this question."


def _render(name: str, **values: object) -> str:
    text: str = _environment().get_template(f"{name}.html").render(**values)
    return text.strip()


@cache
def _environment() -> Environment:
    environment = page_environment("sembridge.cli.demo")
    environment.filters |= {"parts": lambda term: term.parts[:MAX_PARTS], "written": _written}
    environment.globals |= {"languages": LANGUAGES}
    return environment


def _written(term: ExplainedTerm) -> str:
    """The term as a reader sees it; its raw spelling where it has no readable text."""
    return term.text or term.token
