"""From a preset of KerasHub, and from a checkpoint that it reads, to a run and an export."""

import json
import os

import numpy as np
import pytest
import tensorflow as tf

from tests.trainers.data.byte_pairs import make
from tests.trainers.hugging_face.checkpoints import make_preset
from tests.trainers.hugging_face.runs import begun_from, recipe_from, run
from trainers.exported import ExportedModel

pytestmark = pytest.mark.slow
PROMPTS = ["hello there", "it's", "", "how are you, 123"]


def generated(model_dir, count=8):
    """Tokens of greedy answers to the prompts, all at once, up to their ends."""
    export = ExportedModel(str(model_dir / "export"))
    found = export.functions.generate(prompts=tf.constant(PROMPTS), max_new_tokens=count)
    rows = zip(found["tokens"][:, 0].numpy(), found["num_tokens"][:, 0].numpy(), strict=True)
    return [row[:length].tolist() for row, length in rows]


def swapped(tokens, eos):
    return [{0: eos, eos: 0}.get(token, token) for token in tokens]


def greedy(logits_of, tokens, eos, count=8):
    """Truth: what comes of all tokens so far, over and over."""
    tokens = list(tokens)
    for _ in range(count):
        tokens.append(int(logits_of(np.array([tokens]))[0, -1].argmax()))
        if tokens[-1] == eos:
            break
    return tokens


def test_a_run_begins_from_a_preset_learns_updates_and_needs_it_no_more(tmp_path):
    source = tmp_path / "source"
    theirs = make_preset(source)
    begun_from(
        source,
        tmp_path,
        "--gin_param=LEARNING_RATE = 0.0",
        "--gin_param=Experiment.adaptation = @LoRA()",
        '--gin_param=LoRA.layers = ["self_attention/query"]',
    )
    # Nothing was learned at a rate of 0: it is the model that it began from.
    read = theirs.preprocessor.tokenizer

    def logits_of(ids):
        return np.asarray(theirs({"token_ids": ids, "padding_mask": np.ones_like(ids)}))

    for prompt, tokens in zip(PROMPTS, generated(tmp_path / "run"), strict=True):
        begun = [600, *np.asarray(read.tokenize(prompt))]
        assert swapped(tokens, 600) == greedy(logits_of, begun, 600)[len(begun) :]

    narrow = ["-m trainers.run", "--mode=export", f"--model_dir={tmp_path / 'run'}"]
    done = run(" ".join(narrow), '--gin_param=export.weights = "int8"')
    assert "'int8': a PretrainedLM can be exported with 'float32' alone" in done.stderr
    packed = [f"--model_dir={tmp_path / 'packed'}", "--gin_param=Experiment.batches = @packed"]
    done = run("-m trainers.run", *recipe_from(tmp_path / "away", tmp_path), *packed)
    assert "PretrainedLM reads a row as one; choose @bucketed" in done.stderr


def test_an_export_of_gemma_2_writes_what_transformers_does(tmp_path, torch, transformers):
    source = tmp_path / "source"
    description = make("llama3")
    eos = next(t["id"] for t in description["added_tokens"] if t["content"] == "<|endoftext|>")
    torch.manual_seed(0)
    config = transformers.Gemma2Config(
        vocab_size=608,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        head_dim=16,
        query_pre_attn_scalar=16,
        sliding_window=4,
        eos_token_id=eos,
        bos_token_id=eos,
        pad_token_id=None,
    )
    theirs = transformers.AutoModelForCausalLM.from_config(config).float().eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    theirs.save_pretrained(str(source))
    (source / "tokenizer.json").write_text(json.dumps(description))
    done = run("scripts/convert.py", source, tmp_path / "run")
    assert done.returncode == 0, done.stderr
    done = run("-m trainers.run", "--mode=export", f"--model_dir={tmp_path / 'run'}")
    assert done.returncode == 0, done.stderr

    def logits_of(ids):
        with torch.no_grad():
            return theirs(torch.tensor(ids)).logits.numpy()

    from trainers.hugging_face import tokenizer

    read = tokenizer.load(str(source))
    for prompt, tokens in zip(PROMPTS, generated(tmp_path / "run"), strict=True):
        begun = swapped(read.encode(prompt).tolist(), eos) or [eos]
        assert swapped(tokens, eos) == greedy(logits_of, begun, eos)[len(begun) :]
    done = run("scripts/convert.py", tmp_path / "run", tmp_path / "back")
    assert "a PretrainedLM is no model of Transformers" in done.stderr
    assert not os.path.exists(tmp_path / "back")
