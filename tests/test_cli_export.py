"""`sembridge export`: every format from the shell, refusals in one line, nothing left behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from commands import sembridge
from tiny import ENGLISH_TEXTS, tiny_encoder, tiny_tokenizer

FORMATS = ("onnx", "lucene", "pisa", "seismic", "idf")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `encoder` and, in BEIR layout, `corpus`."""
    root = tmp_path_factory.mktemp("export")
    encoder = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"))
    encoder.save_pretrained(str(root / "encoder"), create_model_card=False)
    (root / "corpus").mkdir()
    for stem, texts in (("corpus", ENGLISH_TEXTS), ("queries", ENGLISH_TEXTS[:2])):
        lines = [json.dumps({"_id": f"{stem[0]}{n}", "text": text}) for n, text in enumerate(texts)]
        (root / "corpus" / f"{stem}.jsonl").write_text("\n".join(lines) + "\n")
    return root


@pytest.mark.parametrize("format_", ["lucene", "seismic"])
def test_a_corpus_and_its_queries_are_exported(format_: str, root: Path, tmp_path: Path) -> None:
    done = sembridge(
        "export", format_, root / "encoder", root / "corpus", tmp_path / "out", "--queries", root / "corpus", "--json"
    )
    assert done.code == 0, done.err
    manifest = json.loads(done.out)
    assert manifest["folder"] == str(tmp_path / "out")
    assert (manifest["format"], manifest["n_documents"], manifest["n_queries"]) == (format_, len(ENGLISH_TEXTS), 2)
    assert manifest["encoder"] == str(root / "encoder")


def test_shards_export_as_their_corpus(root: Path, tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    done = sembridge("encode", root / "encoder", root / "corpus", "--out", shards)
    assert done.code == 0, done.err
    for corpus, out in ((shards, "from-shards"), (root / "corpus", "from-texts")):
        done = sembridge("export", "seismic", root / "encoder", corpus, tmp_path / out)
        assert done.code == 0, done.err
    vectors = [
        [json.loads(line)["vector"] for line in (tmp_path / out / "documents.jsonl").read_text().splitlines()]
        for out in ("from-shards", "from-texts")
    ]
    assert vectors[0] == vectors[1]
    refused = sembridge("export", "seismic", "mini/splade-en", shards, tmp_path / "other")
    assert "not by mini/splade-en" in refused.line
    refused = sembridge("export", "seismic", root / "encoder", shards, tmp_path / "other", "--max-active-dims", "3")
    assert "leave it away" in refused.line
    assert not (tmp_path / "other").exists()


def test_pisa_from_the_shell(root: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyterrier_pisa")
    done = sembridge("export", "pisa", root / "encoder", root / "corpus", tmp_path / "out", "--scale", "10", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["scale"] == 10


def test_idf_from_the_shell(root: Path, tmp_path: Path) -> None:
    done = sembridge("export", "idf", root / "encoder", tmp_path / "out", "--corpus", root / "corpus")
    assert done.code == 0, done.err
    assert f"Written to {tmp_path / 'out'}" in done.out
    refused = sembridge("export", "idf", root / "encoder", tmp_path / "other")
    assert (refused.code, "no static query weights" in refused.line) == (1, True)
    assert not (tmp_path / "other").exists()


def test_onnx_from_the_shell(root: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    done = sembridge("export", "onnx", root / "encoder", tmp_path / "out")
    assert done.code == 0, done.err
    assert "Largest difference from torch" in done.out


def test_fewer_active_dims_are_fewer_postings(root: Path, tmp_path: Path) -> None:
    arguments = ("export", "lucene", root / "encoder", root / "corpus")
    done = sembridge(*arguments, tmp_path / "out", "--max-active-dims", "2", "--json")
    assert json.loads(done.out)["n_postings"] <= 2 * len(ENGLISH_TEXTS)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("lucene", "ENCODER", "CORPUS", "OUT", "--scale", "0"), "scale is 0"),
        (("lucene", "ENCODER", "nowhere.jsonl", "OUT"), "No corpus"),
        (("seismic", "nowhere/at/all", "CORPUS", "OUT"), "does not exist"),
        (("seismic", "ENCODER", "CORPUS", "TAKEN"), "not empty"),
        (("onnx", "mini/bridge", "OUT"), "not a sparse encoder"),
    ],
)  # fmt: skip
def test_refusals_are_one_line_and_leave_nothing(
    arguments: tuple[str, ...], reason: str, root: Path, tmp_path: Path
) -> None:
    places = {"ENCODER": root / "encoder", "CORPUS": root / "corpus", "OUT": tmp_path / "out", "TAKEN": root}
    done = sembridge("export", *(places.get(argument, argument) for argument in arguments))
    assert done.code == 1
    assert reason in done.line
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_format_is_wrong_usage() -> None:
    done = sembridge("export", "word", "a", "b")
    assert done.code == 2
    assert "No such command 'word'" in done.err


def test_help_of_every_format_is_fast_and_export_stands_before_demo() -> None:
    code = f"""
import sys
from sembridge.cli import main
for arguments in [[], ["export"], *(["export", format_] for format_ in {FORMATS})]:
    try:
        main([*arguments, "--help"])
    except SystemExit as exit_:
        assert exit_.code == 0, exit_.code
print([name for name in ("torch", "sentence_transformers", "transformers", "numpy") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    commands = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ") and len(line.split()) > 2]
    assert commands.index("export") < commands.index("demo")
    for format_ in FORMATS:
        assert format_ in done.stdout
