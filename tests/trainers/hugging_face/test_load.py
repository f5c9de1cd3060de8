"""Truth: Transformers where it is installed; the weights that were written, to the bit."""

import json

import numpy as np
import pytest

from tests.trainers.hugging_face.checkpoints import DECODERS, MODELS, make_model
from trainers.errors import UserError
from trainers.hugging_face import folder
from trainers.hugging_face.decoders import Llama
from trainers.hugging_face.load import load_model, save_model
from zoo import LSTMLM, DecoderLM

TOKENS = np.random.default_rng(0).integers(1, 97, (3, 20)).astype("int32")


def named(array, eos):
    """Tokens by the ids of the checkpoint."""
    return np.where(array == 0, eos, np.where(array == eos, 0, array))


@pytest.mark.parametrize("kind", MODELS)
def test_what_is_written_is_read_bit_for_bit(tmp_path, kind):
    model = make_model(kind)
    save_model(model, str(tmp_path / "one"), eos=5, bos_token_id=3)
    again = load_model(str(tmp_path / "one"))
    for weight, other in zip(model.weights, again.weights, strict=True):
        assert weight.path == other.path
        np.testing.assert_array_equal(weight, other)
    if kind in DECODERS:
        assert again.get_config()["rotary_scaling"] == model.get_config()["rotary_scaling"]
    assert folder.read_config(str(tmp_path / "one"))["model_type"] == kind.split("_")[0]
    save_model(again, str(tmp_path / "two"), eos=5, bos_token_id=3)
    one, two = (tmp_path / name / "model.safetensors" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize("kind", MODELS)
def test_logits_are_those_of_transformers(tmp_path, kind, torch, transformers):
    ours = make_model(kind)
    save_model(ours, str(tmp_path), eos=5)
    reads = "CausalLM" if kind in DECODERS else "Seq2SeqLM"
    theirs, information = getattr(transformers, f"AutoModelFor{reads}").from_pretrained(
        str(tmp_path), output_loading_info=True
    )
    # Which they work out again.
    missing = {n for n in information.pop("missing_keys") if "embed_positions" not in n}
    assert not missing
    assert not any(information.values())
    inputs = {"inputs": TOKENS}
    ids = {"input_ids": named(TOKENS, 5)}
    if kind not in DECODERS:
        inputs = {"source": TOKENS, "inputs": np.pad(TOKENS[:, 1:8], [(0, 0), (1, 0)])}
        first = theirs.config.decoder_start_token_id
        ids["decoder_input_ids"] = named(inputs["inputs"], 5)
        ids["decoder_input_ids"][:, 0] = first
    with torch.no_grad():
        ids = {name: torch.tensor(value, dtype=torch.long) for name, value in ids.items()}
        expected = theirs.eval()(**ids).logits.numpy()
    found = np.asarray(ours(inputs))
    np.testing.assert_allclose(named_columns(found, 5), expected, atol=1e-4)
    # Written by Transformers it comes back.
    theirs.save_pretrained(str(tmp_path / "theirs"))
    back = load_model(str(tmp_path / "theirs"))
    np.testing.assert_allclose(np.asarray(back(inputs)), found, atol=1e-5)


def named_columns(logits, eos):
    columns = np.arange(logits.shape[-1])
    columns[[0, eos]] = eos, 0
    return logits[..., columns]


WINDOWS = {  # of 4 layers: the kind, what its config.json says, the window of all
    "none is said": ("qwen2", {"use_sliding_window": True, "sliding_window": None}, None),
    "it is not used": ("qwen3", {"sliding_window": 7, "max_window_layers": 0}, None),
    "no layer slides": ("qwen2", {"use_sliding_window": True, "sliding_window": 7}, None),
    "all slide": ("qwen3", {"use_sliding_window": True, "max_window_layers": 0}, 4096),
    "all slide by name": (
        "qwen2",
        {
            "use_sliding_window": True,
            "sliding_window": 7,
            "layer_types": ["sliding_attention"] * 4,
        },
        7,
    ),
    "Mistral's own": ("mistral", {}, 4096),
    "Mistral's without": ("mistral", {"sliding_window": None}, None),
    "Llama has none": ("llama", {"sliding_window": 7}, None),
}


def sized(kind, said):
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    return {"model_type": kind, "vocab_size": 97, **sizes, **heads, **said}


@pytest.mark.parametrize(("kind", "said", "window"), WINDOWS.values(), ids=WINDOWS)
def test_a_window_is_that_of_the_layers_of_transformers(kind, said, window):
    assert Llama.settings(sized(kind, said))["window"] == window


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("qwen2", {"max_window_layers": 3}),
        ("qwen3", {"layer_types": ["full_attention"] * 3 + ["sliding_attention"]}),
        ("mistral", {"layer_types": ["full_attention"] * 3 + ["sliding_attention"]}),
    ],
)
def test_a_window_of_some_layers_alone_is_refused(kind, said):
    config = sized(kind, {"use_sliding_window": True, "sliding_window": 7, **said})
    with pytest.raises(UserError, match="sliding_window of config.json is of 1 of its 4 layers"):
        Llama.settings(config)


@pytest.mark.parametrize("kind", ["qwen2", "qwen3"])
@pytest.mark.parametrize("first", [0, 4])
def test_a_window_of_qwen_gives_the_logits_of_transformers(
    tmp_path, kind, first, torch, transformers
):
    torch.manual_seed(0)
    said = {"use_sliding_window": True, "sliding_window": 3, "max_window_layers": first}
    config = transformers.AutoConfig.for_model(**sized(kind, {**said, "eos_token_id": 5}))
    theirs = transformers.AutoModelForCausalLM.from_config(config).float().eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        expected = theirs(torch.tensor(named(TOKENS, 5), dtype=torch.long)).logits.numpy()
    theirs.save_pretrained(str(tmp_path))
    found = np.asarray(load_model(str(tmp_path))({"inputs": TOKENS}))
    np.testing.assert_allclose(named_columns(found, 5), expected, atol=1e-4)


def test_weights_may_lie_in_several_files(tmp_path):
    model = make_model("llama")
    save_model(model, str(tmp_path / "whole"))
    whole = folder.Folder(str(tmp_path / "whole"))
    weights = {name: whole.read(name) for name in whole.weights}
    folder.write(str(tmp_path / "parts"), whole.config, weights, most_bytes=20_000)
    _, second, *others = sorted((tmp_path / "parts").glob("model-*.safetensors"))
    assert others
    again = load_model(str(tmp_path / "parts"))
    for weight, other in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(weight, other)
    second.unlink()
    with pytest.raises(UserError, match=f"lacks 1 of the {2 + len(others)} files .*{second.name}"):
        load_model(str(tmp_path / "parts"))


def test_half_precision_is_read_as_numbers(tmp_path):
    import ml_dtypes

    save_model(make_model("gpt2"), str(tmp_path / "float32"))
    whole = folder.Folder(str(tmp_path / "float32"))
    halves = {name: whole.read(name).astype(ml_dtypes.bfloat16) for name in whole.weights}
    folder.write(str(tmp_path / "bfloat16"), whole.config, halves)
    table = halves["transformer.wte.weight"].astype("float32")
    np.testing.assert_array_equal(load_model(str(tmp_path / "bfloat16")).embedding.table, table)


def changed(path, **settings):
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, **settings}))


def without(name):
    def spoil(path):
        config = json.loads((path / "config.json").read_text())
        (path / "config.json").write_text(json.dumps({k: config[k] for k in config if k != name}))

    return spoil


def indexed(text):
    return lambda path: (path / "model.safetensors.index.json").write_text(text)


def damaged(path):
    whole = (path / "model.safetensors").read_bytes()
    (path / "model.safetensors").write_bytes(whole[: len(whole) // 2])


def pickled(path):
    (path / "model.safetensors").rename(path / "pytorch_model.bin")


def halfway(path):
    (path / "model.safetensors").rename(path / "model.safetensors.incomplete")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: (path / "config.json").unlink(), "has no config.json"),
        (lambda path: (path / "config.json").write_text("{"), "is not JSON"),
        (lambda path: (path / "config.json").write_text("{}"), "names no model_type"),
        (lambda path: changed(path, model_type="rwkv"), "'rwkv' is none of those known: gpt2,"),
        (lambda path: changed(path, n_embd=64), r"is \[97, 32\], and by config.json it must be"),
        (lambda path: changed(path, n_layer=3), "has no weight 'transformer.h.2.attn.c_attn"),
        (lambda path: changed(path, n_layer=1), "'transformer.h.1.attn.c_attn.bias' has no place"),
        (lambda path: changed(path, activation_function="selu"), "is 'selu', none of gelu_new"),
        (lambda path: changed(path, eos_token_id=None), "names no eos_token_id"),
        (without("n_embd"), "config.json says no 'n_embd'"),
        (without("vocab_size"), "config.json says no 'vocab_size'"),
        (indexed('{"weight_map": {"transf'), r"model.safetensors.index.json: is not JSON \("),
        (indexed("{}"), "model.safetensors.index.json says no 'weight_map'"),
        (damaged, "is damaged or downloaded in part"),
        (pickled, "as pickle, which may run any program and is not read; convert it"),
        (halfway, "is downloaded in part, model.safetensors.incomplete lies there"),
        (lambda path: (path / "model.safetensors").unlink(), "has no model.safetensors"),
    ],
)
def test_what_is_wrong_with_a_checkpoint_is_one_clear_line(tmp_path, spoil, message):
    save_model(make_model("gpt2"), str(tmp_path))
    spoil(tmp_path)
    with pytest.raises(UserError, match=message):
        load_model(str(tmp_path))


def test_a_model_that_is_none_of_theirs_is_refused(tmp_path):
    modern = DecoderLM(97, num_layers=1, width=16, activation="squared_relu")
    with pytest.raises(UserError, match="activation = 'squared_relu'; Transformers has only"):
        save_model(modern, str(tmp_path))
    with pytest.raises(UserError, match="a LSTMLM is no model of Transformers"):
        save_model(LSTMLM(97), str(tmp_path))
    assert not list(tmp_path.iterdir())
