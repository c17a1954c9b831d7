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
PUBLIC = {
    "transfer", "LanguageTransfer", "Origin", "TransferRecipe",
    "load_encoder", "load_tokenizer", "load_bridge", "load_retrieval_data", "RetrievalData",
    "evaluate", "evaluate_bm25", "Evaluation",
    "Alignment", "Explainer",
    "Bridge", "embed_texts",
    "Vocabulary", "read_vocabulary", "match_vocabularies",
    "sparse_weights", "SparseWeights", "Entmax", "TopKSoftmax",
    "SembridgeError", "MissingExtraError",
}  # fmt: skip
HEAVY = ("torch", "sentence_transformers", "transformers", "numpy", "huggingface_hub")


def test_public_names_are_exactly_these() -> None:
    assert set(sembridge.__all__) == PUBLIC
    assert sembridge.__all__ == sorted(sembridge.__all__)
    assert dir(sembridge) == sembridge.__all__


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_a_public_name_can_be_imported_and_says_what_it_is(name: str) -> None:
    value = getattr(sembridge, name)
    assert value.__name__ == name
    assert value.__module__.startswith("sembridge.")
    assert inspect.getdoc(value)


def test_editors_see_the_names_that_are_imported_lazily() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    seen = {
        alias.name: node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    lazily = {name: f"sembridge.{module}" for name, module in sembridge._HOME.items()}
    assert {name: module for name, module in seen.items() if str(module).startswith("sembridge.")} == lazily
    assert (PACKAGE / "py.typed").exists()


def test_documents_use_public_names_only() -> None:
    documents = [path.read_text(encoding="utf-8") for path in markdown_files()]
    statements = [found for text in documents for found in re.findall(r"from sembridge import (.+)", text)]
    assert statements
    assert {name.strip(" ()") for statement in statements for name in statement.split(",")} - {""} <= PUBLIC


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'sembridge' has no attribute 'train_everything'"):
        _ = sembridge.train_everything


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = f"import sys, sembridge; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
