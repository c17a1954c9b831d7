"""The command line: verbs end to end over folders, exit codes, one clear line a refusal, nothing left behind."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from commands import sembridge
from conftest import spelled_tokenizer
from processes import start_talking
from safetensors.torch import load_file, save_file
from sentence_transformers import SparseEncoder
from tiny import TARGET_TEXTS, tiny_encoder, tiny_tokenizer
from tiny_bridge import save_tiny_bridge
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from sembridge.cli import app

VERBS = (
    "tokenizer", "inspect", "transfer", "explain", "train", "evaluate", "reproduce", "encode", "index", "search",
    "export", "report", "demo", "bridge-vectors", "doctor",
)  # fmt: skip
ADDED_FILES = {"alignment.safetensors", "report.json", "recipe.yaml", "README.md"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `source`, `target`, `bridge`, a warm `cache`, and `ko`, transferred from them."""
    root = tmp_path_factory.mktemp("models")
    source = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"))
    source.save_pretrained(str(root / "source"), create_model_card=False)
    (root / "source" / "README.md").write_text("---\nlicense: cc-by-nc-sa-4.0\nlanguage: en\n---\n")
    tiny_tokenizer("unigram", language="target").save_pretrained(root / "target")
    (root / "target" / "README.md").write_text("---\nlanguage: [ko, ru]\n---\n")
    save_tiny_bridge(root / "bridge")
    done = sembridge(*transfer(root, root / "ko"))
    assert done.code == 0, done.err
    return root


def transfer(models: Path, out: Path, *more: object, **replaced: object) -> list[object]:
    """Arguments of a transfer; `replaced` gives another source, target or bridge."""
    places = {name: models / name for name in ("source", "target", "bridge", "cache")} | replaced
    options = ["--bridge", places["bridge"], "--cache", places["cache"]]
    return ["transfer", places["source"], places["target"], out, *options, *more]


def digests(folder: Path) -> dict[str, str]:
    """Of all files but the report, which holds seconds."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "report.json"]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def strict_json(text: str) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


# --- a process of its own ------------------------------------------------------------------------------------------


def test_help_of_every_verb_needs_neither_torch_nor_sentence_transformers() -> None:
    registered = {command.name or command.callback.__name__ for command in app.registered_commands}
    assert registered | {group.typer_instance.info.name for group in app.registered_groups} == set(VERBS)
    code = f"""
import sys
from sembridge.cli import main
for verb in [[], *([verb] for verb in {VERBS})]:
    try:
        main([*verb, "--help"])
    except SystemExit as exit_:
        assert exit_.code == 0, exit_.code
heavy = ("torch", "sentence_transformers", "transformers", "numpy", "scipy", "huggingface_hub", "rich", "yaml")
print([name for name in heavy if name in sys.modules], len(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded, _, number = done.stdout.splitlines()[-1].rpartition(" ")
    assert loaded == "[]"
    assert int(number) < 450  # torch alone brings 2,000
    for expected in (*VERBS, "--dry-run", "--text", "--document", "--language", "Examples:"):
        assert expected in done.stdout


def test_exit_codes_of_the_process(tmp_path: Path) -> None:
    script = shutil.which("sembridge", path=str(Path(sys.executable).parent))
    command = [script] if script else [sys.executable, "-m", "sembridge.cli"]
    options = {"capture_output": True, "text": True, "cwd": tmp_path}
    refused = subprocess.run([*command, "transfer", "a", "b", "out", "--recipe", "none.yaml"], **options)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert (
        refused.stderr
        == "sembridge: Recipe none.yaml cannot be read: No such file or directory. Give the path of a YAML file.\n"
    )
    usage = subprocess.run([sys.executable, "-m", "sembridge.cli", "transfer", "a"], **options)
    assert (usage.returncode, usage.stdout) == (2, "")
    assert "Missing argument" in usage.stderr
    assert "Usage: " in usage.stderr
    assert os.listdir(tmp_path) == []


def test_another_process_writes_the_same_bytes(models: Path, tmp_path: Path) -> None:
    n_threads = str(torch.get_num_threads())
    environment = os.environ | {"PYTHONHASHSEED": "1", "OMP_NUM_THREADS": n_threads, "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "sembridge.cli", *map(str, transfer(models, tmp_path / "ko", "--json"))]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert strict_json(done.stdout)["n_target"] > 0
    assert digests(tmp_path / "ko") == digests(models / "ko")


def interrupted_while_saving(pipe: Connection, *arguments: object) -> None:
    """Waits with all files written and not yet in their place."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job, say of a CI, starts deaf to it
    save = SparseEncoder.save_pretrained

    def save_and_wait(self: SparseEncoder, *args: Any, **kwargs: Any) -> None:
        save(self, *args, **kwargs)
        pipe.send("saving")
        while True:
            signal.pause()

    SparseEncoder.save_pretrained = save_and_wait
    pipe.send(sembridge(*arguments))


def test_ctrl_c_while_the_model_is_written_leaves_nothing_behind(models: Path, tmp_path: Path) -> None:
    process, pipe = start_talking(interrupted_while_saving, *transfer(models, tmp_path / "new" / "out", "--json"))
    assert pipe.recv() == "saving"
    (partial,) = (tmp_path / "new").iterdir()
    assert (partial / "model.safetensors").exists()
    os.kill(process.pid or 0, signal.SIGINT)
    done = pipe.recv()
    assert (done.code, done.out) == (130, "")
    assert done.err == "sembridge: interrupted; nothing half-written was left behind.\n"
    assert os.listdir(tmp_path) == []


def test_a_terminated_transfer_leaves_nothing_behind(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = SparseEncoder.save_pretrained

    def save_and_terminate(self: SparseEncoder, *args: Any, **kwargs: Any) -> None:
        save(self, *args, **kwargs)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(SparseEncoder, "save_pretrained", save_and_terminate)
    assert sembridge(*transfer(models, tmp_path / "out", "--json")).code == 130
    assert os.listdir(tmp_path) == []


# --- transfer ------------------------------------------------------------------------------------------------------


def test_a_transfer_writes_a_stock_encoder_with_its_explanation(models: Path) -> None:
    encoder = SparseEncoder(str(models / "ko"), device="cpu")
    assert encoder.tokenizer.get_vocab() == AutoTokenizer.from_pretrained(models / "target").get_vocab()
    assert (encoder.encode(list(TARGET_TEXTS)).to_dense() > 0).any(dim=1).all()
    assert {path.name for path in (models / "ko").iterdir()} >= ADDED_FILES
    report = strict_json((models / "ko" / "report.json").read_text(encoding="utf-8"))
    assert sum(report["counts"].values()) == report["n_target"] == len(encoder.tokenizer)
    # The static bridge knows words only: letters have no vector and fall back.
    assert report["counts"]["combined"] >= 10
    assert report["counts"]["fallback"] >= 20


def test_licence_and_language_are_carried_over_into_the_card(models: Path) -> None:
    card = (models / "ko" / "README.md").read_text(encoding="utf-8")
    front = yaml.safe_load(card.split("---")[1])
    assert (front["license"], front["language"]) == ("cc-by-nc-sa-4.0", "ko")
    assert "Not for commercial use" in card
    assert f"`{models / 'bridge'}`" in card


def test_json_is_all_that_stdout_holds(models: Path, tmp_path: Path) -> None:
    done = sembridge(*transfer(models, tmp_path / "out", "--json", "--language", "ru"))
    found = strict_json(done.out)
    assert (done.code, found["folder"], found["language"]) == (0, str(tmp_path / "out"), "ru")
    assert {key: value for key, value in found.items() if key != "folder"} == strict_json(
        (tmp_path / "out" / "report.json").read_text(encoding="utf-8")
    )


def test_the_figures_are_printed_for_people(models: Path, tmp_path: Path) -> None:
    done = sembridge(*transfer(models, tmp_path / "[bold]out"))
    assert done.code == 0
    for expected in ("target tokens by where their rows come from", "combined", "Median best similarity"):
        assert expected in done.out
    assert f"Written to {tmp_path / '[bold]out'}" in done.out


def test_a_dry_run_writes_nothing_and_asks_no_bridge(models: Path, tmp_path: Path) -> None:
    arguments = transfer(
        models, tmp_path / "new" / "out", "--dry-run", bridge="nobody/nothing", cache=tmp_path / "cache"
    )
    shown, as_json = sembridge(*arguments), sembridge(*arguments, "--json")
    assert (shown.code, as_json.code) == (0, 0)
    found = strict_json(as_json.out)
    assert found["n_source"] == len(tiny_tokenizer("wordpiece"))
    assert sum(found["overlap"].values()) == found["n_target"]
    assert found["estimate"]["memory_mb"] > 0
    assert f"{found['n_source']:,} source tokens, {found['n_target']:,} target tokens" in shown.out
    assert os.listdir(tmp_path) == []


def test_a_dry_run_says_how_long_a_bridge_that_lies_here_takes(models: Path, tmp_path: Path) -> None:
    arguments = transfer(models, tmp_path / "out", "--dry-run", cache=tmp_path / "cache")
    cold = sembridge(*arguments)
    assert "Bridging through " in cold.out
    assert " s on this machine; none on a second run" in cold.out
    assert os.listdir(tmp_path) == []
    warm = sembridge(*transfer(models, tmp_path / "out", "--dry-run", "--json", cache=models / "cache"))
    (bridging,) = strict_json(warm.out)["bridging"]
    assert bridging["cached"] == bridging["texts"] > 0
    assert bridging["seconds"] == 0


def test_a_dry_run_refuses_what_a_transfer_refuses(models: Path, tmp_path: Path, broken: dict[str, Path]) -> None:
    assert "no pad token" in sembridge(*transfer(models, tmp_path / "out", "--dry-run", target=broken["no pad"])).line


def test_a_baseline_needs_no_bridge(models: Path, tmp_path: Path) -> None:
    done = sembridge(*transfer(models, tmp_path / "out", "--method", "univariate", "--json", bridge="nobody/nothing"))
    found = strict_json(done.out)
    assert (done.code, found["bridge"], found["counts"]["combined"]) == (0, None, 0)


def test_flags_go_over_the_recipe_file_and_both_over_the_preset(models: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("alpha: 2\ntemperature: 1e-5\nfuzzy: no\npreset: paper\n")
    arguments = ["--recipe", tmp_path / "mine.yaml", "--alpha", "3", "--fallback", "mean", "--json"]
    found = strict_json(sembridge(*transfer(models, tmp_path / "out", *arguments)).out)["recipe"]
    assert found == yaml.safe_load((tmp_path / "out" / "recipe.yaml").read_text())
    assert (found["alpha"], found["fallback"], found["temperature"], found["fuzzy"]) == (3.0, "mean", 1e-5, False)
    assert (found["preset"], found["candidates"]) == ("paper", "all")


def test_the_recipe_beside_an_output_reproduces_it(models: Path, tmp_path: Path) -> None:
    settings = ["--alpha", "2", "--seed", "3", "--min-similarity", "0.2"]
    assert sembridge(*transfer(models, tmp_path / "one", *settings)).code == 0
    again = transfer(models, tmp_path / "two", "--recipe", tmp_path / "one" / "recipe.yaml")
    assert sembridge(*again).code == 0
    assert digests(tmp_path / "two") == digests(tmp_path / "one")
    assert digests(tmp_path / "one")["model.safetensors"] != digests(models / "ko")["model.safetensors"]


def test_evidence_and_calibration_are_switched_by_flags_or_a_recipe(models: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("preset: paper\nevidence: yes\nresidual: 0\nmatch_activity: yes\nfiring_cap: 0.05\n")
    flags = ["--preset", "paper", "--evidence", "--residual", "0", "--match-activity", "--firing-cap", "0.05"]
    one = strict_json(sembridge(*transfer(models, tmp_path / "one", *flags, "--json")).out)
    assert (set(one["confidence"].values()), one["n_lowered"] > 0) == ({1.0}, True)  # too few tokens to doubt
    assert sembridge(*transfer(models, tmp_path / "two", "--recipe", recipe)).code == 0
    assert digests(tmp_path / "one") == digests(tmp_path / "two") != digests(models / "ko")
    off = ["--recipe", recipe, "--no-evidence", "--no-match-activity", "--firing-cap", "1"]
    for name, options in (("off", off), ("paper", ["--preset", "paper"])):
        assert sembridge(*transfer(models, tmp_path / name, *options)).code == 0
    assert digests(tmp_path / "off")["model.safetensors"] == digests(tmp_path / "paper")["model.safetensors"]


def test_overwrite_replaces_a_folder(models: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    assert "not empty" in sembridge(*transfer(models, tmp_path / "out")).line
    assert sembridge(*transfer(models, tmp_path / "out", "--overwrite")).code == 0
    assert not (tmp_path / "out" / "mine.txt").exists()
    assert os.listdir(tmp_path) == ["out"]


# --- refusals ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def broken(models: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Models with one fault each."""
    root = tmp_path_factory.mktemp("broken")
    made = {name: root / name.replace(" ", "-") for name in ("pickle", "small matrix", "no pad", "nan bridge", "cut")}
    for name in ("pickle", "small matrix", "cut"):
        shutil.copytree(models / "source", made[name])
    torch.save(load_file(made["pickle"] / "model.safetensors"), made["pickle"] / "pytorch_model.bin")
    (made["pickle"] / "model.safetensors").unlink()
    os.truncate(made["cut"] / "model.safetensors", 5000)
    larger = tiny_tokenizer("wordpiece")
    larger.add_tokens(["school-bus"])
    larger.save_pretrained(made["small matrix"])
    backend = spelled_tokenizer("wordpiece", ["학교"]).backend_tokenizer
    PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]").save_pretrained(made["no pad"])
    shutil.copytree(models / "bridge", made["nan bridge"])
    weights = next(made["nan bridge"].rglob("*.safetensors"))
    save_file({key: torch.full_like(value, torch.nan) for key, value in load_file(weights).items()}, weights)
    (root / "file").write_text("")
    return made | {"file": root / "file"}


@pytest.mark.parametrize(
    ("replaced", "options", "hint"),
    [
        ({"source": "bridge"}, [], "is a SentenceTransformer, not a sparse encoder"),
        ({"source": "pickle"}, [], "only as pickle"),
        ({"source": "small matrix"}, [], "but its matrix has"),
        ({"source": "cut"}, [], "damaged or cut off"),
        ({"source": "none"}, [], "does not exist"),
        ({"source": "target"}, [], "holds no model"),
        ({"target": "no pad"}, [], "no pad token"),
        ({"target": "bridge"}, [], ""),
        ({"target": "none"}, [], "does not exist"),
        ({"bridge": "source"}, [], "a bridge must be a dense SentenceTransformer"),
        ({"bridge": "nan bridge"}, [], "NaN or infinite"),
        ({"bridge": "none"}, [], "does not exist"),
        ({"source": "mini/nothing"}, [], "Nothing is bundled"),
        ({}, ["--method", "zett"], "method"),
        ({}, ["--method", "focus"], "Method focus needs --target-text FILE"),
        ({}, ["--method", "ofa", "--word-vectors", "none.vec"], "none.vec does not exist"),
        ({}, ["--preset", "papers"], "preset"),
        ({}, ["--alpha", "0.5"], "alpha"),
        ({}, ["--alpha", "nan"], "alpha"),
        ({}, ["--min-similarity", "2"], "min_similarity"),
        ({}, ["--memory-budget-mb", "0"], "memory_budget_mb"),
        ({}, ["--device", "tpu9"], "Device"),
        ({}, ["--recipe", "unknown key"], "no setting"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_leaves_nothing_behind(
    models: Path, broken: dict[str, Path], tmp_path: Path, replaced: dict[str, str], options: list[str], hint: str
) -> None:
    (tmp_path / "recipe.yaml").write_text("alfa: 4")
    places = {
        role: name if name.startswith("mini/") else broken.get(name, models / name) for role, name in replaced.items()
    }
    options = [str(tmp_path / "recipe.yaml") if option == "unknown key" else option for option in options]
    done = sembridge(*transfer(models, tmp_path / "new" / "out", *options, **places))
    if not hint:  # the tokenizer of the bridge: it has one, without a pad token
        hint = "no pad token"
    assert done.code == 1
    assert hint in done.line
    assert os.listdir(tmp_path) == ["recipe.yaml"]


def test_an_output_below_a_file_is_refused_before_the_models_are_read(broken: dict[str, Path]) -> None:
    done = sembridge("transfer", "none", "none", broken["file"] / "out")
    assert done.code == 1
    assert "is not a folder you can write to" in done.line
    assert "not a folder" in sembridge("transfer", "none", "none", broken["file"], "--overwrite").line
    assert "too long" in sembridge("transfer", "none", "none", "x" * 300).line


def test_an_unknown_hub_name_offline_is_one_line(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    for role in ("source", "target", "bridge"):
        done = sembridge(*transfer(models, tmp_path / "out", **{role: "nobody/nothing"}))
        assert done.code == 1
        assert "nobody/nothing is no folder here and not in the cache" in done.line
        assert "HF_HUB_OFFLINE is set" in done.line
    assert not (tmp_path / "out").exists()


@pytest.fixture
def file_size_limit() -> Iterator[Callable[[int], None]]:
    """As `ulimit -f`: a longer file fails with EFBIG, as on a full disk (Python ignores the signal)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("limit", [1_000, 20_000, 60_000])
def test_a_disk_that_fills_up_keeps_the_old_folder(
    models: Path, tmp_path: Path, file_size_limit: Callable[[int], None], limit: int
) -> None:
    """At the configuration, the tokenizer, the weights."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old.txt").write_text("old")
    arguments = transfer(models, tmp_path / "out", "--overwrite", "--json")
    file_size_limit(limit)
    done = sembridge(*arguments)
    assert done.code == 1
    assert "too large" in done.line.lower()
    assert os.listdir(tmp_path) == ["out"]
    assert (tmp_path / "out" / "old.txt").read_text() == "old"
    assert os.listdir(tmp_path / "out") == ["old.txt"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=60k", "tmpfs", place], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no small file system can be mounted: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_disk_leaves_it_as_it_was(models: Path, small_disk: Path) -> None:
    done = sembridge(*transfer(models, small_disk / "new" / "out", "--json"))
    assert done.code == 1
    assert "no space left on device" in done.line.lower()
    assert os.listdir(small_disk) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["transfer", "a", "b"],
        ["transfer", "a", "b", "c", "--alpha", "four"],
        ["transfer", "a", "b", "c", "--no-such-option"],
        ["explain", "folder"],
        ["explain", "folder", "text", "--top", "0"],
        ["demo", "--language", "xx"],
        ["train"],
        [],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_code_2(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = sembridge(*arguments)
    assert done.code == 2
    # Without any argument typer prints the help to stdout.
    assert "Error: " in done.err or (not arguments and "Usage: " in done.out)
    assert os.listdir(tmp_path) == []


def test_a_wrong_language_names_the_right_ones() -> None:
    done = sembridge("demo", "--language", "en")
    assert "ar, zh, hi, ko, ru, all" in done.err


# --- inspect -------------------------------------------------------------------------------------------------------


def test_inspect_shows_overlap_and_how_a_text_is_cut(models: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("학교 책 школа\n", encoding="utf-8")
    arguments = ["inspect", models / "source", models / "target", "--text", tmp_path / "text.txt"]
    shown, as_json = sembridge(*arguments), sembridge(*arguments, "--json")
    assert (shown.code, as_json.code) == (0, 0)
    assert "Text of 3 words: 1.0 tokens a word" in shown.out
    found = strict_json(as_json.out)
    assert found["text"]["fertility"] == 1.0
    assert found["overlap"]["exact"] >= 4
    assert strict_json(sembridge(*arguments[:3], "--json").out)["text"] is None


@pytest.mark.parametrize(
    ("content", "hint"), [(b"", "is empty"), ("학교".encode("utf-16"), "not UTF-8"), (None, "No such file")]
)
def test_a_bad_text_file_is_refused_before_the_models_are_read(
    tmp_path: Path, content: bytes | None, hint: str
) -> None:
    if content is not None:
        (tmp_path / "text.txt").write_bytes(content)
    done = sembridge("inspect", "no/such/model", "no/such/tokenizer", "--text", tmp_path / "text.txt")
    assert done.code == 1
    assert hint in done.line


# --- explain -------------------------------------------------------------------------------------------------------


def test_explain_shows_the_english_tokens_of_a_token(models: Path) -> None:
    done = sembridge("explain", models / "ko", "학교")
    assert done.code == 0
    assert "▁학교 (combined, confidence 1.00)" in done.out
    assert "school" in done.out
    (found,) = strict_json(sembridge("explain", models / "ko", "학교", "--json").out)
    (token,) = found["tokens"]
    assert (found["token"], token["kind"], token["parts"][0]["token"]) == ("학교", "combined", "school")


def test_a_copied_token_has_no_similarity(models: Path) -> None:
    done = sembridge("explain", models / "ko", "home")
    assert "(exact)" in done.out
    assert "nan" not in done.out
    (found,) = strict_json(sembridge("explain", models / "ko", "home", "--json").out)
    assert found["tokens"][0]["parts"] == [{"token": "home", "weight": 1.0, "similarity": None}]


def test_explain_shows_the_strongest_dimensions_of_a_text(models: Path) -> None:
    done = sembridge("explain", models / "ko", "학교 선생님", "--top", "3")
    assert (done.code, "made of" in done.out) == (0, True)
    (found,) = strict_json(sembridge("explain", models / "ko", "학교 선생님", "--top", "3", "--json").out)
    values = [dimension["value"] for dimension in found["dimensions"]]
    assert len(values) == 3
    assert values == sorted(values, reverse=True)


def test_explain_shows_why_a_query_matches_a_document(models: Path) -> None:
    arguments = ["explain", models / "ko", "학교", "책 읽기", "--document", "학교 도시"]
    done = sembridge(*arguments)
    assert (done.code, done.out.count("product")) == (0, 2)
    found = strict_json(sembridge(*arguments, "--json").out)
    assert [entry["query"] for entry in found] == ["학교", "책 읽기"]
    shared = found[0]["shared"][0]
    assert shared["product"] == pytest.approx(shared["query_value"] * shared["document_value"])


def test_texts_are_printed_as_they_are(models: Path) -> None:
    for text in ("[/b] 학교 책", "[red]학교 책[/red]", ":book: 학교"):
        done = sembridge("explain", models / "ko", text)
        assert done.code == 0
        assert text in done.out
    assert "<s> (special)" in sembridge("explain", models / "ko", "<s>").out


def test_a_folder_of_another_kind_is_refused(models: Path, tmp_path: Path) -> None:
    for folder in (models / "source", tmp_path / "none"):
        done = sembridge("explain", folder, "학교")
        assert done.code == 1
        assert "sembridge transfer" in done.line
