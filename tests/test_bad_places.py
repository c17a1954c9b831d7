"""Every argument and option that names a file or a folder, given five wrong ones: one line, and nothing left behind."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from commands import sembridge
from test_every_option import VERBS

FILES: Mapping[str, str] = {
    "recipe.yaml": "alpha: 4\npreset: default\n",
    "encode.yaml": "shard_size: 100\nbatch_size: 4\n",
    "index.yaml": "bulk_size: 100\nbatch_size: 4\n",
    "train.yaml": "steps: 1\nbatch_size: 2\n",
    "grid.yaml": "source_encoders: [mini/splade-en]\nlanguages: {ko: {target_tokenizer: mini/tokenizer-ko}}\n",
    "tokenizer.yaml": "vocabulary_size: 100\nfamily: wordpiece\n",
    "text.txt": "학교 선생님\nдом река\n" * 3,
    "words.vec": "3 2\n학교 1 0.5\nдом 0.25 2\nhome 1 1\n",
    "words.tsv": "school\t학교\nhome\tдом\n",
    "corpus.jsonl": '{"_id": "d1", "text": "학교"}\n{"_id": "d2", "text": "дом"}\n',
    "pairs.jsonl": '{"query": "학교", "positive": "책"}\n{"query": "дом", "positive": "река"}\n',
}
FOLDERS: Mapping[str, str] = {  # a specimen, and the file that is cut or written in another encoding
    "source": "config.json",
    "target": "tokenizer.json",
    "bridge": "modules.json",
    "data": "corpus.jsonl",
    "ko": "report.json",
    "index": "index.json",
}
KINDS = ("missing", "of the other kind", "empty", "truncated", "in another encoding")

Slot = Callable[["Good"], tuple[object, ...]]


class Good:
    """Everything a verb reads, as it should be, but for the one that is bad; where it stands is told by its name."""

    def __init__(self, world: Path, place: Path, bad: Path) -> None:
        self.world, self.place, self.bad, self.out = world, place, bad, place / "out"

    def __getattr__(self, name: str) -> Path:
        return self.world / name

    def file(self, name: str) -> Path:
        return self.place / name


def transfer(g: Good, **of: object) -> tuple[object, ...]:
    part = {"source": g.source, "target": g.target, "bridge": g.bridge, **of}
    return ("transfer", part["source"], part["target"], g.out, "--bridge", part["bridge"])


def train(g: Good, **of: object) -> tuple[object, ...]:
    part = {"encoder": g.ko, "data": g.file("pairs.jsonl"), **of}
    return ("train", part["encoder"], part["data"], g.out, "--steps", "1", "--batch-size", "2")


def vectors(g: Good, name: str) -> tuple[object, ...]:
    given = {"word-vectors": g.file("words.vec"), "source-word-vectors": g.file("words.vec"),
             "dictionary": g.file("words.tsv"), name: g.bad}  # fmt: skip
    options = [word for option, path in given.items() for word in (f"--{option}", path)]
    return ("transfer", g.source, g.target, g.out, "--method", "wechsel", *options)


# (verb and slot): what a good one is, and the command.
SLOTS: dict[str, tuple[str, Slot]] = {
    "transfer SOURCE": ("source", lambda g: transfer(g, source=g.bad)),
    "transfer TARGET": ("target", lambda g: transfer(g, target=g.bad)),
    "transfer --bridge": ("bridge", lambda g: transfer(g, bridge=g.bad)),
    "transfer --recipe": ("recipe.yaml", lambda g: (*transfer(g), "--recipe", g.bad)),
    "transfer --target-text": ("text.txt", lambda g: (*transfer(g), "--through-words", "--target-text", g.bad)),
    "transfer --word-vectors": ("words.vec", lambda g: vectors(g, "word-vectors")),
    "transfer --source-word-vectors": ("words.vec", lambda g: vectors(g, "source-word-vectors")),
    "transfer --dictionary": ("words.tsv", lambda g: vectors(g, "dictionary")),
    "transfer --tune": ("data", lambda g: (*transfer(g), "--tune", g.bad)),
    "inspect SOURCE": ("source", lambda g: ("inspect", g.bad, g.target)),
    "inspect TARGET": ("target", lambda g: ("inspect", g.source, g.bad)),
    "inspect --text": ("text.txt", lambda g: ("inspect", g.source, g.target, "--text", g.bad)),
    "inspect --bridge": ("bridge", lambda g: ("inspect", g.source, g.target, "--bridge", g.bad)),
    "inspect --dictionary": (
        "words.tsv", lambda g: ("inspect", g.source, g.target, "--bridge", g.bridge, "--dictionary", g.bad)
    ),
    "inspect --recipe": ("recipe.yaml", lambda g: ("inspect", g.source, g.target, "--recipe", g.bad)),
    "explain FOLDER": ("ko", lambda g: ("explain", g.bad, "학교")),
    "evaluate ENCODER": ("source", lambda g: ("evaluate", g.bad, "--data", g.data, "--no-references", "--no-cache")),
    "evaluate --data": ("data", lambda g: ("evaluate", g.ko, "--data", g.bad, "--no-cache")),
    "evaluate --english": ("source", lambda g: ("evaluate", g.ko, "--data", g.data, "--english", g.bad, "--no-cache")),
    "evaluate --bridge": ("bridge", lambda g: ("evaluate", g.ko, "--data", g.data, "--bridge", g.bad, "--no-cache")),
    "encode ENCODER": ("source", lambda g: ("encode", g.bad, g.file("corpus.jsonl"), "--out", g.out)),
    "encode CORPUS": ("corpus.jsonl", lambda g: ("encode", g.ko, g.bad, "--out", g.out)),
    "encode --recipe": (
        "encode.yaml", lambda g: ("encode", g.ko, g.file("corpus.jsonl"), "--out", g.out, "--recipe", g.bad)
    ),
    "index ENCODER": ("source", lambda g: ("index", g.bad, g.file("corpus.jsonl"), "--out", g.out)),
    "index CORPUS": ("corpus.jsonl", lambda g: ("index", g.ko, g.bad, "--out", g.out, "--engine", "exact")),
    "index --texts": ("corpus.jsonl", lambda g: ("index", g.ko, g.shards, "--out", g.out, "--texts", g.bad)),
    "index --recipe": (
        "index.yaml", lambda g: ("index", g.ko, g.file("corpus.jsonl"), "--out", g.out, "--recipe", g.bad)
    ),
    "index --into": ("index", lambda g: ("index", g.ko, g.file("corpus.jsonl"), "--into", g.bad)),
    "index --delete": ("index", lambda g: ("index", "--out", g.bad, "--delete", "d1")),
    "search INDEX": ("index", lambda g: ("search", g.bad, "학교")),
    "search --encoder": ("source", lambda g: ("search", g.index, "학교", "--encoder", g.bad)),
    "search --query-encoder": ("ko", lambda g: ("search", g.index, "학교", "--query-encoder", g.bad)),
    "train ENCODER": ("source", lambda g: train(g, encoder=g.bad)),
    "train DATA": ("pairs.jsonl", lambda g: train(g, data=g.bad)),
    "train --also": ("pairs.jsonl", lambda g: (*train(g), "--also", g.bad)),
    "train --dev": ("data", lambda g: (*train(g), "--dev", g.bad)),
    "train --bridge": ("bridge", lambda g: (*train(g), "--distill", "bridge", "--bridge", g.bad)),
    "train --idf": ("corpus.jsonl", lambda g: (*train(g), "--idf", g.bad)),
    "train --recipe": ("train.yaml", lambda g: (*train(g), "--recipe", g.bad)),
    "report FOLDER": ("ko", lambda g: ("report", g.bad, "--out", g.file("page.html"))),
    "report --data": ("data", lambda g: ("report", g.ko, "--data", g.bad, "--out", g.file("page.html"))),
    "reproduce RECIPE": ("grid.yaml", lambda g: ("reproduce", g.bad, "--out", g.out)),
    "tokenizer CORPUS": ("corpus.jsonl", lambda g: ("tokenizer", g.bad, "--out", g.out)),
    "tokenizer --also": ("corpus.jsonl", lambda g: ("tokenizer", g.file("corpus.jsonl"), "--also", g.bad,
                                                    "--out", g.out)),
    "tokenizer --recipe": (
        "tokenizer.yaml", lambda g: ("tokenizer", g.file("corpus.jsonl"), "--out", g.out, "--recipe", g.bad)
    ),
    "bridge-vectors BRIDGE": ("bridge", lambda g: ("bridge-vectors", "export", g.bad, g.target, g.file("v.parquet"))),
    "bridge-vectors TOKENIZER": ("target", lambda g: ("bridge-vectors", "export", g.bridge, g.bad,
                                                      g.file("v.parquet"))),
    "export lucene ENCODER": ("source", lambda g: ("export", "lucene", g.bad, g.file("corpus.jsonl"), g.out)),
    "export lucene CORPUS": ("corpus.jsonl", lambda g: ("export", "lucene", g.ko, g.bad, g.out)),
    "export lucene --queries": (
        "corpus.jsonl", lambda g: ("export", "lucene", g.ko, g.file("corpus.jsonl"), g.out, "--queries", g.bad)
    ),
    "export seismic CORPUS": ("corpus.jsonl", lambda g: ("export", "seismic", g.ko, g.bad, g.out)),
    "export pivot ENCODER": ("ko", lambda g: ("export", "pivot", g.bad, g.out)),
    "export pivot --source": ("source", lambda g: ("export", "pivot", g.ko, g.out, "--source", g.bad)),
}  # fmt: skip
READABLE = {  # half of a text is a text, and the report is nothing that `explain` reads
    ("transfer --target-text", "truncated"),
    ("inspect --text", "truncated"),
    ("explain FOLDER", "truncated"),
    ("explain FOLDER", "in another encoding"),
}


def bad_places(good: str, world: Path, place: Path) -> Iterator[tuple[str, Path]]:
    """A kind of badness and something that is bad in this way, one after the other under one name."""
    path = place / f"bad-{good}"
    for kind in KINDS:
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        make_file(path, FILES[good], kind) if good in FILES else make_folder(path, world / good, FOLDERS[good], kind)
        yield kind, path


def make_file(path: Path, text: str, kind: str) -> None:
    content = {"empty": b"", "truncated": text.encode()[: len(text.encode()) * 2 // 3 - 1],
               "in another encoding": text.encode("utf-16")}  # fmt: skip
    if kind == "of the other kind":
        path.mkdir()
    elif kind != "missing":
        path.write_bytes(content[kind])


def make_folder(path: Path, good: Path, inside: str, kind: str) -> None:
    if kind == "of the other kind":
        path.write_bytes(b"x")
    elif kind == "empty":
        path.mkdir()
    elif kind != "missing":
        shutil.copytree(good, path)
        make_file(path / inside, (good / inside).read_text(encoding="utf-8"), kind)


@pytest.mark.parametrize("slot", SLOTS)
def test_a_bad_place_is_refused_in_one_line(
    slot: str, specimens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    good, command = SLOTS[slot]
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    for kind, bad in bad_places(good, specimens, tmp_path):
        before = sorted(tmp_path.rglob("*"))
        done = sembridge(*command(Good(specimens, tmp_path, bad)))
        if (slot, kind) in READABLE and done.code == 0:
            shutil.rmtree(tmp_path / "out", ignore_errors=True)
            continue
        assert done.code == 1, (kind, done)
        refusals = [line for line in done.err.splitlines() if line.startswith("sembridge: ")]
        assert len(refusals) == 1, (kind, done.err)
        assert bad.name in refusals[0] or str(bad) in refusals[0], (kind, refusals[0])
        assert sorted(tmp_path.rglob("*")) == before, (kind, "something was left behind")


def test_every_verb_that_reads_a_place_has_a_slot() -> None:
    verbs = {words[0] for words in VERBS} - {"doctor", "demo"}  # these two read nothing that is given
    assert verbs == {slot.split()[0] for slot in SLOTS}
