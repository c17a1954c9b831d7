"""Laws of `sembridge.encoders.tokenizer_habits`: each habit is found, said with its consequence, refused or mended."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import tiny
from commands import sembridge
from tiny_bridge import save_tiny_bridge
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from sembridge.encoders.loading import load_bridge, load_encoder, load_tokenizer
from sembridge.encoders.tokenizer_habits import (
    Habit,
    add_special_tokens,
    refuse_failing_tokenizer,
    tokenizer_habits,
    warn_once,
)
from sembridge.encoders.transplant import check_target_tokenizer
from sembridge.encoders.vocabulary import read_vocabulary
from sembridge.errors import SembridgeError
from sembridge.language_transfer.assembly import transfer
from sembridge.language_transfer.recipe import TransferRecipe

WORDS = ["[PAD]", "[CLS]", "[SEP]", "학교", "는", "##는", "책", "a", "home"]


def tokenizer_of(model: models.Model, *, template: bool = True, **names: str | None) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    if template:
        tokenizer.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    roles = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"} | names
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **roles)


def ids(*more: str) -> dict[str, int]:
    return {word: id_ for id_, word in enumerate([*WORDS, *more])}


FAILING = {
    "WordPiece": lambda: models.WordPiece(ids(), unk_token="[UNK]"),
    "WordLevel": lambda: models.WordLevel(ids(), unk_token="[UNK]"),
    "BPE": lambda: models.BPE(ids(), [], unk_token="[UNK]"),
    "Unigram": lambda: models.Unigram([(word, -1.0) for word in WORDS], None),
}


@pytest.mark.parametrize("family", FAILING)
def test_tokenizer_without_its_unknown_token_is_refused_wherever_it_comes_from(tmp_path, family):
    tokenizer = tokenizer_of(FAILING[family]())
    encoder = tiny.tiny_encoder("BertForMaskedLM", tiny.tiny_tokenizer("wordpiece"))
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    for refuse in (
        lambda: refuse_failing_tokenizer(tokenizer),
        lambda: tokenizer_habits(tokenizer),
        lambda: load_tokenizer(tmp_path / "tokenizer"),
        lambda: check_target_tokenizer(encoder, tokenizer, n_target=len(WORDS)),
    ):
        with pytest.raises(SembridgeError, match="its vocabulary lacks the unknown token") as refused:
            refuse()
        assert "\n" not in str(refused.value)


def test_encoder_and_bridge_with_such_a_tokenizer_are_refused_before_any_text(tmp_path):
    encoder = tiny.tiny_encoder("BertForMaskedLM", tiny.tiny_tokenizer("wordpiece"))
    encoder.save_pretrained(str(tmp_path / "encoder"), create_model_card=False)
    save_tiny_bridge(tmp_path / "bridge")
    for load, folder in ((load_encoder, tmp_path / "encoder"), (load_bridge, tmp_path / "bridge")):
        (path,) = folder.rglob("tokenizer.json")
        content = json.loads(path.read_text())
        content["model"]["vocab"] = {f"{t}!" if t == "[UNK]" else t: i for t, i in content["model"]["vocab"].items()}
        content["added_tokens"] = [token for token in content["added_tokens"] if token["content"] != "[UNK]"]
        path.write_text(json.dumps(content))
        with pytest.raises(SembridgeError, match="lacks the unknown token"):
            load(folder)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_usual_tokenizers_have_no_habit_of_consequence(family):
    source = tiny.tiny_tokenizer(family)
    habits = tokenizer_habits(tiny.tiny_tokenizer(family, language="target"), source)
    assert [habit.name for habit in habits] == ["unknown text", "around a text", "word mark", "padding"]
    assert [habit.consequence for habit in habits] == [""] * 4
    expected = {
        "wordpiece": "becomes [UNK]",
        "bpe": "is cut into bytes or single characters",
        "unigram": "becomes <unk>",
    }
    assert habits[0].found == expected[family]


def habit(name: str, tokenizer: PreTrainedTokenizerBase, source: PreTrainedTokenizerBase | None = None) -> Habit:
    return next(habit for habit in tokenizer_habits(tokenizer, source) if habit.name == name)


def test_text_that_vanishes_is_said():
    found = habit("unknown text", tokenizer_of(models.BPE(ids(), [])))
    assert found.found == "is left out"
    assert "vanish" in found.consequence


def test_missing_padding_is_said():
    model = models.WordLevel(ids("[UNK]"), unk_token="[UNK]")
    found = habit("padding", tokenizer_of(model, pad_token=None, unk_token="[UNK]"))
    assert (found.found, "transfer refuses it" in found.consequence) == ("none", True)


def test_no_word_mark_is_said():
    assert "start of a word" in habit("word mark", tokenizer_of(models.WordLevel(ids("[UNK]"), "[UNK]"))).consequence


def normalizer_marked(*, with_decoder: bool) -> PreTrainedTokenizerFast:
    """As Llama and Gemma: the normalizer writes the mark, nothing cuts at spaces."""
    pieces = ["<pad>", "<s>", "</s>", "<unk>", "▁", "▁home", "home", "▁the▁home", "h", "o", "m", "e", "t", "a"]
    tokenizer = Tokenizer(models.Unigram([(piece, -1.0 - n / 10) for n, piece in enumerate(pieces)], unk_id=3))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    if with_decoder:
        tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse()])
    roles = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **roles)


@pytest.mark.parametrize("with_decoder", [True, False])
def test_word_mark_of_the_normalizer_is_read(with_decoder):
    tokenizer = normalizer_marked(with_decoder=with_decoder)
    vocabulary = read_vocabulary(tokenizer)
    assert (vocabulary.texts[5], vocabulary.texts[6], vocabulary.texts[7]) == ("home", "home", "the home")
    assert vocabulary.starts_word[[5, 6]].tolist() == [True, False]
    assert habit("word mark", tokenizer).found == "▁ before a word, written by the normalizer"


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_special_tokens_that_are_not_added_are_said_and_can_be_added(tmp_path, family):
    source = tiny.tiny_tokenizer("wordpiece")
    whole = tiny.tiny_tokenizer(family, language="target")
    bare = tiny.tiny_tokenizer(family, language="target")
    kept = processors.ByteLevel(trim_offsets=False) if family == "bpe" else None
    bare.backend_tokenizer.post_processor = kept or processors.Sequence([])
    found = habit("around a text", bare, source)
    assert (found.found, "[CLS] and [SEP]" in found.consequence) == ("nothing", True)
    assert "--add-special-tokens" in found.remedy
    mended = add_special_tokens(bare)
    for text in tiny.TARGET_TEXTS:
        assert mended(text)["input_ids"] == whole(text)["input_ids"]
        assert bare(text)["input_ids"] == whole(text, add_special_tokens=False)["input_ids"]
    assert habit("around a text", mended, source).consequence == ""
    assert add_special_tokens(mended) is mended


def test_only_what_is_lacking_is_added():
    model = models.WordLevel(ids("[UNK]"), unk_token="[UNK]")
    tokenizer = tokenizer_of(model, unk_token="[UNK]")
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A", None, [("[CLS]", 1)])
    assert add_special_tokens(tokenizer).convert_ids_to_tokens(add_special_tokens(tokenizer)("home")["input_ids"]) == [
        "[CLS]", "home", "[SEP]",
    ]  # fmt: skip


def test_tokens_that_have_no_name_cannot_be_added():
    model = models.WordLevel(ids("[UNK]"), unk_token="[UNK]")
    nameless = tokenizer_of(model, template=False, unk_token="[UNK]", cls_token=None, sep_token=None)
    with pytest.raises(SembridgeError, match="names no token for the start or the end"):
        add_special_tokens(nameless)
    assert "no such tokens" in habit("around a text", nameless, tiny.tiny_tokenizer("wordpiece")).remedy


def test_transfer_warns_once_and_adds_when_asked(tmp_path, caplog):
    warn_once.cache_clear()
    encoder = tiny.tiny_encoder("BertForMaskedLM", tiny.tiny_tokenizer("wordpiece"))
    target = tiny.tiny_tokenizer("wordpiece", language="target")
    target.backend_tokenizer.post_processor = processors.Sequence([])
    plain = {"method": "mean"}
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            transfer(encoder, target, None, recipe=TransferRecipe.build(plain))
    assert caplog.text.count("trained with [CLS] and [SEP] around every text") == 1
    moved = transfer(encoder, target, None, recipe=TransferRecipe.build(plain | {"add_special_tokens": True}))
    folder = moved.save(tmp_path / "moved")
    tokens = load_encoder(folder).tokenizer("학교")["input_ids"]
    assert load_encoder(folder).tokenizer.convert_ids_to_tokens(tokens) == ["[CLS]", "학교", "[SEP]"]
    assert "add_special_tokens: true" in (folder / "recipe.yaml").read_text()


def test_inspect_shows_the_habits(tmp_path: Path):
    encoder = tiny.tiny_encoder("BertForMaskedLM", tiny.tiny_tokenizer("wordpiece"))
    encoder.save_pretrained(str(tmp_path / "source"), create_model_card=False)
    tokenizer = tiny.tiny_tokenizer("wordpiece", language="target")
    tokenizer.backend_tokenizer.post_processor = processors.Sequence([])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer, **tokenizer.special_tokens_map
    ).save_pretrained(tmp_path / "bare")
    out = sembridge("inspect", tmp_path / "source", tmp_path / "bare").out
    assert "; around a text nothing; word mark ## before what continues a word; padding [PAD]" in out
    assert "trained with [CLS] and [SEP]" in out


@pytest.mark.parametrize("role", ["unk_token", "mask_token"])
def test_an_empty_text_as_a_special_token_is_refused(tmp_path: Path, role: str) -> None:
    """transformers would look for its id without an end."""
    tiny.tiny_tokenizer("bpe").save_pretrained(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {role: ""}))
    with pytest.raises(SembridgeError, match=f"has an empty text as its {role}; name a token"):
        load_tokenizer(tmp_path)
