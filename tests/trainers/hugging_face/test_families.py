"""Checkpoints that Transformers made: read, generated from, trained, resumed, exported and served."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tests.scripts.serving.processes import client_of, started
from tests.trainers.data import sentence_pieces
from tests.trainers.data.byte_pairs import make, varied
from tests.trainers.data.test_pretrained_sentence_piece import OTHERWISE
from tests.trainers.hugging_face.runs import EXPORT, NO_EXPORT, run
from trainers.exported import ExportedModel
from trainers.hugging_face import tokenizer

pytestmark = pytest.mark.slow
ROWS, CONTEXT, NEW = 608, 128, 8
PROMPTS = ["hello there", "Ein Müller", "def f(x):\n    return"]
WIDE = {"initializer_range": 0.5}  # so that texts are of many tokens
DECODER = {
    **WIDE,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
}
STRETCHED = {
    "rope_type": "llama3",
    "rope_theta": 5e5,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
SIZES = {"d_model": 32, "vocab_size": ROWS}
BART = {
    **SIZES,
    "init_std": 0.5,
    "max_position_embeddings": CONTEXT,
    **{
        f"{stack}_{name}": value
        for stack in ("encoder", "decoder")
        for name, value in {"layers": 2, "attention_heads": 4, "ffn_dim": 48}.items()
    },
}
FAMILIES = {  # class of Transformers, tokenizer, settings
    "gpt2": (
        "GPT2LMHeadModel",
        "gpt2",
        {**WIDE, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": CONTEXT},
    ),
    "llama": ("LlamaForCausalLM", "llama3", {**DECODER, "rope_parameters": STRETCHED}),
    "mistral": ("MistralForCausalLM", "mistral", {**DECODER, "sliding_window": 7}),
    "gemma": ("GemmaForCausalLM", "gemma", {**DECODER, "head_dim": 16}),
    "qwen2": ("Qwen2ForCausalLM", "qwen2", DECODER),
    "bart": ("BartForConditionalGeneration", "gpt2", BART),
    "t5": (
        "T5ForConditionalGeneration",
        "t5",
        {**SIZES, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4},
    ),
}


def describe(kind, name):
    """(tokenizer.json, text of the end, the settings of a config.json that name tokens)"""
    if name in sentence_pieces.KINDS:
        description, end, begin = sentence_pieces.description_of(name), "</s>", "<s>"
    else:
        description, end, begin = make(name), "<|endoftext|>", "<|im_start|>"
    ids = {token["content"]: token["id"] for token in description["added_tokens"]}
    named = {"eos_token_id": ids[end], "bos_token_id": ids.get(begin), "pad_token_id": ids[end]}
    if kind == "llama":
        first = {"id": begin, "ids": [ids[begin]], "tokens": [begin]}
        text = {"Sequence": {"id": "A", "type_id": 0}}
        description["post_processor"] = {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": begin, "type_id": 0}}, text],
            "pair": [text, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {begin: first},
        }
    if kind == "bart":
        description["post_processor"] = {
            "type": "RobertaProcessing",
            "sep": [end, ids[end]],
            "cls": [begin, ids[begin]],
            "trim_offsets": True,
            "add_prefix_space": False,
        }
        named |= {"decoder_start_token_id": ids[end], "forced_eos_token_id": None}
    if kind == "t5":
        named |= {"decoder_start_token_id": ids["<pad>"], "pad_token_id": ids["<pad>"]}
    return description, end, named


@pytest.fixture(
    scope="module",
    params=[pytest.param(kind, marks=pytest.mark.xdist_group(kind)) for kind in FAMILIES],
)
def family(request, tmp_path_factory, torch, transformers):
    """(kind, folder of the checkpoint, Transformers' model and tokenizer)"""
    kind = request.param
    folder = tmp_path_factory.mktemp(kind) / "source"
    model_class, name, sizes = FAMILIES[kind]
    description, end, named = describe(kind, name)
    torch.manual_seed(0)
    model_class = getattr(transformers, model_class)
    config = model_class.config_class(**{**sizes, "vocab_size": ROWS, **named})
    model = model_class(config).eval()
    if kind == "bart":
        model.generation_config.forced_bos_token_id = config.bos_token_id
    model.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(json.dumps(description))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": end}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    reader = transformers.PreTrainedTokenizerFast.from_pretrained(str(folder))
    return kind, folder, model, reader


@pytest.fixture(scope="module")
def export(family):
    """The checkpoint as an export."""
    _, folder, _, _ = family
    model_dir = folder.parent / "converted"
    done = run("scripts/convert.py", folder, model_dir)
    assert done.returncode == 0, done.stderr
    done = run("-m trainers.run", "--mode=export", f"--model_dir={model_dir}")
    assert done.returncode == 0, done.stderr
    return ExportedModel(str(model_dir / "export"))


def test_ids_are_those_of_transformers(family):
    kind, folder, _, reader = family
    ours = tokenizer.load(str(folder))
    # Letters that spell a special token stay letters here.
    texts = [text for text in varied(1400) if "<|" not in text]
    if kind == "t5":  # see data/sentence_piece_model.py
        texts = [text for text in texts if not OTHERWISE.search(text)]
    texts = texts[:1000]
    assert len(texts) == 1000
    for text, ids in zip(texts, ours.encode_batch(texts), strict=True):
        theirs = reader(text, add_special_tokens=kind == "bart")["input_ids"]
        assert ours.swapped(ids).tolist() == (theirs[:-1] if kind == "bart" else theirs), text


def test_greedy_texts_are_those_of_transformers(family, export, torch):
    kind, folder, model, reader = family
    swapped = tokenizer.load(str(folder)).swapped
    for prompt in PROMPTS:
        ids = reader(prompt)["input_ids"]
        with torch.no_grad():
            (whole,) = model.generate(
                torch.tensor([ids]), do_sample=False, num_beams=1, max_new_tokens=NEW
            ).tolist()
        # A target begins with what the model is told, of BART two tokens.
        expected = whole[{"bart": 2, "t5": 1}.get(kind, len(ids)) :]
        found = export.functions.generate(
            prompts=tf.constant([prompt]), max_new_tokens=len(expected)
        )
        tokens = found["tokens"][0, 0, : int(found["num_tokens"][0, 0])].numpy()
        np.testing.assert_array_equal(swapped(tokens), expected[: len(tokens)])
        assert len(tokens) == len(expected) or tokens[-1] == 0


def test_it_trains_goes_on_and_serves(family):
    kind, source, _, _ = family
    folder = source.parent
    target = "hello there, how are you"
    recipe = "lm_files"
    if kind in ("bart", "t5"):
        recipe = "finetune_translation"
        for language in ("en", "de"):
            (folder / f"train.{language}").write_text(f"{target}\n" * 40)
    (folder / "train.txt").write_text(f"{target}\n" * 40)
    files = "train.{language}" if recipe == "finetune_translation" else "train.txt"
    model_dir = folder / "run"
    flags = [
        f"--gin_file=configs/recipes/{recipe}.gin",
        f"--model_dir={model_dir}",
        f'--gin_param=INIT = "{source}"',
        f'--gin_param=TRAIN_FILES = "{folder / files}"',
        "--gin_param=SEQUENCE_LENGTH = 32",
        "--gin_param=BATCH_SIZE = 4",
        "--gin_param=LEARNING_RATE = 0.01",
        "--gin_param=train.optimizer = @AdamW",
        "--gin_param=train.callbacks = []",
        "--gin_param=EVAL_EVERY = 10",
    ]
    for steps in (10, 20):
        done = run(
            "-m trainers.run",
            *flags,
            f"--gin_param=STEPS = {steps}",
            EXPORT if steps == 20 else NO_EXPORT,
        )
        assert done.returncode == 0, done.stderr
    assert f"goes on from {model_dir}/checkpoints/step_10" in done.stdout
    lines = [json.loads(line) for line in (model_dir / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if line["split"] == "train"]
    assert losses[-1] < 0.8 * losses[0]
    export = ExportedModel(str(model_dir / "export"))
    found = export.functions.generate(prompts=tf.constant(["hello"]), max_new_tokens=NEW)
    expected = found["text"][0, 0].numpy().decode()
    command = ["scripts/serve.py", f"--model={model_dir}"]
    with started("--model_name=tuned", command=command) as server, client_of(server) as client:
        answer = client.completions.create(
            model="tuned", prompt="hello", temperature=0, max_tokens=NEW
        )
        assert answer.choices[0].text == expected
