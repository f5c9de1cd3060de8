"""Presets of BART and T5. Truth: KerasHub's own models and tokenizers."""

import numpy as np
import pytest
from keras import ops

from tests.trainers.data.byte_pairs import make, varied
from tests.trainers.data.sentence_pieces import model_of
from tests.trainers.hugging_face.runs import EXPORT, NO_EXPORT, run
from trainers.data import tokenizers
from trainers.errors import UserError
from trainers.hub import presets
from trainers.hugging_face.load import load_model, reordered
from zoo import EncoderDecoder

KINDS = {  # the class before "Backbone", and settings
    "bart": ("Bart", {"max_sequence_length": 64}),
    "t5": ("T5", {"use_gated_activation": False, "tie_embedding_weights": True}),
    "flan": ("T5", {"activation": "gelu", "key_value_dim": 6, "tie_embedding_weights": False}),
}


def make_preset(folder, kind):
    """Writes a preset with weights at random; returns KerasHub's Seq2SeqLM."""
    import keras
    import keras_hub

    name, settings = KINDS[kind]
    if name == "Bart":
        description = make("gpt2")
        vocabulary = {"<s>": 600, "<pad>": 601, "</s>": 602, "<mask>": 603}
        vocabulary = {**description["model"]["vocab"], **vocabulary}
        merges = [" ".join(pair) for pair in description["model"]["merges"]]
        args = (vocabulary, merges)
    else:
        args = (model_of("t5"),)
    tokenizer = getattr(keras_hub.tokenizers, f"{name}Tokenizer")(*args)
    if "activation" in settings:
        from keras_hub.src.utils.keras_utils import gelu_approximate

        settings = {**settings, "activation": gelu_approximate}
    backbone = getattr(keras_hub.models, f"{name}Backbone")(
        vocabulary_size=tokenizer.vocabulary_size() + 4,
        num_layers=2,
        num_heads=4,
        hidden_dim=16,
        intermediate_dim=24,
        **settings,
    )
    for i, weight in enumerate(backbone.weights):
        weight.assign(weight + keras.random.normal(weight.shape, stddev=0.1, seed=i))
    preprocessor = getattr(keras_hub.models, f"{name}Seq2SeqLMPreprocessor")(tokenizer, 16, 16)
    theirs = getattr(keras_hub.models, f"{name}Seq2SeqLM")(backbone, preprocessor)
    theirs.save_to_preset(str(folder))
    return theirs


@pytest.mark.parametrize("kind", KINDS)
def test_a_preset_gives_kerashubs_logits_and_ids(kind, tmp_path):
    theirs = make_preset(tmp_path, kind)
    inner, end = theirs.preprocessor.tokenizer, theirs.preprocessor.tokenizer.end_token_id
    tokenizer = tokenizers.train_tokenizer(str(tmp_path), iter(()))
    before = [inner.start_token_id] if kind == "bart" else []
    texts = varied(200)
    if kind == "bart":  # KerasHub cuts some white space otherwise than GPT-2's pattern
        texts = [text for text in texts if text.isalnum()]
    for text, ids in zip(texts, inner.tokenize(texts), strict=True):
        assert tokenizer.swapped(tokenizer.encode(text)).tolist() == [*before, *ids], text

    model = load_model(str(tmp_path))
    assert isinstance(model, EncoderDecoder)
    draw = np.random.default_rng(0)
    source = draw.integers(3, 90, (2, 9)).astype("int32")
    target = np.where((t := draw.integers(3, 90, (2, 7))) == end, 5, t).astype("int32")
    begin = {"bart": end}.get(kind, inner.pad_token_id)
    begun = np.pad(target, [(0, 0), (1, 0)], constant_values=begin)
    found = model({
        "source": tokenizer.swapped(np.pad(source, [(0, 0), (0, 1)], constant_values=end)),
        "inputs": np.pad(tokenizer.swapped(target), [(0, 0), (1, 0)]),
    })  # fmt: skip
    whole = np.pad(source, [(0, 0), (0, 1)], constant_values=end)
    expected = theirs({
        "encoder_token_ids": whole,
        "encoder_padding_mask": np.ones_like(whole),
        "decoder_token_ids": begun,
        "decoder_padding_mask": np.ones_like(begun),
    })  # fmt: skip
    found = reordered(np.moveaxis(np.asarray(found), -1, 0), end)
    np.testing.assert_allclose(np.moveaxis(found, 0, -1), ops.convert_to_numpy(expected), atol=1e-4)


def test_what_the_zoo_has_not_is_one_clear_line(tmp_path):
    make_preset(tmp_path, "t5")
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace('"relu"', '"tanh"'))
    with pytest.raises(UserError, match="its activation is 'tanh'; known are relu, gelu_app"):
        presets.config_of(str(tmp_path))


@pytest.mark.slow
def test_a_run_begins_from_a_preset_and_needs_it_no_more(tmp_path):
    make_preset(tmp_path / "source", "bart")
    for language in ("en", "de"):
        (tmp_path / f"train.{language}").write_text("hello there\nhow are you\n" * 20)
    recipe = [
        "--gin_file=configs/recipes/finetune_translation.gin",
        f"--model_dir={tmp_path / 'run'}",
        f'--gin_param=INIT = "{tmp_path / "source"}"',
        f'--gin_param=TRAIN_FILES = "{tmp_path}/train.{{language}}"',
        "--gin_param=train.callbacks = []",
        "--gin_param=Experiment.checkpoint = 'newest'",
        "--gin_param=SEQUENCE_LENGTH = 32",
        "--gin_param=BATCH_SIZE = 2",
        "--gin_param=EVAL_EVERY = 2",
        NO_EXPORT,
    ]
    done = run("-m trainers.run", *recipe, "--gin_param=STEPS = 2")
    assert done.returncode == 0, done.stderr
    (tmp_path / "source").rename(tmp_path / "away")
    done = run(
        "-m trainers.run", f"--model_dir={tmp_path / 'run'}", "--gin_param=STEPS = 4", EXPORT
    )
    assert done.returncode == 0, done.stderr
    assert "exported step 4" in done.stdout
