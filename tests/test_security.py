"""What a file or a stranger must not reach: the network unless asked, a pickle, a path out of a folder, the demo."""

from __future__ import annotations

import ast
import http.client
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import sembridge
from house import PACKAGE
from processes import exit_code
from test_every_option import VERBS
from test_kill_anywhere import grid_file
from tiny import tiny_encoder, tiny_tokenizer

from sembridge.encoders.names import mini_folder
from sembridge.errors import SembridgeError

NETWORK = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")


def run_watched(report: Path, *commands: tuple[Any, ...]) -> None:
    """Runs commands of the program and writes down what of them touched the network."""
    touched: list[str] = []
    sys.addaudithook(lambda event, values: touched.append(f"{event} {values[1:]}") if event in NETWORK else None)
    for command in commands:
        done = sembridge(*command)
        assert done.code == 0, done.err
    report.write_text("\n".join(touched), encoding="utf-8")


def test_nothing_asks_the_network_about_local_models(
    specimens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where nobody said that the machine is offline."""
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    out, grid = tmp_path / "ko", grid_file(specimens, tmp_path / "place")
    commands = (
        ("inspect", specimens / "source", specimens / "target", "--bridge", specimens / "bridge"),
        ("transfer", specimens / "source", specimens / "target", out, "--bridge", specimens / "bridge"),
        ("explain", out, "학교"),
        ("evaluate", out, "--data", specimens / "data", "--measure", "nDCG@10"),
        ("index", out, specimens / "data", "--out", tmp_path / "index", "--engine", "exact"),
        ("search", tmp_path / "index", "학교"),
        ("encode", out, specimens / "data", "--out", tmp_path / "shards"),
        ("export", "lucene", out, specimens / "data", tmp_path / "lucene"),
        ("train", out, specimens / "pairs.jsonl", tmp_path / "tuned", "--steps", "1", "--batch-size", "2"),
        ("report", out, "--out", tmp_path / "report.html", "--data", specimens / "data"),
        ("reproduce", grid, "--out", tmp_path / "grid"),
        ("tokenizer", "mini/faq-ko", "--out", tmp_path / "cut", "--vocabulary-size", "1000"),
        ("bridge-vectors", "export", specimens / "bridge", specimens / "target", tmp_path / "vectors.parquet"),
        ("doctor",),
    )
    verbs = {words[0] for words in VERBS} - {"demo"}  # it is watched in a browser
    assert {command[0] for command in commands} == verbs
    assert exit_code(run_watched, tmp_path / "touched", *commands) == 0
    assert (tmp_path / "touched").read_text(encoding="utf-8") == ""


class Trap:
    """Unpickled, it makes a folder."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.place),)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors", "training_args.bin"])
@pytest.mark.parametrize("flags", [(), ("--allow-pickle",)], ids=["", "allowed"])
def test_no_file_of_a_model_runs_code(name: str, flags: tuple[str, ...], tmp_path: Path) -> None:
    """Not even where a pickle is allowed: torch reads weights from it and refuses all else."""
    folder, sprung = tmp_path / "model", tmp_path / "sprung"
    tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece")).save_pretrained(str(folder), create_model_card=False)
    if name != "training_args.bin":
        (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps({"weight": Trap(sprung)}))
    (tmp_path / "corpus.jsonl").write_text('{"_id": "d", "text": "home"}\n', encoding="utf-8")
    done = sembridge("encode", folder, tmp_path / "corpus.jsonl", "--out", tmp_path / "out", *flags)
    assert done.code == (0 if name == "training_args.bin" else 1)
    assert not sprung.exists()


def test_torch_files_are_read_as_weights_only() -> None:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("torch.load", "pickle.load", "pickle.loads"):
                stated = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                assert stated.get("weights_only") == "True", f"{path.name}:{node.lineno}"


@pytest.mark.parametrize("name", ["mini/../../pyproject.toml", "mini/..", "mini/", "mini//etc", "mini/splade-en/../.."])
def test_names_of_bundled_models_lead_nowhere_else(name: str) -> None:
    with pytest.raises(SembridgeError, match="Nothing is bundled under"):
        mini_folder(name)


def test_ids_are_no_paths(specimens: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text(
        '{"_id": "../../escaped", "text": "학교"}\n{"_id": "/tmp/x/y", "text": "дом"}\n', encoding="utf-8"
    )
    for command in (
        ("index", specimens / "ko", corpus, "--out", tmp_path / "a" / "index", "--engine", "exact"),
        ("encode", specimens / "ko", corpus, "--out", tmp_path / "a" / "shards"),
        ("export", "lucene", specimens / "ko", corpus, tmp_path / "a" / "lucene"),
        ("export", "seismic", specimens / "ko", corpus, tmp_path / "a" / "seismic"),
    ):
        done = sembridge(*command)
        assert done.code == 0, done.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "corpus.jsonl"]
    assert "../../escaped" in sembridge("search", tmp_path / "a" / "index", "학교").out


def test_the_demo_answers_to_its_own_name_and_pages_only() -> None:
    pytest.importorskip("gradio")
    from sembridge.cli.demo.server import serve

    with serve("ko", port=0) as server:
        assert server.url.startswith("http://127.0.0.1:")
        port = int(server.url.rstrip("/").rpartition(":")[2])
        own, by_name = f"127.0.0.1:{port}", f"localhost:{port}"

        def status(host: str, origin: str | None = None, method: str = "GET") -> int:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            headers = {"Host": host} | ({} if origin is None else {"Origin": origin})
            connection.request(method, "/config" if method == "GET" else "/gradio_api/queue/join", headers=headers)
            found = connection.getresponse().status
            connection.close()
            return found

        assert [status(host) for host in (own, by_name, "attacker.example", f"{own}.attacker.example")] == [
            200, 200, 400, 400,
        ]  # fmt: skip
        assert [status(host, f"http://{host}") for host in (own, by_name)] == [200, 200]
        foreign = ("http://attacker.example", "null", f"http://{own}.attacker.example", "http://127.0.0.1:1", "file://")
        for origin in foreign:
            assert (status(own, origin), status(own, origin, "POST")) == (403, 403), origin
        assert status(own, f"http://{own}", "POST") != 403
