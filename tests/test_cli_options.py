"""Options of the command line: made from the fields of recipes, shown in 80 columns, completed by shells."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from commands import sembridge

from sembridge.cli import app
from sembridge.cli.options import Only, Settings, with_options
from sembridge.deployment.recipe import EncodeRecipe, IndexRecipe
from sembridge.encoders.tokenizer_recipe import TokenizerRecipe
from sembridge.errors import SembridgeError
from sembridge.files.recipe import Recipe, setting
from sembridge.language_transfer.recipe import PRESETS, TransferRecipe
from sembridge.training.recipe import TrainRecipe

KINDS = {
    "tokenizer": TokenizerRecipe,
    "transfer": TransferRecipe,
    "train": TrainRecipe,
    "encode": EncodeRecipe,
    "index": IndexRecipe,
}


class Cooking(Recipe):
    """A recipe of this file's own."""

    minutes: int = setting(5, ge=1, le=60, unit="minutes", help="in the oven")
    top_heat: bool = setting(False, help="from above, beside minutes", group="Oven")
    oven: str | None = setting(None, unit="name", help="of it", group="Oven")


@dataclasses.dataclass(frozen=True)
class Table:
    """A group of arguments."""

    guests: Annotated[int, typer.Option(help="Of the meal.")] = 2
    cloth: Annotated[bool, typer.Option("--cloth", help="On the table.")] = False


def run(verb: Any, *arguments: str) -> None:
    program = typer.Typer()
    program.command()(with_options(verb))
    program.command("another")(lambda: None)  # with one alone, typer leaves the verb's name away
    program([verb.__name__, *arguments], standalone_mode=False)


def commands(group: Any = None, words: str = "") -> dict[str, Any]:
    """The words that call a command -> the command."""
    found = {}
    for name, command in (group or typer.main.get_command(app)).commands.items():
        called = f"{words} {name}".strip()
        found |= commands(command, called) if hasattr(command, "commands") else {called: command}
    return found


def help_of(verb: str) -> str:
    done = sembridge(*verb.split(), "--help")
    assert done.code == 0
    return done.out


def test_a_verb_gets_groups_and_settings_whole(tmp_path: Path) -> None:
    got: list[Any] = []

    def cook(dish: str, table: Table, settings: Settings[Cooking], *, loud: bool = False) -> None:
        got.extend((dish, table, settings, loud))

    (tmp_path / "recipe.yaml").write_text("minutes: 7\noven: gas\n")
    run(cook, "soup", "--guests", "3", "--minutes", "9", "--top-heat", "--recipe", str(tmp_path / "recipe.yaml"))
    dish, table, settings, loud = got
    assert (dish, table, loud) == ("soup", Table(guests=3, cloth=False), False)
    assert settings.flags == {"minutes": 9, "top_heat": True}
    assert settings.recipe == Cooking(minutes=9, top_heat=True, oven="gas")
    assert settings.said == {"minutes": 9, "top_heat": True, "oven": "gas"}


def test_settings_that_are_not_given_are_the_recipes_own() -> None:
    got: list[Any] = []

    def cook(settings: Settings[Cooking]) -> None:
        got.append(settings)

    run(cook)
    assert (got[0].flags, got[0].recipe) == ({}, Cooking())
    run(cook, "--minutes", "61")
    with pytest.raises(SembridgeError, match="options: minutes: Input should be less than or equal to 60"):
        _ = got[1].recipe


def test_only_the_settings_that_matter_are_options() -> None:
    def cook(settings: Annotated[Settings[Cooking], Only(("oven",))]) -> None:
        assert settings.recipe.oven == "gas"

    run(cook, "--oven", "gas")
    with pytest.raises(Exception, match="No such option: --minutes"):
        run(cook, "--minutes", "9")


def test_two_options_of_one_name_are_a_mistake_of_the_program() -> None:
    def cook(guests: int, table: Table) -> None:
        raise AssertionError

    with pytest.raises(TypeError, match="two options of cook have the same name"):
        with_options(cook)


@pytest.mark.parametrize("verb", KINDS)
def test_every_setting_is_an_option_and_its_help_says_bounds_and_default(verb: str) -> None:
    text = " ".join(help_of(verb).split())
    for name, field in KINDS[verb].model_fields.items():
        assert field.description, name
        assert f"--{name.replace('_', '-')}" in text
        assert (default := KINDS[verb].default_text(name)) == "" or f"default {default})" in text
        assert KINDS[verb].bounds_text(name) in text


def test_a_setting_is_described_in_one_place() -> None:
    """A verb's own source knows no setting by its option."""
    folder = Path(__file__).parents[1] / "src" / "sembridge" / "cli"
    for verb, kind in KINDS.items():
        words = set(re.findall(r"^\s+(\w+): Annotated", (folder / f"{verb}.py").read_text(encoding="utf-8"), re.M))
        known = {"dictionary"} if verb == "transfer" else set()  # that of inspect, which scores a bridge
        assert words & set(kind.model_fields) == known


def test_what_presets_settle_has_no_default_of_its_own() -> None:
    for name in PRESETS["default"]:
        assert TransferRecipe.model_fields[name].is_required(), name
    assert TransferRecipe.default_text("alpha") == "6, paper: 4"


def test_bounds_and_values_are_said_in_words() -> None:
    assert Cooking.bounds_text("minutes") == "1 to 60"
    assert (Cooking.default_text("top_heat"), Cooking.default_text("oven")) == ("off", "")
    assert TransferRecipe.bounds_text("firing_cap") == "above 0, at most 1"
    assert TransferRecipe.bounds_text("seed") == "at least 0"


@pytest.mark.parametrize("verb", sorted({*commands(), ""}))
def test_help_fits_80_columns_and_cuts_no_name(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = help_of(verb)
    for line in text.partition("\nExample")[0].splitlines():  # an example stands on one line, to be copied
        assert len(line) <= 80 or len(line.split()) == 2, line  # a name with its value is never broken
    assert "…" not in text
    for command in [commands()[verb]] if verb else []:
        for parameter in command.params:
            assert all(option in text for option in (*parameter.opts[:1], *parameter.secondary_opts) if "--" in option)


def test_options_are_in_groups_and_those_of_the_run_come_last() -> None:
    headings = re.findall(r"^(\w.*):$", help_of("transfer"), re.M)
    assert headings[:2] == ["Arguments", "Options"]
    assert {"How rows are built", "Calibration of new rows"} < set(headings)
    assert headings[-2:] == ["Running", "Examples"]


def test_h_is_help() -> None:
    assert sembridge("transfer", "-h").out == help_of("transfer")
    assert sembridge("export", "onnx", "-h").out == help_of("export onnx")


@pytest.mark.parametrize(
    ("words", "expected"), [("tra", "transfer"), ("transfer --al", "--alpha"), ("transfer --method w", "wechsel")]
)
def test_a_shell_completes_verbs_options_and_choices(
    words: str, expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_SEMBRIDGE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", f"sembridge {words}")
    monkeypatch.setenv("COMP_CWORD", str(len(words.split())))
    with pytest.raises(SystemExit):
        typer.main.get_command(app).main(prog_name="sembridge", args=[])
    assert expected in capsys.readouterr().out.split()


def test_an_empty_query_is_refused(tmp_path: Path) -> None:
    done = sembridge("search", tmp_path, "home", " ")
    assert (done.code, done.line) == (1, "sembridge: A query is empty; give a text to search for.")


REFUSED = [
    (["transfer", "mini/splade-eng", "mini/tokenizer-ko", "OUT"], "Did you mean mini/splade-en?"),
    (["transfer", "./splade-kp", "mini/tokenizer-ko", "OUT"], "Did you mean splade-ko?"),
    (["inspect", "mini/splade-en", "mini/tokenizer-kp"], "Did you mean mini/tokenizer-ko?"),
    (["train", "./splade-kp", "mini/faq-ko", "OUT"], "Did you mean splade-ko?"),
    (["encode", "./splade-kp", "mini/faq-ko", "--out", "OUT"], "Did you mean splade-ko?"),
    (["index", "./splade-kp", "mini/faq-ko", "--out", "OUT"], "Did you mean splade-ko?"),
    (["export", "lucene", "./splade-kp", "mini/faq-ko", "OUT"], "Did you mean splade-ko?"),
    (["explain", "splade-kp", "text"], "Did you mean splade-ko?"),
    (["evaluate", "./splade-kp", "--data", "mini/faq-ko"], "Did you mean splade-ko?"),
    (["search", "splade-ko", "text"], "holds no index.json"),
    (
        ["index", "mini/faq-ko", "mini/splade-en", "--out", "OUT"],
        "mini/faq-ko holds documents, and a model was expected",
    ),
    (
        ["encode", "mini/splade-en", "mini/splade-en", "--out", "OUT"],
        "mini/splade-en is a model, and a corpus was expec",
    ),
    (["evaluate", "mini/faq-ko", "--data", "mini/splade-en"], "evaluate mini/splade-en --data mini/faq-ko`."),
    (["evaluate", "mini/splade-en", "--data", "mini/faq-ko", "--measure", "ndcg10"], "Did you mean nDCG@10?"),
    (["transfer", "mini/splade-en", "./latin", "OUT", "--extend"], "is for languages in another script"),
    (["inspect", "mini/splade-en", "./latin", "--extend"], "is for languages in another script"),
]


def test_what_is_misspelt_is_refused_before_torch_is_imported(tmp_path: Path) -> None:
    """Told by the modules, not by the clock: torch and its like take ten seconds."""
    (tmp_path / "splade-ko").mkdir()
    (tmp_path / "latin").mkdir()
    german = {token: id_ for id_, token in enumerate(("[UNK]", "ü", "straße", "##straße", "größe", *"abcdefghij"))}
    model = {"type": "WordPiece", "vocab": german | {f"wort{n}": 20 + n for n in range(300)}}
    (tmp_path / "latin" / "tokenizer.json").write_text(json.dumps({"model": model}), encoding="utf-8")
    code = f"""
import sys
from sembridge.cli import main
for words, _ in {REFUSED}:
    try:
        main(words)
    except SystemExit as exit_:
        assert exit_.code == 1, words
print([name for name in ("torch", "transformers", "sentence_transformers") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == "[]\n"
    for line, (words, expected) in zip(done.stderr.splitlines(), REFUSED, strict=True):
        assert expected in line, words
    assert {path.name for path in tmp_path.iterdir()} == {"splade-ko", "latin"}
