"""The gin files of configs/, without TensorFlow."""

import re
from pathlib import Path

import pytest

from trainers import config, settings

ROOT = Path(__file__).resolve().parents[1]
RECIPES = sorted(path.stem for path in (ROOT / "configs/recipes").glob("*.gin"))
MODELS = sorted(path.stem for path in (ROOT / "configs/models").glob("*.gin"))


@pytest.fixture(autouse=True)
def root(monkeypatch):
    monkeypatch.chdir(ROOT)


def recipe_file(name):
    return f"configs/recipes/{name}.gin"


def model_file(name):
    return f"configs/models/{name}.gin"


def required(recipe):
    """Names of what a recipe leaves to whoever runs it."""
    read = settings.read([ROOT / recipe_file(recipe)])
    used = read.used_macros()
    return [n for n, m in read.macros.items() if n in used and m.value == settings.REQUIRED]


# A checkpoint that one begins from says what the model is, and here is none.
FROM_NOTHING = [name for name in RECIPES if "INIT" not in required(name)]


@pytest.mark.parametrize("recipe", FROM_NOTHING)
def test_a_recipe_needs_no_more_than_what_it_says_is_required(recipe):
    config.check([recipe_file(recipe)], [f'{name} = "x"' for name in required(recipe)])


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_first_line_says_what_a_recipe_reaches_and_in_what_time(recipe):
    first, *_ = (ROOT / recipe_file(recipe)).read_text(encoding="utf-8").split("\n")
    measured = re.search(r"\d.* \d+ (min|s)\b.* on two", first)
    assert first.startswith("# ")
    assert measured or "not yet measured" in first or first.startswith("# Your own")


def pairs():
    """Of model files of one class, one that a recipe includes and one that comes after it."""
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "configs/recipes").glob("*.gin")]
    of_recipes = [name for name in MODELS if any(model_file(name) in text for text in texts)]
    made = {
        name: settings.read([ROOT / model_file(name)]).flat()["Experiment.model"] for name in MODELS
    }
    return [(a, b) for a in of_recipes for b in MODELS if a != b and made[a] == made[b]]


@pytest.mark.parametrize("before, name", pairs())
def test_a_model_file_has_the_last_word_on_what_the_model_is(before, name):
    alone = settings.read([model_file(name)])
    after = settings.read([model_file(before), model_file(name)])
    assert config.differences(alone, after) == {}


def bindings(*lines, recipe="translate_files"):
    """{"scope/Configurable.parameter": value} of a recipe and what is set by hand."""
    lines = [*lines, "TRAIN_FILES = 'a.{language}'"]
    return config.check([f"configs/recipes/{recipe}.gin"], lines).flat()


def test_all_that_asks_for_languages_has_the_same():
    found = bindings("LANGUAGES = ['en', 'zh']")
    asking = ("parallel_files/parallel_files.languages", "bleu.language", "tokenised_bleu.language")
    assert [found[name] for name in asking] == [["en", "zh"]] * 3


@pytest.mark.parametrize("name", ["parallel_files", "dates_en_de", "multi30k_en_de"])
def test_what_makes_up_a_task_does_not_reach_the_others_of_a_mixture(name):
    found = bindings(f"include 'configs/tasks/{name}.gin'", "include 'configs/tasks/sst2.gin'")
    assert found[f"{name}/text_to_text.metrics"]
    assert "text_to_text.metrics" not in found
    assert "sst2/text_to_text.metrics" not in found


@pytest.mark.parametrize("recipe", ["squad", "finetune_squad"])
def test_answers_to_questions_about_passages_take_little_of_their_room(recipe):
    read = settings.read([f"configs/recipes/{recipe}.gin"]).flat()
    assert read["DecodedEvaluation.max_new_tokens"] <= 32
