"""`sembridge encode` writes shards, goes on, and refuses in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import sembridge

from sembridge.deployment.shards import read_shards, read_shards_manifest
from sembridge.retrieval.sources import load_retrieval_data

FAQ = ("mini/splade-en", "mini/faq-en", "--encode-with", "fast", "--shard-size", 60)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encode") / "shards"
    for number in (1, 2):
        done = sembridge("encode", *FAQ, "--out", folder, "--shard", f"{number}/2")
        assert done.code == 0, done.err
    return folder


def test_two_shares_are_the_whole_corpus(shards: Path) -> None:
    ids = [document_id for block, _ in read_shards(shards) for document_id in block]
    assert ids == list(load_retrieval_data("mini/faq-en").corpus)
    assert read_shards_manifest(shards).settings == {"encode_with": "fast", "batch_size": 32, "shard_size": 60}


def test_a_second_run_says_that_nothing_is_left(shards: Path) -> None:
    done = sembridge("encode", *FAQ, "--out", shards, "--shard", "2/2")
    assert done.code == 0
    assert "60 documents were encoded before" in done.out
    assert "0 documents encoded in" in done.out
    again = json.loads(sembridge("encode", *FAQ, "--out", shards, "--shard", "1/2", "--json").out)
    assert (again["n_documents"], again["n_encoded"], again["share"]) == (100, 0, "1/2")


def test_other_settings_are_refused_in_one_line(shards: Path) -> None:
    done = sembridge("encode", *FAQ, "--out", shards, "--max-active-dims", 5)
    assert done.code == 1
    assert "holds shards of another settings" in done.line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--shard", "3/2"), "expected i/n"),
        (("--encode-with", "slow"), "encode_with: Input should be 'auto', 'stock', 'fast' or 'fast-bf16'"),
        (("--shard-size", "0"), "shard_size: Input should be greater than or equal to 1"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = sembridge("encode", "mini/splade-en", "mini/faq-en", "--out", tmp_path / "out", *arguments)
    assert done.code == 1
    assert message in done.line
    assert not (tmp_path / "out").exists()


def test_a_recipe_file_gives_the_settings_and_flags_go_over_it(tmp_path: Path) -> None:
    (tmp_path / "encode.yaml").write_text("encode_with: fast\nshard_size: 500\nmax_active_dims: 9\n")
    options = ("--recipe", tmp_path / "encode.yaml", "--max-active-dims", 7, "--out", tmp_path / "out")
    done = sembridge("encode", "mini/splade-en", "mini/faq-en", *options)
    assert done.code == 0, done.err
    ((_, vectors),) = read_shards(tmp_path / "out")
    assert max(vectors.indptr[1:] - vectors.indptr[:-1]) == 7
