"""Bad input, over all verbs: one line with what was given and what to do, the exit code, and nothing left behind.

A row of the table is a command line with one thing wrong. An exception that is no refusal fails the test by itself: the
program runs in this process.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from commands import sembridge
from safetensors.torch import load_file, save_file

PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452")


class Case:
    """The good world, a place to put a bad copy of a part of it, and a place to write to."""

    def __init__(self, world: Path, place: Path) -> None:
        self.world, self.place, self.out = world, place, place / "out"

    def __getattr__(self, name: str) -> Path:
        return self.world / name

    def copied(self, name: str) -> Path:
        shutil.copytree(self.world / name, self.place / name)
        return self.place / name

    def with_file(self, name: str, inside: str, content: bytes | str) -> Path:
        """A copy of the folder `name` in which one file has other content."""
        path = self.copied(name) / inside
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return self.place / name

    def truncated(self, name: str, inside: str) -> Path:
        content = (self.world / name / inside).read_bytes()
        return self.with_file(name, inside, content[: len(content) // 2])

    def without(self, name: str, inside: str) -> Path:
        path = self.copied(name) / inside
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        return self.place / name

    def with_tensors(self, name: str, change: Callable[[dict[str, torch.Tensor]], None]) -> Path:
        path = self.copied(name) / "model.safetensors"
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path, metadata={"format": "pt"})
        return self.place / name

    def file(self, name: str, content: bytes | str) -> Path:
        path = self.place / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path


def fill_nan(tensors: dict[str, torch.Tensor]) -> None:
    next(iter(tensors.values())).fill_(float("nan"))


def cut_rows(tensors: dict[str, torch.Tensor]) -> None:
    name = max(tensors, key=lambda key: tensors[key].numel())
    tensors[name] = tensors[name][:-3].clone()


def transfer_of(source: object, target: object, out: object, bridge: object, *more: object) -> tuple[object, ...]:
    return ("transfer", source, target, out, "--bridge", bridge, *more)


Make = Callable[[Case], tuple[object, ...]]
EPOCH = ("--steps", "1", "--batch-size", "2")

REFUSED: dict[str, Make] = {
    # a source encoder that is none
    "transfer: no source folder": lambda c: transfer_of("./nowhere", c.target, c.out, c.bridge),
    "transfer: no such bundled encoder": lambda c: transfer_of("mini/splade-fr", c.target, c.out, c.bridge),
    "transfer: the source is a file": lambda c: transfer_of(c.file("x", ""), c.target, c.out, c.bridge),
    "transfer: the source folder is empty": lambda c: transfer_of(c.place, c.target, c.out, c.bridge),
    "transfer: the source is dense": lambda c: transfer_of(c.bridge, c.target, c.out, c.bridge),
    "transfer: the weights end in the middle": lambda c: transfer_of(
        c.truncated("source", "model.safetensors"), c.target, c.out, c.bridge
    ),
    "transfer: the weights are a picture": lambda c: transfer_of(
        c.with_file("source", "model.safetensors", PNG), c.target, c.out, c.bridge
    ),
    "transfer: no weights": lambda c: transfer_of(
        c.without("source", "model.safetensors"), c.target, c.out, c.bridge
    ),
    "transfer: weights that are no numbers": lambda c: transfer_of(
        c.with_tensors("source", fill_nan), c.target, c.out, c.bridge
    ),
    "transfer: weights of another shape": lambda c: transfer_of(
        c.with_tensors("source", cut_rows), c.target, c.out, c.bridge
    ),
    "transfer: the config is empty": lambda c: transfer_of(
        c.with_file("source", "config.json", ""), c.target, c.out, c.bridge
    ),
    "transfer: the config ends in the middle": lambda c: transfer_of(
        c.truncated("source", "config.json"), c.target, c.out, c.bridge
    ),
    "transfer: the config is a list": lambda c: transfer_of(
        c.with_file("source", "config.json", "[]"), c.target, c.out, c.bridge
    ),
    "transfer: the modules are no JSON": lambda c: transfer_of(
        c.with_file("source", "modules.json", "{"), c.target, c.out, c.bridge
    ),
    "transfer: the source's tokenizer is damaged": lambda c: transfer_of(
        c.truncated("source", "tokenizer.json"), c.target, c.out, c.bridge
    ),
    # a target tokenizer that is none
    "transfer: no tokenizer folder": lambda c: transfer_of(c.source, "./nowhere", c.out, c.bridge),
    "transfer: the tokenizer folder is empty": lambda c: transfer_of(c.source, c.place, c.out, c.bridge),
    "transfer: the tokenizer ends in the middle": lambda c: transfer_of(
        c.source, c.truncated("target", "tokenizer.json"), c.out, c.bridge
    ),
    "transfer: the tokenizer is a picture": lambda c: transfer_of(
        c.source, c.with_file("target", "tokenizer.json", PNG), c.out, c.bridge
    ),
    # a bridge that is none
    "transfer: no bridge folder": lambda c: transfer_of(c.source, c.target, c.out, "./nowhere"),
    "transfer: the bridge is sparse": lambda c: transfer_of(c.source, c.target, c.out, c.source),
    "transfer: the bridge's weights end in the middle": lambda c: transfer_of(
        c.source, c.target, c.out, c.truncated("bridge", "model.safetensors")
    ),
    "transfer: the bridge gives no numbers": lambda c: transfer_of(
        c.source, c.target, c.out, c.with_tensors("bridge", fill_nan)
    ),
    # settings and places
    "transfer: alpha is below one": lambda c: transfer_of(c.source, c.target, c.out, c.bridge, "--alpha", "0.5"),
    "transfer: alpha is no number": lambda c: transfer_of(c.source, c.target, c.out, c.bridge, "--alpha", "many"),
    "transfer: no such method": lambda c: transfer_of(c.source, c.target, c.out, c.bridge, "--method", "magic"),
    "transfer: no such preset": lambda c: transfer_of(c.source, c.target, c.out, c.bridge, "--preset", "best"),
    "transfer: no such device": lambda c: transfer_of(c.source, c.target, c.out, c.bridge, "--device", "abacus"),
    "transfer: no recipe file": lambda c: transfer_of(c.source, c.target, c.out, c.bridge, "--recipe", "./no.yaml"),
    "transfer: the recipe is no YAML": lambda c: transfer_of(
        c.source, c.target, c.out, c.bridge, "--recipe", c.file("r.yaml", "a: [")
    ),
    "transfer: the recipe has an unknown key": lambda c: transfer_of(
        c.source, c.target, c.out, c.bridge, "--recipe", c.file("r.yaml", "alpaca: 4\n")
    ),
    "transfer: the recipe is a list": lambda c: transfer_of(
        c.source, c.target, c.out, c.bridge, "--recipe", c.file("r.yaml", "- 1\n")
    ),
    "transfer: the recipe is a picture": lambda c: transfer_of(
        c.source, c.target, c.out, c.bridge, "--recipe", c.file("r.yaml", PNG)
    ),
    "transfer: the method's file is missing": lambda c: transfer_of(
        c.source, c.target, c.out, c.bridge, "--method", "focus", "--target-text", "./no.txt"
    ),
    "transfer: the place is a file": lambda c: transfer_of(c.source, c.target, c.file("y", "kept"), c.bridge),
    "transfer: data to tune on that are not there": lambda c: transfer_of(
        c.source, c.target, c.out, c.bridge, "--tune", "./nowhere"
    ),
    "inspect: no text file": lambda c: ("inspect", c.source, c.target, "--text", "./no.txt"),
    "inspect: the text is not UTF-8": lambda c: (
        "inspect", c.source, c.target, "--text", c.file("t.txt", "naïve".encode("latin-1"))
    ),
    "inspect: a dictionary of single words": lambda c: (
        "inspect", c.source, c.target, "--bridge", c.bridge, "--dictionary", c.file("d.tsv", "school\n")
    ),
    # what a transfer has written
    "explain: no folder": lambda c: ("explain", "./nowhere", "학교"),
    "explain: not transferred": lambda c: ("explain", c.source, "school"),
    "explain: the alignment ends in the middle": lambda c: (
        "explain", c.truncated("ko", "alignment.safetensors"), "학교"
    ),
    "explain: the alignment is a picture": lambda c: (
        "explain", c.with_file("ko", "alignment.safetensors", PNG), "학교"
    ),
    "report: no folder": lambda c: ("report", "./nowhere", "--out", c.out),
    "report: an empty folder": lambda c: ("report", c.place, "--out", c.out),
    "report: the report is no JSON": lambda c: (
        "report", c.with_file("ko", "report.json", "{"), "--out", c.place / "page.html"
    ),
    "report: no such data": lambda c: ("report", c.ko, "--data", "./nowhere", "--out", c.out),
    # data
    "evaluate: no encoder": lambda c: ("evaluate", "./nowhere", "--data", c.data),
    "evaluate: no data": lambda c: ("evaluate", c.ko, "--data", "./nowhere"),
    "evaluate: data without a corpus": lambda c: ("evaluate", c.ko, "--data", c.without("data", "corpus.jsonl")),
    "evaluate: data without judgments": lambda c: ("evaluate", c.ko, "--data", c.without("data", "qrels")),
    "evaluate: an empty corpus": lambda c: ("evaluate", c.ko, "--data", c.with_file("data", "corpus.jsonl", "")),
    "evaluate: a corpus that is no JSON": lambda c: (
        "evaluate", c.ko, "--data", c.with_file("data", "corpus.jsonl", "d1 text\n")
    ),
    "evaluate: a corpus that is not UTF-8": lambda c: (
        "evaluate", c.ko, "--data", c.with_file("data", "corpus.jsonl", b'{"_id": "d1", "text": "\xff"}\n')
    ),
    "evaluate: a document twice": lambda c: (
        "evaluate", c.ko, "--data", c.with_file("data", "corpus.jsonl", '{"_id": "d1", "text": "a"}\n' * 2)
    ),
    "evaluate: a document without text": lambda c: (
        "evaluate", c.ko, "--data", c.with_file("data", "corpus.jsonl", '{"_id": "d1"}\n')
    ),
    "evaluate: judgments of a query that is not there": lambda c: (
        "evaluate", c.ko, "--data", c.with_file("data", "qrels/test.tsv", "query-id\tcorpus-id\tscore\nq9\td1\t1\n")
    ),
    "evaluate: judgments of a document that is not there": lambda c: (
        "evaluate", c.ko, "--data", c.with_file("data", "qrels/test.tsv", "query-id\tcorpus-id\tscore\nq1\td9\t1\n")
    ),
    "evaluate: a grade that is a word": lambda c: (
        "evaluate", c.ko, "--data", c.with_file("data", "qrels/test.tsv", "query-id\tcorpus-id\tscore\nq1\td1\tgood\n")
    ),
    "evaluate: no such split": lambda c: ("evaluate", c.ko, "--data", c.data, "--split", "trial"),
    "evaluate: no such measure": lambda c: ("evaluate", c.ko, "--data", c.data, "--measure", "nDGC@10"),
    "evaluate: more documents than judged ones": lambda c: ("evaluate", c.ko, "--data", c.data, "--documents", "1"),
    "encode: no corpus": lambda c: ("encode", c.ko, "./nowhere.jsonl", "--out", c.out),
    "encode: a corpus of another format": lambda c: ("encode", c.ko, c.file("c.csv", "a,b\n"), "--out", c.out),
    "encode: a parquet that is a picture": lambda c: ("encode", c.ko, c.file("c.parquet", PNG), "--out", c.out),
    "encode: a gzip that is none": lambda c: ("encode", c.ko, c.file("c.jsonl.gz", "plain"), "--out", c.out),
    "index: an empty corpus": lambda c: ("index", c.ko, c.file("c.jsonl", ""), "--out", c.out),
    "index: no server there": lambda c: (
        "index", c.ko, c.data, "--out", c.out, "--engine", "qdrant", "--url", "http://127.0.0.1:9",
        "--attempts", "2", "--first-wait", "0.01",
    ),
    "index: a server without an address": lambda c: ("index", c.ko, c.data, "--out", c.out, "--engine", "qdrant"),
    "index: no such engine": lambda c: ("index", c.ko, c.data, "--out", c.out, "--engine", "google"),
    "index: shards of another encoder": lambda c: ("index", c.source, c.shards, "--out", c.out),
    "index: shards that end in the middle": lambda c: (
        "index", c.ko, c.truncated("shards", next((c.world / "shards").rglob("*.parquet")).name), "--out", c.out
    ),
    "index: adding to nothing": lambda c: ("index", c.ko, c.data, "--out", c.out, "--add"),
    "search: no index": lambda c: ("search", "./nowhere", "학교"),
    "search: the manifest is no JSON": lambda c: ("search", c.with_file("index", "index.json", "{"), "학교"),
    "search: another encoder": lambda c: ("search", c.index, "school", "--encoder", c.source),
    "search: a filter without a value": lambda c: ("search", c.index, "학교", "--filter", "year"),
    "search: a question without text": lambda c: ("search", c.index, " "),
    "train: no data": lambda c: ("train", c.ko, "./nowhere.jsonl", c.out, *EPOCH),
    "train: no pairs": lambda c: ("train", c.ko, c.file("p.jsonl", ""), c.out, *EPOCH),
    "train: pairs without a document": lambda c: ("train", c.ko, c.file("p.jsonl", '{"query": "a"}\n'), c.out, *EPOCH),
    "train: pairs of another format": lambda c: ("train", c.ko, c.file("p.docx", PNG), c.out, *EPOCH),
    "train: nothing to resume": lambda c: ("train", c.ko, c.world / "pairs.jsonl", c.out, *EPOCH, "--resume"),
    "train: a negative learning rate": lambda c: (
        "train", c.ko, c.world / "pairs.jsonl", c.out, *EPOCH, "--learning-rate", "-1"
    ),
    "reproduce: no recipe": lambda c: ("reproduce", "./no.yaml", "--out", c.out),
    "reproduce: an empty recipe": lambda c: ("reproduce", c.file("g.yaml", ""), "--out", c.out),
    "bridge-vectors: no file of vectors": lambda c: (
        "bridge-vectors", "import", c.bridge, c.file("v.safetensors", "vectors")
    ),
    "bridge-vectors: no such folder": lambda c: (
        "bridge-vectors", "export", c.bridge, c.target, "./nowhere/v.safetensors"
    ),
    "transfer: a dtype for a bridge that only looks rows up": lambda c: (
        "transfer", c.source, c.target, c.out, "--bridge", c.bridge, "--bridge-dtype", "bfloat16"
    ),
    "export: no such encoder": lambda c: ("export", "onnx", "./nowhere", c.out),
    "export: no weights of its own queries": lambda c: ("export", "idf", c.ko, c.out),
    "export: a pivot of an encoder that was not transferred": lambda c: (
        "export", "pivot", c.source, c.out, "--source", c.source
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_refused_in_one_line(
    name: str, specimens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad").mkdir()
    case = Case(specimens, tmp_path / "bad")
    arguments = REFUSED[name](case)
    before = sorted(tmp_path.rglob("*"))
    done = sembridge(*arguments)
    assert done.code in (1, 2), (done.code, done.out, done.err)
    assert "Traceback" not in done.err
    if done.code == 1:
        assert len(done.line) > len("sembridge: ")
    left = [path for path in sorted(tmp_path.rglob("*")) if path not in before]
    assert left == [], "something half-written was left behind"


def test_the_table_is_long_and_covers_every_verb() -> None:
    verbs = {name.partition(":")[0] for name in REFUSED}
    assert len(REFUSED) >= 60
    assert verbs == {"transfer", "inspect", "explain", "report", "evaluate", "encode", "index", "search", "train",
                     "reproduce", "export", "bridge-vectors"}  # fmt: skip
