"""Laws of tuning: never worse than its start on the tuning data, fixed settings stay, the test split is never read."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest
from bundle import small_bundle_installed
from commands import sembridge
from tiny import tiny_encoder, tiny_tokenizer
from tiny_bridge import TinyBridge, save_tiny_bridge

import sembridge.experiments.tuning as tuning
from sembridge import load_bridge, load_encoder, load_tokenizer
from sembridge.errors import SembridgeError
from sembridge.experiments.tuning import MAX_TRANSFERS, VARIED, Tuning, load_tuning_data, tune
from sembridge.language_transfer.recipe import PRESETS, TransferRecipe
from sembridge.retrieval.data import RetrievalData

WORDS = (
    "학교",
    "집",
    "강",
    "나무",
    "책",
    "도시",
    "선생님",
    "школа",
    "дом",
    "река",
    "книга",
    "город",
    "учитель",
    "seoul",
)
UNCALIBRATED = {"match_activity": False, "firing_cap": 1.0}


def collection(words: tuple[str, ...] = WORDS) -> RetrievalData:
    """A document of three words for every word, and a query of the first and the last of them."""
    texts = {f"d{n}": (word, words[n - 1], words[n - 2]) for n, word in enumerate(words)}
    return RetrievalData(
        name="words",
        language=None,
        corpus={name: " ".join(text) for name, text in texts.items()},
        queries={f"q{n}": f"{word} {words[n - 2]}" for n, word in enumerate(words)},
        qrels={f"q{n}": {f"d{n}": 1} for n in range(len(words))},
        split="dev",
    )


@functools.cache
def tuned(fixed: tuple[str, ...] = (), **settings: object) -> Tuning:
    encoder, tokenizer = tiny_models()
    return tune(encoder, tokenizer, TinyBridge(), collection(), recipe=TransferRecipe.build(settings), fixed=fixed)


@functools.cache
def tiny_models():  # type: ignore[no-untyped-def]
    return tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece")), tiny_tokenizer("unigram", language="target")


def save_folder(folder: Path, splits: dict[str, str]) -> Path:
    """A BEIR folder of `collection()` with its first queries judged in each split, as many as there are letters."""
    data = collection()
    (folder / "qrels").mkdir(parents=True)
    for name, texts in (("corpus", data.corpus), ("queries", data.queries)):
        lines = (json.dumps({"_id": key, "text": text}) for key, text in texts.items())
        (folder / f"{name}.jsonl").write_text("".join(f"{line}\n" for line in lines))
    for split, content in splits.items():
        (folder / "qrels" / f"{split}.tsv").write_text(content)
    return folder


JUDGED = "".join(f"q{n}\td{n}\t1\n" for n in range(len(WORDS)))


# --- the search ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_the_chosen_settings_find_no_less_than_the_start_and_than_any_other(preset: str) -> None:
    found = tuned(preset=preset)
    start = found.candidates[0]
    assert start.recipe == TransferRecipe.build({"preset": preset})
    assert (start.step, start.changes, start.p) == ({}, {}, None)
    assert found.best.value == max(candidate.value for candidate in found.candidates) >= start.value
    assert found.recipe == found.best.recipe == TransferRecipe.build({"preset": preset, **found.best.changes})


def test_every_candidate_is_another_and_differs_in_one_setting_from_the_best_before_it() -> None:
    found = tuned()
    groups = [{"match_activity", "firing_cap"}, {"evidence", "residual"}, {"alpha"}, {"min_similarity"}]
    assert 2 < len(found.candidates) <= MAX_TRANSFERS
    for number, candidate in enumerate(found.candidates[1:], start=1):
        earlier = found.candidates[:number]
        assert all(candidate.recipe != other.recipe for other in earlier)
        assert any(set(candidate.step) <= group for group in groups)
        assert any(candidate.recipe == changed(other.recipe, candidate.step) for other in earlier if other.is_new_best)
        assert candidate.is_new_best == (tuning._best(found.candidates[: number + 1]) is candidate)
    assert {name for candidate in found.candidates for name in candidate.changes} <= set(VARIED)


def changed(recipe: TransferRecipe, step: dict[str, object]) -> TransferRecipe:
    return TransferRecipe.build({**recipe.settings(), **step})


def test_what_is_tried_is_measured_as_an_encoder_of_these_settings_is() -> None:
    from sembridge import evaluate, transfer

    encoder, tokenizer = tiny_models()
    found = tuned()
    again = transfer(encoder, tokenizer, TinyBridge(), recipe=found.recipe)
    measured = evaluate(again.encoder, collection(), measures=["nDCG@10"], encode_with="fast")
    assert measured.per_query["nDCG@10"] == found.best.per_query
    assert (measured.flops, measured.query_active_dims) == (found.best.flops, found.best.query_active_dims)


def test_the_same_inputs_give_the_same_table() -> None:
    one = tuned(alpha=3.0)
    tuned.cache_clear()
    assert json.dumps(tuned(alpha=3.0).to_dict()) == json.dumps(one.to_dict())


def test_fixed_settings_stay_fixed() -> None:
    found = tuned(fixed=("residual", "match_activity"), residual=0.2, match_activity=False)
    assert {candidate.recipe.residual for candidate in found.candidates} == {0.2}
    assert not any(candidate.recipe.match_activity for candidate in found.candidates)
    assert len({candidate.recipe.alpha for candidate in found.candidates}) > 1


def test_of_equal_candidates_the_one_with_the_lower_flops_wins_then_the_earlier() -> None:
    a, *others = tuned().candidates
    equal = [tuning.replace(a, value=0.5, flops=flops) for flops in (2.0, 1.0, 1.0, 3.0)]
    assert tuning._best(equal) is equal[1]
    assert tuning._best([*equal, tuning.replace(a, value=0.6, flops=9.0)]).value == 0.6
    assert others


def test_p_values_are_those_of_the_test_against_the_start() -> None:
    from sembridge.retrieval.significance import compare

    start, *others = tuned().candidates
    for candidate in others:
        found = compare({"m": start.per_query}, {"m": candidate.per_query})["m"]
        assert candidate.p == found.p_permutation
        assert candidate.p_holm is not None
        assert candidate.p_holm >= candidate.p


def test_the_verdict_says_when_a_gain_is_within_chance() -> None:
    a = tuned().candidates[0]
    better = tuning.replace(a, value=a.value + 0.1, changes={"alpha": 3.0}, p=0.2, p_holm=0.4)
    verdict = tuning.replace(tuned(), candidates=(a, better), best=better).verdict
    assert "alpha 3, +0.100" in verdict
    assert "within chance" in verdict
    assert "best of 2" in verdict
    sure = tuning.replace(better, p_holm=0.01)
    assert "within chance" not in tuning.replace(tuned(), candidates=(a, sure), best=sure).verdict
    assert "nothing that was tried" in tuning.replace(tuned(), candidates=(a, better), best=a).verdict


def test_softmax_has_no_alpha_to_vary() -> None:
    found = tuned(fixed=("match_activity", "firing_cap"), weighting="softmax-topk")
    assert {candidate.recipe.alpha for candidate in found.candidates} == {PRESETS["default"]["alpha"]}


@pytest.mark.parametrize(
    ("settings", "fixed", "expected"),
    [
        ({"method": "random"}, (), "Method random has no settings to tune"),
        ({}, VARIED, "All settings that tuning varies are fixed"),
        ({}, ("alhpa",), "alhpa is no setting"),
    ],
)  # fmt: skip
def test_what_cannot_be_tuned_is_refused(settings: dict[str, object], fixed: tuple[str, ...], expected: str) -> None:
    with pytest.raises(SembridgeError, match=expected):
        tuned(fixed=fixed, **settings)


def test_real_models_are_tuned_on_their_dev_split() -> None:
    with small_bundle_installed():
        models = load_encoder("mini/splade-en"), load_tokenizer("mini/tokenizer-ko"), load_bridge("mini/bridge")
    data = load_tuning_data("mini/faq-ko").sample(12, 30)
    recipe = TransferRecipe.build(UNCALIBRATED)
    found = tune(*models, data, recipe=recipe, fixed=set(VARIED) - {"min_similarity"})
    start, other = found.candidates
    assert start.recipe.min_similarity == 0
    assert 0.3 < other.recipe.min_similarity < 1  # a quarter of the similarities lies below
    assert found.best.value >= start.value > 0.3
    assert start.flops != other.flops


# --- the data ------------------------------------------------------------------------------------------------------


def test_the_dev_split_is_read_and_else_the_train_split(tmp_path: Path) -> None:
    splits = {"test": JUDGED, "train": "q0\td0\t1\n", "dev": "q1\td1\t1\nq2\td2\t1\n"}
    dev = load_tuning_data(str(save_folder(tmp_path / "all", splits)))
    assert (dev.split, list(dev.queries)) == ("dev", ["q1", "q2"])
    train = load_tuning_data(str(save_folder(tmp_path / "train", {"test": JUDGED, "train": "q0\td0\t1\n"})))
    assert (train.split, list(train.queries)) == ("train", ["q0"])
    assert load_tuning_data("mini/faq-ko").split == "dev"


def test_the_test_split_is_refused_in_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SembridgeError) as refused:
        load_tuning_data(str(save_folder(tmp_path / "only", {"test": JUDGED, "test2": JUDGED})))
    line = str(refused.value)
    assert "splits: test, test2" in line
    assert "never tuned on" in line
    assert "qrels/dev.tsv" in line
    assert "corpus:PLACE" in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("splits", "expected"),
    [({"dev": ""}, "dev.tsv is empty"), ({"dev": "q0\td0\t0\n"}, "no relevant document"), ({}, "splits: none")],
)
def test_a_dev_split_without_a_relevant_document_is_refused(
    tmp_path: Path, splits: dict[str, str], expected: str
) -> None:
    with pytest.raises(SembridgeError, match=expected):
        load_tuning_data(str(save_folder(tmp_path / "empty", splits)))


@pytest.mark.parametrize("name", ["mteb:NFCorpus", "hub:me/pairs"])
def test_other_places_are_refused_with_those_that_serve(name: str) -> None:
    with pytest.raises(SembridgeError, match="BEIR folder with a dev or train split"):
        load_tuning_data(name)


def test_large_data_are_sampled_with_their_relevant_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_folder(tmp_path / "data", {"dev": JUDGED + "q0\td1\t1\n"})
    monkeypatch.setattr(tuning, "MAX_QUERIES", 5)
    monkeypatch.setattr(tuning, "MAX_DOCUMENTS", 8)
    data = load_tuning_data(str(folder))
    assert (len(data.queries), len(data.corpus)) == (5, 8)
    assert all(judged.keys() <= data.corpus.keys() for judged in data.qrels.values())
    assert data == load_tuning_data(str(folder))
    assert data.queries != load_tuning_data(str(folder), seed=1).queries
    monkeypatch.setattr(tuning, "MAX_DOCUMENTS", 2)
    assert len(load_tuning_data(str(folder)).corpus) >= 5  # relevant documents are never cut


def test_text_without_labels_gives_queries_of_its_titles_and_sentences(tmp_path: Path) -> None:
    place = tmp_path / "passages.jsonl"
    records = [{"_id": str(n), "title": f"Title {n % 4}", "text": f"This is passage {n}."} for n in range(8)]
    place.write_text("".join(json.dumps(record) + "\n" for record in records))
    data = load_tuning_data(f"corpus:{place}")
    assert sorted(data.queries.values()) == [f"Title {n}" for n in range(4)]
    assert data.split is None
    for query, judged in data.qrels.items():
        number = int(data.queries[query][-1])
        assert sorted(data.corpus[document] for document in judged) == [
            f"This is passage {n}." for n in (number, number + 4)
        ]
    text = tmp_path / "passages.txt"
    text.write_text("".join(f"Here is a sentence {n}. And here is another one, number {n}.\n" for n in range(5)))
    assert len(load_tuning_data(f"corpus:{text}").queries) == 5


# --- the command ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    encoder, tokenizer = tiny_models()
    encoder.save_pretrained(str(root / "source"), create_model_card=False)
    tokenizer.save_pretrained(root / "target")
    save_tiny_bridge(root / "bridge")
    save_folder(root / "data", {"dev": JUDGED, "test": JUDGED})
    save_folder(root / "test-only", {"test": JUDGED})
    return root


def tuned_transfer(models: Path, out: Path, data: str, *more: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a transfer that is tuned on `data`."""
    words = ["transfer", models / "source", models / "target", out, "--bridge", models / "bridge"]
    done = sembridge(*words, "--cache", models / "cache", "--tune", models / data, *more)
    return done.code, done.out, done.err


def test_a_tuned_transfer_is_one_with_the_chosen_settings_and_says_what_it_was_tuned_on(
    models: Path, tmp_path: Path
) -> None:
    code, out, err = tuned_transfer(models, tmp_path / "tuned", "data", "--alpha", 4, "--json")
    assert code == 0, err
    table = json.loads((tmp_path / "tuned" / "tuning.json").read_text())
    found = json.loads(out)
    assert found["tuning"] == table
    chosen = table["candidates"][table["chosen"]]
    recipe = TransferRecipe.read(tmp_path / "tuned" / "recipe.yaml")
    assert recipe.settings() == found["recipe"] == {**table["start"], **chosen["settings"]}
    assert recipe.alpha == 4
    assert all("alpha" not in candidate["settings"] for candidate in table["candidates"])
    assert found["tuned_on"].endswith("/data, split dev: 14 queries, 14 documents")
    assert f"| settings chosen on | {found['tuned_on']} |" in (tmp_path / "tuned" / "README.md").read_text()


def test_people_see_the_table_and_what_was_chosen(models: Path, tmp_path: Path) -> None:
    code, out, err = tuned_transfer(models, tmp_path / "tuned", "data", "--residual", 0.2, "--evidence")
    assert code == 0, err
    assert "14 queries, 14 documents" in out
    assert "preset default" in out
    assert "nDCG@10" in out
    assert "FLOPS" in out
    assert "Chosen: " in out
    assert "Written to" in out


def test_a_dry_run_says_what_tuning_will_cost_and_writes_nothing(models: Path, tmp_path: Path) -> None:
    code, out, err = tuned_transfer(models, tmp_path / "tuned", "data", "--dry-run")
    assert code == 0, err
    assert "at most 14 transfers and encode 14 queries and 14 documents" in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("data", "options", "expected"),
    [("test-only", (), "never tuned on"), ("data", ("--method", "random"), "no settings to tune")],
)
def test_a_refusal_is_one_line_and_leaves_nothing(
    models: Path, tmp_path: Path, data: str, options: tuple[str, ...], expected: str
) -> None:
    code, out, err = tuned_transfer(models, tmp_path / "tuned", data, *options)
    assert (code, out) == (1, "")
    assert expected in err
    assert len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_while_it_tunes_leaves_nothing(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = tuning.evaluate
    calls = []

    def evaluate_and_interrupt(*args: object, **options: object) -> object:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return measured(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(tuning, "evaluate", evaluate_and_interrupt)
    code, out, _ = tuned_transfer(models, tmp_path / "tuned", "data")
    assert (code, out, len(calls)) == (130, "", 3)
    assert list(tmp_path.iterdir()) == []
