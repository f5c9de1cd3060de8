"""EleutherAI's harness over exports: each kind of request, and a task of our own."""

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from tests.trainers.tiny import BytesTokenizer, family
from trainers.exported import ExportedModel
from trainers.settings import ROOT

pytest.importorskip("lm_eval", reason="needs the extra `harness`")

from harness import ExportLM

LONG = "a text that is longer than what the model reads, which is 64 tokens. " * 3
tokenizer = BytesTokenizer()


@pytest.fixture(scope="module")
def writing(exports):
    return ExportLM(ExportedModel(exports["decoder_lm"]), "runs/writing", batch_size=2)


@pytest.fixture(scope="module")
def answering(exports):
    return ExportLM(ExportedModel(exports["encoder_decoder"]), "runs/answering", batch_size=2)


def requests(*arguments):
    return [SimpleNamespace(args=each) for each in arguments]


def test_continuations_have_the_scores_of_the_export(writing, answering):
    pairs = [("hello", " there"), ("a longer one", "x"), ("", "text")]
    for model in (writing, answering):
        found = model.loglikelihood(requests(*pairs), disable_tqdm=True)
        expected = model.export.judge(*zip(*pairs, strict=True))
        assert [value for value, _ in found] == pytest.approx([value for value, _ in expected])
        assert not any(likeliest for _, likeliest in found)


def test_space_between_prompt_and_continuation_is_scored(writing):
    found = writing.loglikelihood(requests(("hello ", "you")), disable_tqdm=True)
    assert found == writing.loglikelihood(requests(("hello", " you")), disable_tqdm=True)


def test_what_the_model_writes_is_greedy(writing):
    prompt = tokenizer.encode("hello").tolist()
    drawn = writing.export.functions.generate(prompts=["hello"], max_new_tokens=5)
    tokens = drawn["tokens"][0, 0].numpy().tolist()
    texts = ("hello", "what bytes are no text of")
    pairs = [(texts, prompt, tokens), (texts, prompt, [*tokens[:-1], tokens[-1] ^ 1])]
    judged = writing._loglikelihood_tokens(pairs)
    assert [likeliest for _, likeliest in judged] == [True, False]


def test_whole_texts_are_scored_in_windows_each_token_once(writing):
    # Truth: the windows of the harness' description, by the model itself.
    model, _ = family("decoder_lm")
    tokens = tokenizer.encode(LONG)
    expected = 0.0
    for first in range(0, len(tokens), 64):
        end = min(first + 64, len(tokens))
        begin = max(end - 64, 0)
        read = [0, *tokens[: end - 1]] if begin == 0 else tokens[begin - 1 : end - 1]
        logits = model({"inputs": np.array([read], "int32")})[0]
        gained = tf.nn.log_softmax(logits).numpy()[np.arange(len(read)), tokens[begin:end]]
        expected += gained[first - begin :].sum()
    found = writing.loglikelihood_rolling(requests((LONG,), ("short",), ("",)))
    assert found[0] == pytest.approx(expected, rel=1e-4)
    alone = writing.export.judge([""], ["short"])[0][0]
    assert found[1:] == pytest.approx([alone, 0.0])


def test_texts_end_before_their_own_stop_strings_and_keep_their_places(writing):
    whole = writing.generate_until(requests(("hello", {"max_gen_toks": 20})))[0]
    stopped = {"max_gen_toks": 20, "until": [whole[3]]}
    found = writing.generate_until(
        requests(("hello", stopped), ("hello", {"max_gen_toks": 20}), ("hello", stopped))
    )
    before = whole[: whole.index(whole[3])]
    assert found == [before, whole, before]


def test_settings_are_read_by_their_names_and_a_misspelt_one_is_refused(writing):
    plain = {"do_sample": False, "temperature": 0.0, "max_gen_toks": 9}
    assert writing.options(plain).temperature == 0
    drawn = writing.options({"do_sample": True, "temperature": 0.5, "until": "."})
    assert (drawn.temperature, drawn.stop, drawn.max_new_tokens) == (0.5, ["."], 64)
    with pytest.raises(ValueError, match="did you mean top_k"):
        writing.options({"topk": 3})


def test_what_a_model_cannot_do_is_said(writing, answering):
    with pytest.raises(ValueError, match="for models of the layout language_modelling"):
        answering.loglikelihood_rolling(requests((LONG,)))
    with pytest.raises(ValueError, match="more than the 64 tokens that runs/writing reads"):
        writing.loglikelihood(requests(("a", LONG)), disable_tqdm=True)
    with pytest.raises(ValueError, match="has no chat template"):
        writing.chat_template(True)


TASKS = {
    "choice": """
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: answer
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
""",
    "rolling": """
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{question}}"
metric_list: [{metric: bits_per_byte}]
""",
    "generation": """
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{choices[answer]}}"
generation_kwargs: {until: ["."], max_gen_toks: 4}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
""",
}


@pytest.mark.slow
def test_tasks_of_ones_own_run_by_the_command(tmp_path, exports):
    lines = [{"question": f"{i} and 1", "choices": [" one", " two"], "answer": 1} for i in "12"]
    data = tmp_path / "questions.jsonl"
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    for name, text in TASKS.items():
        source = f"dataset_path: json\ndataset_kwargs: {{data_files: {{validation: {data}}}}}\n"
        (tmp_path / f"{name}.yaml").write_text(
            f"task: my_{name}\n{source}validation_split: validation\n{text}"
        )
    output = tmp_path / "found.json"
    done = command(
        f"--model={exports['decoder_lm']}",
        f"--include_path={tmp_path}",
        "--tasks=my_choice,my_rolling,my_generation",
        f"--output={output}",
    )
    assert done.returncode == 0, done.stderr
    assert all(f"my_{name}" in done.stdout for name in TASKS)
    found = json.loads(output.read_text())
    # Truth: the export's own scores of the choices.
    export = ExportedModel(exports["decoder_lm"])
    right = [
        np.argmax(export.score([line["question"]] * 2, line["choices"])) == line["answer"]
        for line in lines
    ]
    assert found["results"]["my_choice"]["acc,none"] == np.mean(right)
    assert found["results"]["my_rolling"]["bits_per_byte,none"] > 1
    assert len(found["samples"]["my_generation"]) == 2


def test_an_error_is_one_line(exports):
    for arguments, message in (
        ([f"--model={exports['decoder_lm']}"], "needs --model=FOLDER and --tasks"),
        (["--model=nowhere", "--tasks=x"], "nowhere: there is no such folder"),
        ([f"--model={exports['decoder_lm']}", "--tasks=no_such_task"], "no_such_task"),
        # Before any work: the model is not even looked for.
        (["--model=nowhere", "--tasks=x", "--output=none/x"], "No such file or directory: "),
        (["--model=nowhere", "--tasks=x", "--output=/dev/null"], "/dev/null: is no file"),
    ):
        done = command(*arguments)
        assert done.returncode == 1
        assert message in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr


def command(*arguments):
    return subprocess.run(
        [sys.executable, "scripts/evaluate.py", "--harness", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
