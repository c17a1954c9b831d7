"""The bundled models and data: small enough, complete, stock, and as good as the README says."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sembridge import evaluate, load_bridge, load_encoder, load_retrieval_data, load_tokenizer
from sembridge.encoders.names import mini_folder
from sembridge.language_transfer.bridge import embed_texts
from sembridge.retrieval.data import RetrievalData

MINI = mini_folder("mini/splade-en").parent
LANGUAGES = ("ar", "zh", "hi", "ko", "ru")
TOKENIZERS = [*(f"tokenizer-{language}" for language in LANGUAGES), "tokenizer-ko-bpe", "tokenizer-ko-unigram"]
ENCODERS = ["splade-en", "splade-roberta-en"]
MODELS = [*ENCODERS, "bridge", *TOKENIZERS, *(f"faq-{language}" for language in ("en", *LANGUAGES))]
# Everyday words with their translations; most of the English words must be among the five nearest.
WORDS = {
    "ko": {"학교": "school", "의사": "doctor", "물": "water", "여행": "travel", "대통령": "president"},
    "ru": {"школа": "school", "врач": "doctor", "вода": "water", "город": "city", "президент": "president"},
    "zh": {"学校": "school", "医生": "doctor", "水": "water", "城市": "city", "总统": "president"},
    "ar": {"مدرسة": "school", "طبيب": "doctor", "ماء": "water", "مدينة": "city", "رئيس": "president"},
    "hi": {"विद्यालय": "school", "डॉक्टर": "doctor", "पानी": "water", "शहर": "city", "राष्ट्रपति": "president"},
}


def test_all_models_together_stay_below_60_mb() -> None:
    assert sum(path.stat().st_size for path in MINI.rglob("*") if path.is_file()) < 60e6


@pytest.mark.parametrize("name", MODELS)
def test_every_model_states_its_licence(name: str) -> None:
    card = (MINI / name / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\n")
    assert "\nlicense:" in card.split("---")[1]


@pytest.fixture(scope="module")
def faq() -> dict[str, RetrievalData]:
    return {language: load_retrieval_data(f"mini/faq-{language}") for language in ("en", *LANGUAGES)}


def test_the_faq_is_parallel_in_six_languages(faq: dict[str, RetrievalData]) -> None:
    english = faq["en"]
    assert len(english.corpus) >= 150
    for data in faq.values():
        assert list(data.corpus) == list(english.corpus)
        assert data.qrels == english.qrels
        assert len(set(data.queries.values())) == len(data.queries)


def test_dev_and_test_questions_are_disjoint() -> None:
    dev, test = (load_retrieval_data("mini/faq-ko", split=split) for split in ("dev", "test"))
    assert not dev.queries.keys() & test.queries.keys()
    assert len(dev.queries) + len(test.queries) == 320


@pytest.mark.parametrize("name", TOKENIZERS)
def test_tokenizers_know_the_faq_of_their_language(name: str, faq: dict[str, RetrievalData]) -> None:
    tokenizer = load_tokenizer(f"mini/{name}")
    texts = list(faq[name.split("-")[1]].corpus.values())
    ids = [i for encoding in tokenizer(texts, add_special_tokens=False)["input_ids"] for i in encoding]
    assert ids.count(tokenizer.unk_token_id) / len(ids) < 0.005
    assert {"[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]"} <= set(tokenizer.all_special_tokens)


@pytest.mark.parametrize(
    ("name", "least", "query_dims"), [("splade-en", 0.62, 40), ("splade-roberta-en", 0.55, 50)]
)  # BM25: 0.52
def test_the_english_encoders_are_good_and_sparse(
    faq: dict[str, RetrievalData], name: str, least: float, query_dims: int
) -> None:
    result = evaluate(load_encoder(f"mini/{name}"), faq["en"], measures=["nDCG@10"], encode_with="fast")
    assert result.measures["nDCG@10"] > least
    assert result.document_active_dims is not None
    assert result.document_active_dims <= 200
    assert result.query_active_dims is not None
    assert result.query_active_dims <= query_dims


@pytest.mark.shared
def test_the_english_encoder_meets_its_goal_on_xquad(shared: Path) -> None:
    data = load_retrieval_data(shared / "data" / "xquad" / "en").sample(150, 600)
    result = evaluate(load_encoder("mini/splade-en"), data, measures=["nDCG@10"], encode_with="fast")
    assert result.measures["nDCG@10"] > 0.88
    assert result.document_active_dims is not None
    assert result.document_active_dims <= 200


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_bridge_translates_everyday_words(language: str) -> None:
    bridge = load_bridge("mini/bridge")
    tokens = load_tokenizer("mini/splade-en").get_vocab()
    candidates = sorted(token for token in tokens if token.isalpha() and len(token) > 2)
    similarity = embed_texts(bridge, list(WORDS[language])) @ embed_texts(bridge, candidates).T
    nearest = np.argsort(-similarity, axis=1)[:, :5]
    found = [
        english in {candidates[j] for j in row} for english, row in zip(WORDS[language].values(), nearest, strict=True)
    ]
    expected = 2 if language == "ar" else 4  # the smallest dictionary, and words of several pieces
    assert sum(found) >= expected, dict(zip(WORDS[language], found, strict=True))


STOCK = """
import json, sys
sys.modules["sembridge"] = None  # an import of it would fail
from sentence_transformers import SentenceTransformer, SparseEncoder
splade, bridge = sys.argv[1:]
vector = SparseEncoder(splade, device="cpu").encode_document(["A school in the city"])
dense = SentenceTransformer(bridge, device="cpu").encode(["A school in the city"])
found = {"dims": vector.shape[1], "active": vector._nnz(), "dtype": str(vector.dtype), "width": dense.shape[1]}
print(json.dumps(found))
"""


def test_bundled_models_are_stock_folders() -> None:
    folders = [str(mini_folder("mini/splade-en")), str(mini_folder("mini/bridge"))]
    output = subprocess.run([sys.executable, "-c", STOCK, *folders], capture_output=True, text=True, check=True).stdout
    found = json.loads(output.splitlines()[-1])
    assert found["dims"] == len(load_tokenizer("mini/splade-en"))
    assert 0 < found["active"] <= 200
    assert found["dtype"] == "torch.float32"  # kept in half precision on the disk only
