"""A run goes on as the run it was: other data, settings, encoder or teacher are refused, each by its name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny import WORDS, tiny_encoder, tiny_tokenizer
from tiny_bridge import TinyBridge

from sembridge.encoders.fingerprint import weights_fingerprint
from sembridge.errors import SembridgeError
from sembridge.files.digests import file_digest
from sembridge.retrieval.data import RetrievalData
from sembridge.training.checkpoints import RUN_FILE, checkpoint_folder, forget_finished
from sembridge.training.data import TrainingData, pairs_data
from sembridge.training.recipe import TrainRecipe
from sembridge.training.resumption import Named, TrainingRun, teacher_of

WORD_LIST = WORDS["en"][:12]
RECIPE = TrainRecipe.build({"steps": 2, "batch_size": 4, "learning_rate": 1e-4, "bf16": "no", "eval_steps": 1})


def pairs(name: str = "toy", ending: str = "home") -> TrainingData:
    return pairs_data(name, WORD_LIST, [f"{word} {ending}" for word in WORD_LIST])


def dev(text: str = "home") -> RetrievalData:
    return RetrievalData("dev", None, {"d": text}, {"q": "tree"}, {"q": {"d": 1}})


def run_of(**changes: Any) -> TrainingRun:
    seed, data = changes.pop("seed", 0), changes.pop("data", pairs())
    encoder = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"), seed=seed)
    settings = {"start": "source", "dev": dev(), "teacher": None, **changes}
    return TrainingRun.of(encoder, data, settings.pop("recipe", RECIPE), **settings)


def other_relevant() -> TrainingData:
    data = pairs()
    return replace(data, relevant={**data.relevant, WORD_LIST[0]: frozenset({"another"})})


def other_negatives() -> TrainingData:
    return replace(pairs(), negatives=[["night"]] * len(WORD_LIST))


CHANGES: list[tuple[str, dict[str, Any], list[str]]] = [
    ("data of another name", {"data": pairs("b", "tree")}, ["data toy, now b"]),
    ("data of the same name", {"data": pairs("toy", "tree")}, ["data toy, whose content differs"]),
    ("other judgments", {"data": other_relevant()}, ["data toy, whose content differs"]),
    ("other negatives", {"data": other_negatives()}, ["data toy, whose content differs"]),
    ("weights", {"seed": 1}, ["encoder source, whose content differs"]),
    ("dev data", {"dev": dev("school")}, ["dev dev, whose content differs"]),
    ("no dev data", {"dev": None}, ["dev dev, now none"]),
    ("a teacher", {"teacher": teacher_of(TinyBridge(), None)}, ["teacher none, now"]),
    ("a source to align to", {"teacher": Named("mini/splade-en", "0" * 32)}, ["teacher none, now mini/splade-en"]),
    (
        "settings",
        {"recipe": TrainRecipe.build({**RECIPE.settings(), "learning_rate": 1e-6, "max_length": 16})},
        ["learning_rate 0.0001, now 1e-06", "max_length None, now 16"],
    ),
]


@pytest.mark.parametrize(("changes", "told"), [case[1:] for case in CHANGES], ids=[case[0] for case in CHANGES])
def test_another_run_is_refused_and_everything_that_differs_is_said(
    tmp_path: Path, changes: dict[str, Any], told: list[str]
) -> None:
    run_of().write(tmp_path)
    run_of().check_continues(tmp_path)
    with pytest.raises(SembridgeError, match="holds another training: ") as refused:
        run_of(**changes).check_continues(tmp_path)
    assert all(part in str(refused.value) for part in told)
    assert str(refused.value).count(";") == len(told) - 1
    assert "start again without --resume" in str(refused.value)


@pytest.mark.parametrize("content", [None, "", "{}", "[]", '{"encoder": 5, "data": 5, "dev": 5, "teacher": 5}'])
def test_checkpoints_that_do_not_say_whose_they_are_are_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / RUN_FILE).write_text(content)
    with pytest.raises(SembridgeError, match="does not say which training"):
        run_of().check_continues(tmp_path)


def test_a_training_is_resumed_as_itself_only(tmp_path: Path) -> None:
    """Interrupted after its first checkpoint, refused with other data, and finished with its own."""
    pytest.importorskip("datasets")
    from sembridge.training.checkpoints import has_checkpoint
    from sembridge.training.fine_tuning import train
    from sembridge.training.trainer import RunOptions

    class Stop(Exception):
        pass

    def stopping() -> Any:
        """An encoder that is interrupted in the step after the first checkpoint."""
        made = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"))

        def look(*_: object) -> None:
            if has_checkpoint(tmp_path / "out"):
                raise Stop

        made[1].register_forward_hook(look)
        return made

    long = TrainRecipe.build({**RECIPE.settings(), "steps": 4})
    with pytest.raises(Stop):
        train(stopping(), pairs(), tmp_path / "out", recipe=long)
    fresh = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"))
    with pytest.raises(SembridgeError, match="data toy, whose content differs"):
        train(fresh, pairs(ending="tree"), tmp_path / "out", recipe=long, run=RunOptions(resume=True))
    start = weights_fingerprint(fresh)
    assert train(fresh, pairs(), tmp_path / "out", recipe=long, run=RunOptions(resume=True)).steps == 4
    written = json.loads((tmp_path / "out" / "training.json").read_text())
    assert (written["data"], written["start_fingerprint"]) == ("toy", start)
    assert start != weights_fingerprint(fresh), "the encoder that training changed is not what it began from"


def test_checkpoints_of_which_none_is_complete_are_no_training_to_resume(tmp_path: Path) -> None:
    """Of a training that was killed while it wrote its first one: it starts anew, and nobody has to delete anything."""
    left = tmp_path / "out.checkpoints" / "checkpoint-1"
    left.mkdir(parents=True)
    (left / "trainer_state.json").write_text('{"epoch": ')
    with pytest.raises(SembridgeError, match="start without --resume"):
        checkpoint_folder(tmp_path / "out", resume=True)
    assert checkpoint_folder(tmp_path / "out", resume=False) == tmp_path / "out.checkpoints"
    assert list(tmp_path.iterdir()) == []


def test_checkpoints_of_a_finished_training_are_taken_away_and_no_others(tmp_path: Path) -> None:
    out, checkpoints = tmp_path / "out", tmp_path / "out.checkpoints"
    for folder in (out, checkpoints):
        folder.mkdir()
    run_of().write(checkpoints)
    for result in ("{", "[]", "{}", '{"run": null}', '{"run": "of another training"}'):
        (out / "training.json").write_text(result)
        forget_finished(out)
        assert (checkpoints / RUN_FILE).is_file()
    (out / "training.json").write_text(json.dumps({"run": file_digest(checkpoints / RUN_FILE)}))
    forget_finished(out)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    forget_finished(tmp_path / "nothing" / "here")
