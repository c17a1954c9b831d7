"""The examples of every `sembridge VERB --help` run, in a folder that holds what they name.

Those that need the hub, a server or data beside the project are parsed: their verb, arguments and options exist.
"""

from __future__ import annotations

import gzip
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from commands import run_sembridge
from sentence_transformers import SparseEncoder
from synthetic_results import realistic
from tiny import tiny_encoder

from sembridge.cli import app
from sembridge.encoders.anatomy import read_anatomy
from sembridge.encoders.loading import load_tokenizer
from sembridge.encoders.names import mini_folder

pytestmark = pytest.mark.usefixtures("small_bundle")
ROOT = Path(__file__).parents[1]
NOT_RUN = {
    r"naver/|hub:|BAAI/|ibm-granite/|intfloat/": "needs the hub",
    r"--engine opensearch|--serve|--ray": "needs a server, or is one",
    r"DATA .*VECTORS": "needs data beside the project, and hours",
}
NEEDS = {
    "train": ("datasets", "accelerate"),
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "pisa": ("pyterrier_pisa",),
}
ENGLISH_INDEX = "sembridge index splade-en english.jsonl --out english-index"
PREPARATION = {
    "index": [ENGLISH_INDEX],
    "import": ["sembridge bridge-vectors export mini/bridge mini/splade-en english.safetensors"],
    "search": ["sembridge index splade-ko news.jsonl --out my-index", ENGLISH_INDEX],
}
MADE = {"transfer": {"splade-ko"}}  # what an example writes is not there before


@dataclass(frozen=True)
class Example:
    """A command of a verb's help; `not_run` is the reason why it is only parsed."""

    verb: str
    line: str
    not_run: str | None

    @property
    def words(self) -> list[str]:
        """The arguments of `sembridge`, however it is started."""
        return shlex.split(re.sub(r"^.*?\bsembridge(\.cli)? ", "", self.line))


def verbs(group: Any = None) -> Iterator[tuple[str, Any]]:
    for name, command in (group or typer.main.get_command(app)).commands.items():
        yield from verbs(command) if hasattr(command, "commands") else [(name, command)]


def examples(name: str, command: Any) -> list[Example]:
    lines = re.findall(r"`(.*?\bsembridge.+)`", command.epilog or "")
    reasons = [next((why for pattern, why in NOT_RUN.items() if re.search(pattern, line)), None) for line in lines]
    return [Example(name, line, reason) for line, reason in zip(lines, reasons, strict=True)]


COMMANDS = dict(verbs())
EXAMPLES = {name: examples(name, command) for name, command in COMMANDS.items()}
RUN = [name for name, shown in EXAMPLES.items() if any(example.not_run is None for example in shown)]


@pytest.mark.parametrize("verb", COMMANDS)
def test_the_help_of_every_verb_has_an_example(verb: str) -> None:
    assert EXAMPLES[verb]
    assert all(example.verb in example.words[:2] for example in EXAMPLES[verb])


def test_every_verb_but_those_that_need_the_hub_alone_has_an_example_that_runs() -> None:
    assert set(RUN) == set(COMMANDS)


@pytest.mark.parametrize("example", [e for shown in EXAMPLES.values() for e in shown], ids=lambda e: e.line)
def test_an_example_can_be_parsed(example: Example) -> None:
    command, words = typer.main.get_command(app), example.words
    while hasattr(command, "commands"):
        command, words = command.commands[words[0]], words[1:]
    command.make_context(example.verb, words)  # raises on unknown options, missing arguments and bad values
    if example.not_run:
        pytest.skip(f"parsed, not run: {example.not_run}")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds what the examples name."""
    folder = tmp_path_factory.mktemp("inputs")
    small_english_encoder().save_pretrained(str(folder / "splade-en"), create_model_card=False)
    for name, language in (("splade-ko", "ko"), ("splade-ko-random", "ko"), ("splade-ru", "ru")):
        models = (str(folder / "splade-en"), f"mini/tokenizer-{language}", str(folder / name))
        run_sembridge(["transfer", *models, "--method", "multivariate"])
    documents = [json.loads(line) for line in (mini_folder("mini/faq-ko") / "corpus.jsonl").open(encoding="utf-8")][:40]
    save_corpus(folder, [{**document, "_id": f"doc-{i}"} for i, document in enumerate(documents)])
    news = [{"_id": f"news-{i}", "text": document["text"], "year": 2020} for i, document in enumerate(documents[:5])]
    (folder / "news.jsonl").write_text(lines_of(news), encoding="utf-8")
    (folder / "korean.jsonl").write_text(
        lines_of([{**new, "_id": f"ko-{new['_id']}"} for new in news]), encoding="utf-8"
    )
    english = [
        {"_id": f"en-{i}", "text": text} for i, text in enumerate(("school begins at nine", "the bank is closed"))
    ]
    (folder / "english.jsonl").write_text(lines_of(english), encoding="utf-8")
    pairs = [{"query": document["title"], "positive": document["text"]} for document in documents]
    (folder / "pairs.jsonl").write_text(lines_of(pairs), encoding="utf-8")
    parallel = [f"a document of number {n}\t{document['text']}\n" for n, document in enumerate(documents)]
    (folder / "parallel.tsv").write_text("english\ttranslation\n" + "".join(parallel), encoding="utf-8")
    (folder / "article.txt").write_text(documents[0]["text"], encoding="utf-8")
    for name in ("my-dev-set", "korquad/ko"):
        save_collection(folder / name, documents)
    realistic(folder / "mini-grid")
    (folder / "reproduction").symlink_to(ROOT / "reproduction")
    (folder / "DATA").mkdir()
    return folder


def small_english_encoder() -> SparseEncoder:
    """The bundled vocabulary with a body of two layers: what an example does is shown by it as well, in a second."""
    encoder = tiny_encoder("BertForMaskedLM", load_tokenizer("mini/splade-en"))
    for bias in read_anatomy(encoder).decoder_biases():
        bias.data.fill_(-5.0)  # random rows fire in every second text
    return encoder


def lines_of(records: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def save_corpus(folder: Path, documents: list[dict[str, Any]]) -> None:
    """One corpus as corpus.jsonl, .jsonl.gz and .parquet."""
    text = lines_of(documents)
    (folder / "corpus.jsonl").write_text(text, encoding="utf-8")
    (folder / "corpus.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    pq.write_table(pa.Table.from_pylist(documents), folder / "corpus.parquet")


def save_collection(folder: Path, documents: list[dict[str, Any]]) -> None:
    """A BEIR folder with splits dev and test, in which every fifth title asks for its text."""
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text(lines_of([{"_id": d["_id"], "text": d["text"]} for d in documents]))
    (folder / "queries.jsonl").write_text(lines_of([{"_id": d["_id"], "text": d["title"]} for d in documents[::5]]))
    for split in ("dev", "test"):
        judged = "".join(f"{d['_id']}\t{d['_id']}\t1\n" for d in documents[::5])
        (folder / "qrels" / f"{split}.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")


def run(line: str) -> None:
    run_sembridge(shlex.split(line)[1:])


@pytest.mark.slow
@pytest.mark.parametrize("verb", RUN)
def test_the_examples_of_a_verb_run_one_after_the_other(
    verb: str, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in NEEDS.get(verb, ()):
        pytest.importorskip(package)
    for source in inputs.iterdir():
        if source.name not in MADE.get(verb, ()):
            (tmp_path / source.name).symlink_to(source)
    monkeypatch.chdir(tmp_path)
    for line in PREPARATION.get(verb, []):
        run(line)
    for example in EXAMPLES[verb]:
        if example.not_run is None:
            run(example.line)
    shutil.rmtree(tmp_path)  # encoders of a hundred megabytes
