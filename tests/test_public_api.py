"""The public names: what they are, that each can be imported, and that importing the package is cheap."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys

import pytest
from project import ROOT, markdown_files

import sembridge

PACKAGE = ROOT / "src" / "sembridge"
VERBS = {
    "train_tokenizer",
    "transfer", "inspect", "explain", "train", "tune", "evaluate", "compare", "encode", "index", "search", "export",
    "report",
}  # fmt: skip
PUBLIC = VERBS | {
    "load_encoder", "load_tokenizer", "load_bridge", "load_retrieval_data", "load_training_data", "load_tuning_data",
    "RetrievalData", "TrainingData", "Bridge",
    "TrainedTokenizer", "TokenizerRecipe",
    "TransferRecipe", "TrainRecipe", "EncodeRecipe", "IndexRecipe", "EvaluationSettings", "ReportSettings",
    "RunOptions",
    "LanguageTransfer", "Origin", "Alignment", "Inspection", "Explanation", "Explainer", "Training", "Tuning",
    "Evaluation", "DataReport", "EncodingReport", "IndexReport", "SearchIndex", "Hit",
    "SembridgeError", "MissingExtraError",
}  # fmt: skip
# A verb's function has a longer name where the module says more than the verb.
LONGER = {"compare": "compare_systems", "encode": "encode_shards", "index": "index_corpus", "report": "write_report"}
HEAVY = ("torch", "sentence_transformers", "transformers", "numpy", "huggingface_hub")


def test_public_names_are_exactly_these() -> None:
    assert set(sembridge.__all__) == PUBLIC
    assert sembridge.__all__ == sorted(sembridge.__all__)
    assert dir(sembridge) == sembridge.__all__


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_a_public_name_can_be_imported_and_says_what_it_is(name: str) -> None:
    value = getattr(sembridge, name)
    assert value.__name__ == LONGER.get(name, name)
    assert value.__module__.startswith("sembridge.")
    assert inspect.getdoc(value)


def test_editors_see_the_names_that_are_imported_lazily() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    seen = {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    lazily = {name: f"sembridge.{home}" for name, home in sembridge._HOME.items()}
    assert {name: home for name, home in seen.items() if home.startswith("sembridge.")} == lazily
    assert (PACKAGE / "py.typed").exists()


def test_documents_use_public_names_only() -> None:
    documents = [path.read_text(encoding="utf-8") for path in markdown_files()]
    statements = [found for text in documents for found in re.findall(r"from sembridge import (.+)", text)]
    assert statements
    assert {name.strip(" ()") for statement in statements for name in statement.split(",")} - {""} <= PUBLIC


def test_every_verb_of_the_command_line_that_gives_something_is_a_function() -> None:
    from sembridge.cli.verbs import _VERBS

    assert set(_VERBS) - VERBS == {"bridge-vectors", "demo", "doctor", "reproduce", "tokenizer"}
    # `transfer --tune`, `evaluate` of several encoders, and `tokenizer`
    assert VERBS - set(_VERBS) == {"tune", "compare", "train_tokenizer"}


def test_no_name_hides_a_package() -> None:
    assert PUBLIC.isdisjoint(path.stem for path in PACKAGE.iterdir())


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'sembridge' has no attribute 'train_everything'"):
        _ = sembridge.train_everything


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = f"import sys, sembridge; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
