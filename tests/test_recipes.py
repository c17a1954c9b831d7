"""Laws of the recipes: presets, YAML scalars, flags over files, and one clear line for everything else."""

from pathlib import Path

import pytest
import yaml

from sembridge.errors import SembridgeError
from sembridge.experiments.recipe import GridRecipe
from sembridge.language_transfer.recipe import PRESETS, TransferRecipe
from sembridge.training.recipe import TrainRecipe


@pytest.fixture
def recipe_file(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "recipe.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def refusal(function, *args, **kwargs) -> str:
    with pytest.raises(SembridgeError) as refused:
        function(*args, **kwargs)
    assert "\n" not in str(refused.value)
    return str(refused.value)


# --- presets -------------------------------------------------------------------------------------------------------


def test_nothing_said_is_the_default_preset() -> None:
    recipe = TransferRecipe.build({})
    assert (recipe.preset, recipe.method, recipe.weighting, recipe.alpha) == ("default", "sembridge", "entmax", 6.0)
    assert TransferRecipe.build({"preset": "paper"}).alpha == 4.0
    assert recipe == TransferRecipe.build({"preset": "default"})


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_fills_its_settings_and_no_others(preset: str) -> None:
    found = TransferRecipe.build({"preset": preset}).model_dump()
    assert {key: found[key] for key in PRESETS[preset]} == PRESETS[preset]
    others = {"preset": "", **dict.fromkeys(PRESETS[preset])}
    plain = TransferRecipe.build({}).model_dump()
    assert {k: v for k, v in found.items() if k not in others} == {k: v for k, v in plain.items() if k not in others}


def test_both_presets_settle_the_same_settings() -> None:
    assert PRESETS["paper"].keys() == PRESETS["default"].keys()


def test_the_paper_preset_is_the_published_rule() -> None:
    recipe = TransferRecipe.build({"preset": "paper"})
    assert recipe.candidates == "all"
    assert (recipe.merge_twins, recipe.hub_neighbours) == (False, 0)


def test_a_setting_goes_over_its_preset() -> None:
    recipe = TransferRecipe.build({"preset": "paper", "evidence": True, "alpha": 2})
    assert (recipe.preset, recipe.evidence, recipe.merge_twins, recipe.alpha) == ("paper", True, False, 2.0)


def test_a_recipe_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        TransferRecipe.build({}).alpha = 2.0


# --- files ---------------------------------------------------------------------------------------------------------


def test_a_written_recipe_reads_back_the_same(tmp_path: Path) -> None:
    for values in ({}, {"preset": "paper"}, {"alpha": 1.5, "temperature": 1e-5, "fallback": "mean", "seed": 7},
                   {"method": "focus", "target_text": "passages.txt"}):  # fmt: skip
        recipe = TransferRecipe.build(values)
        recipe.write(tmp_path / "recipe.yaml")
        assert TransferRecipe.read(tmp_path / "recipe.yaml") == recipe


def test_a_written_recipe_names_every_setting_that_has_a_value(tmp_path: Path) -> None:
    recipe = TransferRecipe.build({})
    recipe.write(tmp_path / "recipe.yaml")
    without = {"target_text", "word_vectors", "source_word_vectors", "dictionary", "bridge_dtype"}
    named = [name for name in TransferRecipe.model_fields if name not in without]
    assert {name for name in TransferRecipe.model_fields if getattr(recipe, name) is None} == without
    assert list(yaml.safe_load((tmp_path / "recipe.yaml").read_text())) == named


def test_scalars_mean_what_they_look_like(recipe_file) -> None:
    # PyYAML's own reading makes text of 1e-5 and False of a bare `no`.
    path = recipe_file("temperature: 1e-5\nfuzzy: no\nextend: off\nthrough_words: yes\nalpha: 3\nseed: 007\n")
    recipe = TransferRecipe.read(path)
    assert (recipe.temperature, recipe.fuzzy, recipe.extend, recipe.through_words) == (1e-5, False, False, True)
    assert (recipe.alpha, recipe.seed) == (3.0, 7)


@pytest.mark.parametrize("written", ["false", "no", "off", "0"])
def test_the_recipe_of_an_earlier_encoder_with_a_removed_setting_off_still_reads(recipe_file, written: str) -> None:
    assert TransferRecipe.read(recipe_file(f"restore_norms: {written}\nalpha: 3\n")) == TransferRecipe.build(
        {"alpha": 3}
    )


def test_a_removed_setting_that_is_on_is_refused_in_one_line(recipe_file) -> None:
    path = recipe_file("restore_norms: true\n")
    with pytest.raises(SembridgeError, match=r"restore_norms was removed.*leave it out\.$") as error:
        TransferRecipe.read(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_flags_go_over_the_file_and_none_is_no_flag(recipe_file) -> None:
    path = recipe_file("alpha: 2\nfallback: mean\n")
    recipe = TransferRecipe.read(path, alpha=3.0, fallback=None)
    assert (recipe.alpha, recipe.fallback) == (3.0, "mean")


def test_a_preset_flag_goes_over_the_preset_settings_of_a_resolved_recipe(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    TransferRecipe.build({"top_k": 5}).write(path)
    assert TransferRecipe.read(path, preset="paper") == TransferRecipe.build({"preset": "paper", "top_k": 5})
    with_flag = TransferRecipe.read(path, preset="paper", min_similarity=0.3)
    assert with_flag == TransferRecipe.build({"preset": "paper", "top_k": 5, "min_similarity": 0.3})


# --- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "hints"),
    [
        ("alpa: 4", ["alpa", "alpha"]),
        ("alpha: 0.5", ["alpha", "greater than or equal to 1", "0.5"]),
        ("alpha: four", ["alpha", "number", "four"]),
        ("alpha: .inf", ["alpha", ".inf"]),
        ("alpha: inf", ["alpha", "finite"]),
        ("alpha: nan", ["alpha"]),
        ("alpha:", ["alpha"]),
        ("preset: papers", ["preset", "'default' or 'paper'", "papers"]),
        ("preset: [paper]", ["preset", "'default' or 'paper'"]),
        ("method: zett", ["method", "sembridge", "focus", "zett"]),
        ("min_similarity: 1.5", ["min_similarity", "1.5"]),
        ("fuzzy: perhaps", ["fuzzy", "perhaps"]),
        ("top_k: 2.5", ["top_k", "2.5"]),
        ("temperature: 0", ["temperature", "greater than 0"]),
        ("seed: -1", ["seed", "-1"]),
        ("seed: 99999999999999999999", ["seed"]),
        ("memory_budget_mb: 1", ["memory_budget_mb", "16"]),
        ("- alpha", ["key: value"]),
        ("", ["key: value"]),
        ("alpha: [4", ["not valid YAML"]),
        ("alpha: 4\n\talpha: 4", ["not valid YAML"]),
        ("!!python/object/apply:os.system [echo]", ["key: value"]),
    ],
)
def test_a_bad_recipe_is_refused_in_one_line_with_its_path(recipe_file, text: str, hints: list[str]) -> None:
    path = recipe_file(text)
    message = refusal(TransferRecipe.read, path)
    assert str(path) in message
    for hint in hints:
        assert hint in message


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    assert "No such file" in refusal(TransferRecipe.read, tmp_path / "none.yaml")
    assert "directory" in refusal(TransferRecipe.read, tmp_path)
    (tmp_path / "latin.yaml").write_bytes("fallback: m\xe9an".encode("latin-1"))
    assert "not valid YAML" in refusal(TransferRecipe.read, tmp_path / "latin.yaml")


def test_a_bad_flag_is_refused_without_a_file() -> None:
    message = refusal(TransferRecipe.build, {"alpha": 0.0}, origin="options")
    assert message.startswith("options: alpha: ")


def test_the_papers_grid_trains_as_its_training_recipe_says() -> None:
    folder = Path(__file__).parents[1] / "reproduction" / "paper"
    grid, training = GridRecipe.read(folder / "grid.yaml"), TrainRecipe.read(folder / "train.yaml")
    for method in grid.methods:
        assert grid.train_recipe(method) == training.model_copy(update={"collapse": "warn"})
