"""From a checkpoint to a model_dir, an export and a run, and back."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tests.trainers.hugging_face.checkpoints import make_checkpoint
from tests.trainers.hugging_face.runs import begun_from, recipe_from, run
from trainers.data.tokenizers import train_tokenizer
from trainers.exported import ExportedModel
from trainers.hugging_face import tokenizer
from trainers.hugging_face.load import load_model

pytestmark = pytest.mark.slow


def greedy(model, tokens, count, **features):
    """Truth: the model on all that there is so far, over and over."""
    tokens = list(tokens)
    for _ in range(count):
        inputs = {"inputs": np.array([tokens], "int32"), **features}
        logits = np.asarray(model(inputs))[0, -1]
        tokens.append(int(logits.argmax()))
        if not tokens[-1]:
            break
    return tokens


@pytest.mark.parametrize(
    "kind, reads, begins",
    [
        ("gpt2", "llama3", False),
        ("llama", "llama3", True),
        ("llama", "llama", True),
        ("t5", "t5", False),
    ],
)
def test_an_export_writes_what_the_checkpoint_would(tmp_path, kind, reads, begins):
    source = tmp_path / "source"
    make_checkpoint(source, kind, reads, begins)
    done = run("scripts/convert.py", source, tmp_path / "run")
    assert done.returncode == 0, done.stderr
    done = run("-m trainers.run", "--mode=export", f"--model_dir={tmp_path / 'run'}")
    assert done.returncode == 0, done.stderr
    export = ExportedModel(str(tmp_path / "run" / "export"))
    model, reader = load_model(str(source)), tokenizer.load(str(source))
    # 0 is what a text begins with where it begins with anything.
    prompt, features = [0] * begins + reader.encode("hello there").tolist(), {}
    if model.reads_source:
        prompt, features = [0], {"source": np.array([[*prompt, 0]], "int32")}
    found = export.functions.generate(prompts=tf.constant(["hello there"]), max_new_tokens=8)
    count = int(found["num_tokens"][0, 0])
    whole = greedy(model, prompt, 8, **features)
    assert found["tokens"][0, 0, :count].numpy().tolist() == whole[len(prompt) :]

    back = tmp_path / "back"
    done = run("scripts/convert.py", tmp_path / "run", back)
    assert done.returncode == 0, done.stderr
    for name in ("model.safetensors", "tokenizer.json"):
        one, other = ((folder / name).read_bytes() for folder in (source, back))
        assert one == other or json.loads(one) == json.loads(other)
    assert run("scripts/convert.py", source, back).stderr.endswith("remove it\n")


def test_a_run_begins_from_a_checkpoint_and_needs_it_no_more(tmp_path):
    source = tmp_path / "source"
    model, _ = make_checkpoint(source, "gpt2", "gpt2")
    begun_from(source, tmp_path, "--gin_param=LEARNING_RATE = 0.0")
    # Nothing was learned at a rate of 0: it is the model that it began from.
    done = run("scripts/convert.py", tmp_path / "run", tmp_path / "back")
    assert done.returncode == 0, done.stderr
    again = load_model(str(tmp_path / "back"))
    for weight, other in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(weight, other)


def test_low_rank_updates_learn_and_all_else_stays(tmp_path):
    source = tmp_path / "source"
    model, _ = make_checkpoint(source, "gpt2", "gpt2")
    files = f'--gin_param=TRAIN_FILES = "{tmp_path / "train.txt"}"'
    recipe = [
        *recipe_from(source, tmp_path),
        "--gin_param=Experiment.adaptation = @LoRA()",
        "--gin_param=train.optimizer = @AdamW",
    ]
    for steps in (2, 4):
        done = run("-m trainers.run", *recipe, f"--gin_param=STEPS = {steps}")
        assert done.returncode == 0, done.stderr
    assert "goes on from" in done.stdout
    reader = tf.train.load_checkpoint(str(tmp_path / "run" / "checkpoints" / "step_4" / "state"))
    names = [name for name in reader.get_variable_to_shape_map() if name.startswith("optimizer")]
    assert not any("kernel" in name and "lora" not in name for name in names)

    done = run("scripts/convert.py", tmp_path / "run", tmp_path / "back")
    assert done.returncode == 0, done.stderr
    merged = load_model(str(tmp_path / "back"))
    for weight, other in zip(model.weights, merged.weights, strict=True):
        same = np.array_equal(weight, other)
        assert same is not weight.path.endswith("qkv/kernel"), weight.path
    other = ["--gin_file=configs/recipes/lm_files.gin", f'--gin_param=INIT = "{tmp_path / "run"}"']
    other += [files, f"--model_dir={tmp_path / 'other'}", "--gin_param=STEPS = 2"]
    done = run("-m trainers.run", *other, "--gin_param=SEQUENCE_LENGTH = 32")
    assert "has low-rank updates; begin from what scripts/convert.py makes" in done.stderr


def test_a_tokenizer_of_another_model_is_refused_before_anything_heavy(tmp_path):
    make_checkpoint(tmp_path, "gpt2", "gpt2")
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "vocab_size": 300}))
    with pytest.raises(Exception, match="has 602 ids and the model only 300"):
        train_tokenizer(str(tmp_path), iter([]))
