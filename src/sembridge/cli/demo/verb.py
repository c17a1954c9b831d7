"""`sembridge demo`: the main job on the bundled models, in the terminal or on a page."""

import os
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sembridge.cli.options import verb
from sembridge.cli.printing import console, print_counts, print_table, sources_text, styled
from sembridge.cli.program import quiet_loading

if TYPE_CHECKING:
    from sembridge.cli.demo.across import AcrossAnswer
    from sembridge.cli.demo.walk import Demonstration, Found


@verb("""Examples:

`sembridge demo --language hi`

`sembridge demo --serve --language ar`""")
def demo(
    language: Annotated[str, typer.Option(help="ar, zh, hi, ko, ru, or all.")] = "ko",
    out: Annotated[
        Path | None, typer.Option(help="Folder for the transferred encoders; default: sembridge-demo.")
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="A page to search on, at 127.0.0.1, instead; writes nothing.")
    ] = False,
    port: Annotated[
        int | None, typer.Option(help="Of the page; default: 7860. 0 takes any free one.", min=0, max=65535)
    ] = None,
) -> None:
    """Transfers the bundled English encoder, searches a bundled FAQ with it and compares; offline, on the CPU."""
    from sembridge.cli.demo.walk import LANGUAGES

    if language not in (*LANGUAGES, "all"):
        raise typer.BadParameter(
            f"{language!r} is none of {', '.join(LANGUAGES)}, all: of these a tokenizer, a bridge and questions are "
            "bundled. Moving to another language takes those of your own; docs/bring-your-language.md shows how.",
            param_hint="--language",
        )
    if serve:
        _serve(language, out, port)
        return
    if port is not None:
        raise typer.BadParameter("only the page of --serve has a port", param_hint="--port")
    _show(list(LANGUAGES) if language == "all" else [language], out or Path("sembridge-demo"))


def _serve(language: str, out: Path | None, port: int | None) -> None:
    from sembridge.cli.demo.server import DEFAULT_PORT, serve

    if language == "all":
        raise typer.BadParameter("the page has all languages; name the one to begin with", param_hint="--language")
    if out is not None:
        raise typer.BadParameter("the page writes nothing", param_hint="--out")
    quiet_loading()
    # Ctrl-C is the way to end it, not an interruption.
    with serve(language, port=DEFAULT_PORT if port is None else port) as server, suppress(KeyboardInterrupt):
        console.print(f"Open {server.url} in a browser of this machine; Ctrl-C ends it.")
        server.wait()


def _show(languages: list[str], out: Path) -> None:
    from sembridge.cli.demo.walk import LANGUAGES, demonstrate

    quiet_loading()
    demonstrations = []
    for code in languages:
        demonstrations.append(demonstrate(code, out))
        _print_demonstration(demonstrations[-1], LANGUAGES[code])
    if len(demonstrations) > 1:
        _print_comparison(demonstrations)
    _print_next_steps(demonstrations[-1])


def _print_demonstration(shown: "Demonstration", name: str) -> None:
    console.rule(styled(f"English to {name}", style="bold"), align="left")
    print_counts(
        f"{shown.result.report.n_target:,} {name} tokens by where their rows come from", shown.result.report.counts
    )
    print_table(
        ("token", "English tokens it is made of"),
        [(token.text, sources_text(token.parts)) for token in shown.tokens],
        title="\nTen words of the FAQ that the bridge is surest of (report.json lists the least certain)",
    )
    _print_questions(shown)
    _print_evaluations(shown)
    _print_across(shown.across, name)
    console.print(
        f"\nWritten to {shown.folder}: a stock SparseEncoder, report.json, alignment.safetensors, README.md\n"
    )


def _print_questions(shown: "Demonstration") -> None:
    n_questions = next(iter(shown.evaluations.values())).n_queries
    console.print(
        f"\nQuestions, chosen to show both sides: of {n_questions:,} the encoder alone answers {shown.n_ours:,} right, "
        f"BM25 alone {shown.n_bm25:,}",
        style="bold",
    )
    for question in shown.questions:
        console.print(f"\n{question.text}\n  in English: {question.english}")
        console.print(f"  {_answer_text('SemBridge', question.ours)}")
        terms = ", ".join(f"{s.token.text} ({sources_text(s.token.parts, most=2)})" for s in question.shared)
        console.print(f"  the words that made it: {terms}")
        console.print(f"  {_answer_text('BM25', question.bm25)}")
        if not (question.ours.right or question.bm25.right):
            console.print(f"  {_answer_text('the right one', question.wanted)}")


def _answer_text(who: str, found: "Found") -> str:
    verdict = "right" if found.right else "wrong"
    return f"{who}, {verdict}: {found.title}" + (f" ({found.english})" if found.english else "")


def _print_evaluations(shown: "Demonstration") -> None:
    from sembridge.cli.demo.walk import MEASURE, headline

    first = next(iter(shown.evaluations.values()))
    rows = [
        (name, f"{e.measures[MEASURE]:.3f}", "" if e.document_active_dims is None else f"{e.document_active_dims:.0f}")
        for name, e in shown.evaluations.items()
    ]
    title = f"\nSearching {first.n_documents} entries with {first.n_queries} questions"
    print_table(("", MEASURE, "active dims a document"), rows, title=title)
    console.print(headline(shown.evaluations))


def _print_across(found: "AcrossAnswer", name: str) -> None:
    """A question of the language to an index of English."""
    console.print(
        f"\nThe English FAQ, asked in {name} through the same alignment: of {found.n_questions:,} questions "
        f"{found.n_right:,} find their entry first, one of them",
        style="bold",
    )
    console.print(f"\n{found.text}\n  in English: {found.english}")
    console.print(f"  English entry, {'right' if found.right else 'wrong'}: {found.answer}")
    console.print(f"  the words that made it: {', '.join(f'{asked} as {term}' for asked, term in found.words)}")


def _print_next_steps(shown: "Demonstration") -> None:
    """What to type next; first of all how the command gets on the path, where it is not."""
    console.print("To go on", style="bold")
    if shutil.which("sembridge") is None:
        console.print(f"  {activation(Path(sys.prefix))}")
    word = shown.tokens[0].text if shown.tokens else "TEXT"
    console.print(f"  sembridge explain {shown.folder} {word}")
    console.print(f"  sembridge index {shown.folder} mini/faq-{shown.language} --out demo-index")
    console.print(f'  sembridge search demo-index "{shown.questions[0].text}" --explain')


def activation(prefix: Path) -> str:
    """The line that puts an environment's commands on the path, seen from here."""
    here = Path.cwd()
    near = prefix.relative_to(here) if prefix.is_relative_to(here) else prefix
    return f"{near}\\Scripts\\activate" if os.name == "nt" else f"source {near}/bin/activate"


def _print_comparison(demonstrations: "Sequence[Demonstration]") -> None:
    systems = list(demonstrations[0].evaluations)
    measure = next(iter(demonstrations[0].evaluations[systems[0]].measures))
    rows = [
        (d.language, *(f"{d.evaluations[system].measures[measure]:.3f}" for system in systems)) for d in demonstrations
    ]
    print_table((measure, *systems), rows, title="All languages")
