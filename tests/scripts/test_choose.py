"""Which models are named, by what arithmetic, and what is said where none does."""

import json
import os
import shlex
import subprocess
import sys

import pytest
from choosing import presets, recipes
from choosing.choice import Wish, choose
from choosing.families import FAMILIES
from choosing.model import HUB, NATIVE, NO, OURS, Model
from choosing.table import as_dict, lines
from choosing.tasks import RECIPES, TASKS, command, use

from trainers import config
from trainers.errors import UserError
from trainers.settings import ROOT


@pytest.fixture(scope="module")
def known():
    return presets.models() + recipes.models(RECIPES)


def model(name, parameters, loads=NATIVE, languages=("en",), **more):
    return Model(name, "", parameters, 1024, None, languages, loads, reads_source=False, **more)


SMALL, LARGE = model("small", 100), model("large", 1000, languages=("en", "de"))


def names(models, **wish):
    return [found.name for found in choose(models, Wish("generation", **wish))[0]]


def test_memory_to_run_is_of_the_weights_and_to_train_of_gradients_and_moments_too():
    assert [SMALL.run_bytes(w) for w in ("float32", "bfloat16", "int8")] == [400, 200, 100]
    assert SMALL.train_bytes() == 1600
    assert SMALL.lora_bytes() == pytest.approx(400 + 16)


def test_a_token_reads_the_weights_that_it_passes_through():
    assert SMALL.tokens_per_second("int8", 1000) == 10
    assert model("experts", 1000, active=100).tokens_per_second("int8", 1000) == 10


def test_the_smallest_come_first_and_within_a_limit_the_largest():
    assert names([LARGE, SMALL]) == ["small", "large"]
    assert names([SMALL, LARGE], memory=1e6) == ["large", "small"]
    assert names([SMALL, LARGE], memory=1000) == ["small"]
    assert names([SMALL, LARGE], memory=1000, weights="int8") == ["large", "small"]
    assert names([SMALL, LARGE], memory=1000, memory_for="lora") == ["small"]
    assert names([SMALL, LARGE], tokens_per_second=2, bandwidth=1000) == ["small"]


def test_what_is_sooner_ready_comes_before_what_is_larger():
    chats = model("chats", 100, chats=True)
    found, _ = choose([LARGE, chats], Wish("chat", memory=1e6))
    assert [m.name for m in found] == ["chats", "large"]


def test_models_of_code_or_mathematics_are_for_no_other_field():
    coder = model("coder", 10, chats=True, codes=True, special=True)
    assert use(coder, "code") == "as it is" and use(SMALL, "code") is None
    assert use(coder, "chat") is None and use(coder, "translation") is None


def test_a_language_is_had_by_who_is_known_to_have_it_and_learned_by_recipes():
    others = [
        model("silent", 10, languages=None),
        model("recipe", 10, OURS, None, tasks=("generation",)),
    ]
    found, unknown = choose([SMALL, LARGE, *others], Wish("generation", language="de"))
    assert [m.name for m in found] == ["large", "recipe"]
    assert unknown == 1


def test_what_cannot_be_loaded_is_named_when_asked_for():
    models = [SMALL, model("foreign", 10, loads=NO)]
    assert names(models) == ["small"]
    assert names(models, every=True) == ["small", "foreign"]


def test_where_nothing_fits_the_smallest_that_does_more_is_named():
    with pytest.raises(UserError, match="the smallest, small, needs --memory_gb=4e-07 to run$"):
        choose([SMALL, LARGE], Wish("generation", memory=10))
    with pytest.raises(UserError, match="the fastest, small, makes 2.5 tokens/s"):
        choose([SMALL, LARGE], Wish("generation", tokens_per_second=9, bandwidth=1000))


def test_what_is_not_known_is_named_with_what_is():
    with pytest.raises(UserError, match="--task=chatt: is none of generation, .*did you mean chat"):
        Wish("chatt")
    with pytest.raises(UserError, match="--language=xx: .* known are de, en$"):
        choose([SMALL, LARGE], Wish("generation", language="xx"))
    with pytest.raises(UserError, match="--tokens_per_second=9: needs --bandwidth_gb"):
        Wish("generation", tokens_per_second=9)
    assert Wish("summarization").task == "summarisation"


def test_presets_are_what_kerashub_has(known):
    by_name = {m.name: m for m in known}
    gpt2 = by_name["gpt2_base_en"]
    assert (gpt2.parameters, gpt2.context, gpt2.loads) == (124439808, 1024, NATIVE)
    assert by_name["bart_large_en_cnn"].summarises and by_name["bart_large_en_cnn"].reads_source
    assert (by_name["opt_125m_en"].loads, by_name["opt_125m_en"].by_preset) == (HUB, True)
    assert (by_name["gemma2_2b_en"].loads, by_name["gemma2_2b_en"].by_preset) == (HUB, True)
    t5 = by_name["t5_small_multi"]
    assert (t5.loads, t5.by_preset, gpt2.by_preset) == (NATIVE, True, False)
    assert by_name["t5gemma_s_s_ul2"].loads == NO
    assert by_name["mixtral_8_7b_en"].active < by_name["mixtral_8_7b_en"].parameters
    assert not any("vision" in m.about or "bert" in m.name for m in known)


def test_every_fact_is_of_a_preset_and_of_the_first_that_matches(known):
    found = {presets.family_of(m.name).pattern for m in known if m.loads != OURS}
    assert {family.pattern for family in FAMILIES} - found == set()


def test_every_recipe_that_has_a_model_serves_a_task():
    files = {name.removesuffix(".gin") for name in os.listdir(recipes.FOLDER)}
    others = files - set(RECIPES)  # which take their model from INIT
    assert all(name.startswith("finetune_") or name == "preferences" for name in others)
    assert {task for tasks in RECIPES.values() for task in tasks} == set(TASKS)


@pytest.mark.parametrize("name", ["lstm_words", "lm_files", "translate_files"])
def test_recipes_have_the_parameters_of_the_models_they_make(name):
    import zoo

    values = recipes.read(name)
    kind = values.bindings["", "Experiment", "model"].value.name
    arguments = {
        key[2]: values.resolve(s.value) for key, s in values.bindings.items() if key[1] == kind
    }
    counted = recipes.parameters(kind, arguments, 500)
    made = getattr(zoo, kind)(500, **arguments).count_params()
    assert counted == pytest.approx(made, rel=0.02)
    assert recipes.parameters(kind, arguments, None) is None


@pytest.mark.parametrize("task", TASKS)
def test_every_command_names_what_is_there_and_sets_what_must_be(known, task):
    ours = next(m for m in known if m.loads == OURS and use(m, task))
    wanted = "qwen2.5_coder_0.5b" if task == "code" else "qwen2.5_0.5b_en"
    theirs = next(m for m in known if m.name == wanted)
    for each in (ours, theirs):
        _, *words = shlex.split(command(each, task))
        if words[0] == "scripts/convert.py":
            assert words[1:] == [f"my/{wanted}", f"runs/{wanted}"]
            continue
        (recipe,) = (w.split("=")[1] for w in words if w.startswith("--gin_file"))
        params = [w.split("=", 1)[1] for w in words if w.startswith("--gin_param")]
        params = [param for param in params if not param.startswith("INIT")]
        if "finetune_" in recipe:
            params += ["INIT = None", "Experiment.model = @DecoderLM"]
        if recipe.endswith("finetune_chat.gin"):
            params.append('CHAT_TEMPLATE = "chatml"')  # of INIT otherwise
        config.check([recipe], params)


def test_a_table_and_data_say_the_same(known):
    wish = Wish("generation", memory=1e9, bandwidth=1e10)
    found, unknown = choose(known, wish)
    head, first, *_, start = lines(found, unknown, wish)
    data = as_dict(found[0], wish)
    assert head.startswith("model") and head.endswith("tokens/s")
    assert first.startswith(data["name"]) and first.endswith(f"{data['tokens_per_second']:,.3g}")
    assert start == f"{data['name']}: {data['command']}"


def test_the_command_answers_without_tensorflow():
    code = (
        "import runpy, sys; sys.argv = ['choose.py', '--task=chat', '--memory_gb=4', '--json']\n"
        "try: runpy.run_path('scripts/choose.py', run_name='__main__')\n"
        "finally: assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": ROOT + os.pathsep + os.path.join(ROOT, "scripts")}
    answered = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, env=environment)
    found = json.loads(answered)
    assert found and all(m["run_bytes"]["float32"] <= 4e9 for m in found)
