import functools
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.trainers.tiny import BytesTokenizer, family
from trainers import exported
from trainers.export import save
from trainers.pipeline import find_export, pipeline
from trainers.text_model import TextModel


@pytest.fixture(scope="module")
def model_dirs(exports):
    """{layout: a model_dir with an export}"""
    names = {"language_modelling": "decoder_lm", "text_to_text": "encoder_decoder"}
    return {layout: os.path.dirname(exports[name]) for layout, name in names.items()}


@pytest.fixture(scope="module", autouse=True)
def loads_each_export_once():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exported, "ExportedModel", functools.cache(exported.ExportedModel))
        yield


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
    with pytest.raises(ValueError, match="did you mean max_new_tokens"):
        pipeline("text-generation", model_dirs["language_modelling"], max_new_token=8)
    with pytest.raises(ValueError, match="no option 'temperature'"):
        pipeline("text-classification", model_dirs["text_to_text"], temperature=1.0)
    classify = pipeline("text-classification", model_dirs["text_to_text"])
    with pytest.raises(ValueError, match="top_k is '2', and must be an integer of at least 1"):
        classify("hello", candidate_labels="a, b", top_k="2")
    with pytest.raises(ValueError, match="batch_size is None"):
        classify("hello", candidate_labels="a, b", batch_size=None)
    with pytest.raises(ValueError, match="stop is 5"):
        generate([{"role": "user", "content": "hello"}], stop=5)
    with pytest.raises(ValueError, match="do_sample=True"):
        generate("hello", do_sample=False, num_return_sequences=2)
    with pytest.raises(ValueError, match="between 0 and 1"):
        generate("hello", top_p=1.5)


def test_a_model_may_lie_in_the_home_of_a_user(monkeypatch, tmp_path):
    (tmp_path / "runs" / "export").mkdir(parents=True)
    (tmp_path / "runs" / "export" / "saved_model.pb").touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    for model in ("~/runs", Path("~/runs")):
        assert find_export(model) == str(tmp_path / "runs" / "export")
    with pytest.raises(FileNotFoundError, match=f"{tmp_path}/none: there is no such folder"):
        find_export("~/none")


def test_importing_the_pipeline_imports_no_library():
    code = "import sys; from trainers import pipeline; assert callable(pipeline); " + (
        "assert not {'tensorflow', 'keras', 'zoo', 'gin'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_streamed_pieces_make_the_text_of_a_call(generate, answer):
    options = {"seed": 3, "temperature": 2.0, "top_k": 0, "max_new_tokens": 20}
    whole = texts(generate("hello", return_full_text=False, **options))[0]
    pieces = list(generate.stream("hello", **options))
    assert "".join(pieces) == whole and len(pieces) > 1
    stop = whole[5:7]
    cut = texts(generate("hello", return_full_text=False, stop=stop, **options))[0]
    assert "".join(generate.stream("hello", stop=stop, **options)) == cut
    assert "".join(answer.stream("hello")) == texts(answer("hello"))[0]
    assert "".join(generate.stream("hello", max_new_tokens=0)) == ""
    with pytest.raises(ValueError, match="one text"):
        answer.stream("hello", num_beams=2)


def test_seeded_texts_depend_on_neither_batch_size_nor_padding(generate):
    prompts = ["a long prompt", "b", "a prompt", "bc", "b"]
    options = {"seed": 2**31 - 1, "num_return_sequences": 2}
    assert generate(prompts, batch_size=2, **options) == generate(prompts, batch_size=8, **options)
    rows = generate(prompts, return_full_text=False, **options)
    assert len({text for row in rows for text in texts(row)}) == 10


def test_summaries_and_translations_have_keys_of_their_own(model_dirs, answer):
    model = model_dirs["text_to_text"]
    text = texts(answer("hello"))[0]
    summarise = pipeline("summarization", model, max_new_tokens=8)
    assert summarise("hello") == [{"summary_text": text}]
    translate = pipeline("translation_en_to_de", model, max_new_tokens=8)
    assert translate(["hello"]) == [{"translation_text": text}]


def test_labels_are_scored_by_the_probability_of_being_the_answer(answer, model_dirs):
    classify = pipeline("sentiment-analysis", model_dirs["text_to_text"])
    labels = ["good", "bad", "so so"]
    scored = classify("hello", candidate_labels=labels, top_k=None)
    export = answer.export.functions
    raw = [float(export.score(["hello"], [label])["log_probabilities"][0]) for label in labels]
    shares = [math.exp(value) / sum(map(math.exp, raw)) for value in raw]
    expected = sorted(zip(labels, shares, strict=True), key=lambda pair: -pair[1])
    assert [one["label"] for one in scored] == [label for label, _ in expected]
    assert [one["score"] for one in scored] == pytest.approx([share for _, share in expected], 1e-4)

    assert classify("hello", candidate_labels="good, bad,so so") == scored[:1]
    several = classify(["hello", "you"], candidate_labels=labels)
    assert several[0] == pytest.approx(scored[0]) and set(several[1]) == {"label", "score"}
    lists = classify(["hello", "you"], candidate_labels=labels, top_k=2, batch_size=1)
    assert [len(row) for row in lists] == [2, 2]
    assert classify([], candidate_labels=labels) == []
    with pytest.raises(ValueError, match="candidate_labels="):
        classify("hello")


def test_answers_to_questions_come_with_their_probability(answer, model_dirs):
    ask = pipeline("question-answering", model_dirs["text_to_text"], max_new_tokens=8)
    found = ask(question="who", context="me")
    prompt = "question: who context: me"
    assert found["answer"] == texts(answer(prompt))[0].strip()
    written = answer.export.functions.generate([prompt], max_new_tokens=8)
    probability = math.exp(float(written["log_probabilities"][0, 0]))
    assert found["score"] == pytest.approx(probability, 1e-3)
    pair = {"question": "who", "context": "me"}
    assert ask(pair) == pytest.approx(found) and ask([pair])[0] == pytest.approx(found)
    assert ask(question=["who"], context=["me"])[0] == pytest.approx(found)
    short = ask(pair, prompt_template="{context}: {question}")
    assert short["answer"] == texts(answer("me: who"))[0].strip()
    with pytest.raises(ValueError, match="'color'"):
        ask(pair, prompt_template="{color}")
    with pytest.raises(ValueError, match="as many contexts"):
        ask(question="who")


def test_conversations_come_back_with_the_answer_as_a_message(generate):
    chat = [{"role": "user", "content": "hello"}]
    options = {"do_sample": False, "max_new_tokens": 6}
    text = texts(
        generate("User: hello\nAssistant:", return_full_text=False, stop="\nUser:", **options)
    )[0]
    said = {"role": "assistant", "content": text.strip()}
    assert generate(chat, **options) == [{"generated_text": [*chat, said]}]
    assert generate([chat, chat], **options) == [[{"generated_text": [*chat, said]}]] * 2
    assert texts(generate(chat, return_full_text=False, **options)) == [text]
    assert "".join(generate.stream(chat, stop=None, **options)) == text

    begun = [*chat, {"role": "assistant", "content": "well"}]
    *before, last = texts(generate(begun, **options))[0]
    assert before == chat and last["role"] == "assistant"
    assert last["content"].startswith("well") and len(last["content"]) > 4
    with pytest.raises(ValueError, match="do not stand beside"):
        generate([chat, "hello"])


@pytest.mark.slow
def test_an_export_brings_its_labels_and_its_chat_template(tmp_path):
    model, layout = family("decoder_lm")
    template = "{% for message in messages %}<{{ message.content }}>{% endfor %}"
    described = {"labels": ("yes", "no"), "chat_template": template}
    save(TextModel(model, BytesTokenizer(), layout, 32, **described), str(tmp_path))

    classify = pipeline(model=str(tmp_path))
    assert classify.task == "text-classification"
    assert {one["label"] for one in classify("hello", top_k=None)} == {"yes", "no"}
    assert classify("hello")[0]["score"] >= 0.5

    generate = pipeline("text-generation", model=str(tmp_path), do_sample=False, max_new_tokens=6)
    chat = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]
    of_text = generate("<a><b>", return_full_text=False)
    assert generate(chat, return_full_text=False) == of_text
