"""What the documents say works, where they point exists, and what they quote is what the program says."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from bundle import small_bundle_installed
from commands import run_sembridge
from markdown_it import MarkdownIt
from project import ROOT, markdown_files
from transferred import transfer_command, transferred

import sembridge
from sembridge import Explainer, evaluate, load_encoder, load_retrieval_data, load_tokenizer
from sembridge.cli.transfer import DEFAULT_BRIDGE
from sembridge.deployment.search.index import SearchIndex
from sembridge.experiments.recipe import GridRecipe
from sembridge.language_transfer.recipe import PRESETS
from sembridge.retrieval.evaluation import evaluate_bm25

pytestmark = pytest.mark.usefixtures("small_bundle")
DOCUMENTS = markdown_files()
RUN_LANGUAGES = ("python", "bash", "sh", "console")
TRANSFER = transfer_command("ko", "splade-ko")
SHELL_SYNTAX = re.compile(r"[|<>$;&*`]")
NOT_RUN = re.compile(r"<!-- not run: (.+?) -->")
# Packages of extras that a page's blocks use.
NEEDS = {
    "docs/export.md": ("onnx", "onnxscript", "onnxruntime"),
    **dict.fromkeys(("docs/train.md", "docs/across-languages.md"), ("datasets", "accelerate")),
}


@dataclass(frozen=True)
class Block:
    """A block of code of a page; `not_run` is the reason why the tests cannot run it."""

    page: str
    line: int
    language: str
    text: str
    not_run: str | None

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(path: Path) -> Iterator[Block]:
    """All blocks, also indented ones, which have no language: they show how a command is written."""
    reason = None
    for token in MarkdownIt("commonmark").parse(path.read_text(encoding="utf-8")):
        if token.type in ("fence", "code_block"):
            line = token.map[0] + 1 if token.map else 0
            yield Block(str(path.relative_to(ROOT)), line, token.info.strip(), token.content, reason)
        comment = NOT_RUN.search(token.content) if token.type == "html_block" else None
        reason = comment[1] if comment else None


BLOCKS = [block for path in DOCUMENTS for block in blocks(path)]
RUN_BLOCKS = [block for block in BLOCKS if block.language in RUN_LANGUAGES and block.not_run is None]
PAGES = list(dict.fromkeys(block.page for block in RUN_BLOCKS))
SYNOPSES = [block for block in BLOCKS if block.language == "" and "sembridge " in block.text]


def commands(text: str) -> list[str]:
    """The logical lines of a shell block."""
    joined = text.replace("\\\n", " ")
    return [line.removeprefix("$ ") for line in joined.splitlines() if line.strip() and not line.startswith("#")]


def follow(line: str) -> str:
    """What a line prints: a plain `sembridge` line runs inside this process, everything else in a shell.

    The transfer with which many pages begin has been made; the language that some name is that of the tokenizer's card.
    """
    words = shlex.split(line, comments=True)
    unquoted, _, _ = re.sub(r'"[^"]*"', "", line).partition(" #")
    if words[0] != "sembridge" or SHELL_SYNTAX.search(unquoted):
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        shell = ["bash", "-euo", "pipefail", "-c", line]
        return subprocess.run(shell, check=True, env=environment, stdout=subprocess.PIPE, text=True).stdout
    if " ".join(words[1:]).replace(" --overwrite", "").replace(" --language ko", "").split() != TRANSFER:
        return run_sembridge(words[1:])
    if "--overwrite" in words:
        shutil.rmtree("splade-ko", ignore_errors=True)
    shutil.copytree(transferred("ko"), "splade-ko")
    return ""


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as opened:
        yield opened


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_a_page_runs_in_its_order(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stack: contextlib.ExitStack
) -> None:
    for package in NEEDS.get(page, ()):
        pytest.importorskip(package)
    if page == "README.md":  # finds its answer with the whole vocabulary only
        stack.enter_context(small_bundle_installed(whole_tokenizers=True))
    monkeypatch.chdir(tmp_path)
    for folder in ("docs", "reproduction"):  # a page is followed in the repository's root
        (tmp_path / folder).symlink_to(ROOT / folder)
    names: dict[str, Any] = {"__name__": "__main__"}
    printed = ""
    for block in RUN_BLOCKS:
        if block.page != page:
            continue
        if block.language == "python":
            exec(compile(block.text, block.place, "exec"), names)
        else:
            printed += "".join(map(follow, commands(block.text)))
    CLAIMS.get(page, lambda printed: None)(printed)
    assert not unknown_to_git(path.name for path in tmp_path.iterdir()), "would be committed by `git add .`"


def unknown_to_git(written: Iterable[str]) -> set[str]:
    """Of what a page's blocks wrote into the repository's root, what git neither ignores nor has."""
    names = {*written} - {"docs", "reproduction"}
    if not names or not (ROOT / ".git").exists():
        return set()
    slashed = [f"{name}/" for name in names]  # a pattern for folders ignores these, one for files the others
    command = ["git", "check-ignore", "--no-index", *names, *slashed]
    ignored = subprocess.run(command, cwd=ROOT, capture_output=True, check=False, text=True).stdout.split()
    return names - {name.rstrip("/") for name in ignored}


def readme_claims(printed: str) -> None:
    """The example's question has an answer in the data, and the example finds it."""
    del printed
    query = "home-08-a"
    data = load_retrieval_data("mini/faq-ko")
    assert data.queries[query] in (ROOT / "README.md").read_text(encoding="utf-8")
    encoder = load_encoder("splade-ko")
    with SearchIndex.open("faq-index") as index:
        (hit,) = index.search(encoder, [data.queries[query]], top_k=1)[0]
    assert data.qrels[query][hit.id] > 0


def demo_claims(printed: str) -> None:
    for expected in ("Ten words", "in English: ", "the words that made it", "nDCG@10", "The English FAQ, asked in",
                     "Written to", "To go on"):  # fmt: skip
        assert expected in printed
    folder = Path("sembridge-demo/splade-ko")
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert sum(report["counts"].values()) == report["n_target"] == len(load_tokenizer("mini/tokenizer-ko"))
    explainer = Explainer.load(folder)
    assert "school" in {part.token for part in explainer.token(explainer.token_ids("학교")[0]).parts}


def tutorial_claims(printed: str) -> None:
    """What the text says of the figures, without their digits: a trainer of tokenizers breaks ties by chance."""
    explainer = Explainer.load("splade-id")
    made_of = {
        word: explainer.token(explainer.token_ids(word)[0]).parts[0].token for word in ("kartu", "menyalin", "air")
    }
    assert made_of == {"kartu": "card", "menyalin": "copy", "air": "air"}
    assert "fotokopi" in [d.token.token for d in explainer.text("Saya mau menyalin dokumen")]
    data = load_retrieval_data("docs/tutorial")
    transferred = evaluate(explainer.encoder, data, measures=["nDCG@10"]).measures["nDCG@10"]
    bm25 = evaluate_bm25(data, measures=["nDCG@10"]).measures["nDCG@10"]
    assert transferred > bm25 + 0.1
    normalizer = load_tokenizer("tokenizer-id").backend_tokenizer.normalizer
    composed, decomposed = unicodedata.normalize("NFC", "Schöne Grüße"), unicodedata.normalize("NFD", "Schöne Grüße")
    assert normalizer.normalize_str(composed) == normalizer.normalize_str(decomposed) == "schöne grüße"


CLAIMS = {"README.md": readme_claims, "docs/demo.md": demo_claims, "docs/bring-your-language.md": tutorial_claims}


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.not_run], ids=lambda block: block.place)
def test_a_block_that_is_not_run_is_right_as_far_as_it_can_be_checked(block: Block) -> None:
    check_written(block)
    if block.language == "python":
        compile(block.text, block.place, "exec")
    pytest.skip(f"not run: {block.not_run}")


@pytest.mark.parametrize("block", SYNOPSES, ids=lambda block: block.place)
def test_a_synopsis_names_verbs_and_options_that_exist(block: Block) -> None:
    check_written(block)


def check_written(block: Block) -> None:
    """Every `sembridge` line names a verb and options that there are."""
    for line in commands(block.text):
        for command in re.findall(r"\bsembridge(?:\.cli)? ([a-z].*)", line):
            known = known_options(re.findall(r"[a-z]+", command)[:2])
            assert not set(re.findall(r"(?<!\S)\[?(--[a-z0-9-]+)", command)) - known, f"{block.place}: {line}"


def known_options(words: list[str]) -> set[str]:
    import typer

    from sembridge.cli import app

    command: Any = typer.main.get_command(app)
    for word in words:
        if hasattr(command, "commands"):
            assert word in command.commands, word
            command = command.commands[word]
    return {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}


def test_the_readme_is_read_in_two_minutes() -> None:
    """At 250 words a minute, tables, code and the list of pages at the end aside."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition("## More")[0]
    told = re.sub(r"```.*?```|^\|.*$|<!--.*?-->|\]\([^)]*\)", "", text, flags=re.DOTALL | re.MULTILINE)
    assert len(told.split()) < 500


def test_documents_show_no_command_without_saying_whether_it_runs() -> None:
    """A shell or Python block without a language would escape the tests above."""
    program = re.compile(r"^\s*(pip|python|pytest|for|import|from)\s", re.MULTILINE)
    assert not [b.place for b in BLOCKS if b.language == "" and b.not_run is None and program.search(b.text)]


def merged(recipe: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """`recipe` with the keys of `more`, at every depth."""
    both = {key: merged(recipe[key], more[key]) for key in recipe.keys() & more.keys() if isinstance(more[key], dict)}
    return {**recipe, **more, **both}


def test_recipes_shown_are_recipes() -> None:
    """A page's first one is whole; those after it are what is added to it."""
    recipes: dict[str, dict[str, Any]] = {}
    for block in BLOCKS:
        if block.language == "yaml":
            shown = yaml.load(block.text, yaml.BaseLoader)
            recipes[block.page] = merged(recipes.get(block.page, {}), shown)
            GridRecipe.build(recipes[block.page], origin=block.place)
    assert recipes


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    """To a file: the site has no page for a folder."""
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (path.parent / link).is_file()]
    assert not missing


def test_files_that_documents_name_exist() -> None:
    named = re.compile(r"`((?:benchmarks|docs|reproduction|src|tests)/[\w./-]+\.\w+)`")
    found = {name for path in DOCUMENTS for name in named.findall(path.read_text(encoding="utf-8"))}
    assert len(found) > 20
    assert not {name for name in found if not (ROOT / name).exists()}


def test_documents_name_no_place_of_one_machine() -> None:
    absolute = re.compile(r"(?<![\w.])/(home|work|opt|root|tmp)/")
    assert not [path for path in DOCUMENTS if absolute.search(path.read_text(encoding="utf-8"))]


def preset_table() -> dict[str, tuple[str, str]]:
    text = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
    table = text.partition("| setting | `paper` | `default` | why |\n|---|---|---|---|\n")[2].partition("\n\n")[0]
    rows = [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return {setting: (paper, default) for setting, paper, default, *_ in rows}


def test_the_method_page_lists_every_difference_between_the_presets() -> None:
    paper, default = PRESETS["paper"], PRESETS["default"]
    assert paper.keys() == default.keys()

    def shown(value: object) -> str:
        if isinstance(value, bool):
            return "yes" if value else "no"
        return f"{value:g}" if isinstance(value, int | float) else str(value)

    differences = {key: (shown(paper[key]), shown(default[key])) for key in paper if paper[key] != default[key]}
    assert preset_table() == differences


def test_the_default_bridge_is_the_one_that_pages_name() -> None:
    models, verb = ((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("models.md", "transfer.md"))
    assert f"`{DEFAULT_BRIDGE}` (the default)" in models
    assert f"`{DEFAULT_BRIDGE}` unless you say otherwise" in verb


def test_the_reference_names_everything_public() -> None:
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\.\. auto\w+:: sembridge\.(\w+)$", text, re.M)) == set(sembridge.__all__)


HOLE = "\0"  # where a message holds a value


def messages() -> list[str]:
    """Every text of the source code, with holes for the values that are put in."""
    found = []
    for path in (ROOT / "src" / "sembridge").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else HOLE for part in node.values]
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(re.sub(r"%(\.\d+)?[dsr]", HOLE, node.value))  # of a log
    return found


def quotes() -> list[str]:
    tokens = MarkdownIt("commonmark").parse((ROOT / "docs" / "faq.md").read_text(encoding="utf-8"))
    inside = [i for i, token in enumerate(tokens) if token.type == "blockquote_open"]
    return [" ".join(tokens[i + 2].content.split()) for i in inside]


def is_said(quote: str, said: list[str]) -> bool:
    parts = quote.split("…")
    pattern = re.compile(f".*?{HOLE}.*?".join(map(re.escape, parts)), re.DOTALL)
    return any(all(part in message for part in parts) and pattern.search(message) for message in said)


def test_messages_quoted_are_those_of_the_program() -> None:
    said = messages()
    assert len(quotes()) > 25
    assert not [quote for quote in quotes() if not is_said(quote, said)]


def test_a_message_that_the_program_does_not_say_is_noticed() -> None:
    said = [f"Index {HOLE} is finished ({HOLE} documents); --add adds to it."]
    assert is_said("Index … is finished (… documents); --add adds", said)
    assert not is_said("Index … is done (… documents)", said)
    assert not is_said("Index … is … finished", said)
