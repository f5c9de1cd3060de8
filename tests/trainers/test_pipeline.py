import os
import subprocess
import sys

import pytest

from trainers.pipeline import pipeline


@pytest.fixture(scope="module")
def model_dirs(exports):
    """{layout: a model_dir with an export}"""
    names = {"language_modelling": "decoder_lm", "text_to_text": "encoder_decoder"}
    return {layout: os.path.dirname(exports[name]) for layout, name in names.items()}


@pytest.fixture(scope="module")
def generate(model_dirs):
    return pipeline("text-generation", model_dirs["language_modelling"], max_new_tokens=8)


@pytest.fixture(scope="module")
def answer(model_dirs):
    model = model_dirs["text_to_text"]
    return pipeline("text2text-generation", model=model, max_new_tokens=8)


def texts(answers):
    return [one["generated_text"] for one in answers]


def test_one_prompt_gives_a_list_of_dicts_with_the_full_text(generate):
    answers = generate("hello", num_return_sequences=3, seed=1)
    assert len(answers) == 3
    assert all(set(one) == {"generated_text"} for one in answers)
    assert all(text.startswith("hello") and text != "hello" for text in texts(answers))
    assert len(set(texts(answers))) == 3


def test_several_prompts_give_a_list_of_lists(generate):
    answers = generate(["hello", "you"], return_full_text=False, do_sample=False)
    assert [len(row) for row in answers] == [1, 1]
    assert answers[0] == generate("hello", return_full_text=False, do_sample=False)
    assert texts(generate("you", do_sample=False)) == ["you" + answers[1][0]["generated_text"]]
    assert generate([]) == []


def test_prompts_in_several_batches_get_what_they_get_in_one(generate):
    prompts = ["a", "bc", "def"]
    greedy = {"do_sample": False}
    assert generate(prompts, batch_size=2, **greedy) == generate(prompts, **greedy)


def test_a_seed_repeats_the_texts_and_without_one_they_change(generate):
    assert generate("hello", seed=2**40) == generate("hello", seed=2**40)
    assert generate("hello", seed=1) != generate("hello", seed=2)
    assert generate("hello") != generate("hello")


def test_temperature_zero_and_top_k_one_are_greedy(generate):
    expected = generate("hello", do_sample=False)
    assert generate("hello", temperature=0) == generate("hello", top_k=1) == expected
    assert generate("hello", top_p=0.0) == expected


def test_text_ends_before_a_stop_string(generate):
    whole = texts(generate("hello", do_sample=False, return_full_text=False))[0]
    for stop in (whole[3], [whole[3], "not in it"]):
        stopped = generate("hello", do_sample=False, return_full_text=False, stop=stop)
        assert texts(stopped) == [whole[: whole.index(whole[3])]]


def test_reading_a_source_gives_answers_alone_as_hugging_face_shapes_them(answer, model_dirs):
    one = answer("hello")
    assert one == answer("hello")  # greedy unless asked
    assert answer(["hello", "you"]) == [*one, *answer("you")]
    assert [len(row) for row in answer(["hello", "you"], num_return_sequences=2)] == [2, 2]
    translate = pipeline("translation", model=model_dirs["text_to_text"], max_new_tokens=8)
    assert translate("hello") == [{"translation_text": one[0]["generated_text"]}]


def test_the_task_follows_from_the_export(model_dirs):
    assert pipeline(model=model_dirs["language_modelling"] + "/export").task == "text-generation"
    assert pipeline(model=model_dirs["text_to_text"]).task == "text2text-generation"


def test_what_cannot_be_is_refused_with_a_sentence(model_dirs, generate, tmp_path):
    with pytest.raises(FileNotFoundError, match="--mode=export --model_dir="):
        pipeline("text-generation", model=str(tmp_path))
    with pytest.raises(FileNotFoundError, match="no such folder"):
        pipeline("text-generation", model=str(tmp_path / "missing"))
    with pytest.raises(ValueError, match="'summarise' is none of 'text-generation'"):
        pipeline("summarise", model=str(tmp_path))
    with pytest.raises(ValueError, match="its task is 'text-generation', not 'translation'"):
        pipeline("translation", model=model_dirs["language_modelling"])
    with pytest.raises(ValueError, match="do_sample=True"):
        generate("hello", do_sample=False, num_return_sequences=2)
    with pytest.raises(ValueError, match="between 0 and 1"):
        generate("hello", top_p=1.5)


def test_importing_the_pipeline_imports_no_library():
    code = "import sys; from trainers import pipeline; assert callable(pipeline); " + (
        "assert not {'tensorflow', 'keras', 'zoo', 'gin'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
