"""Truth: Transformers where it is installed; KerasHub's own models and tokenizers."""

import json
import os
import shutil

import numpy as np
import pytest

from tests.trainers.hugging_face.checkpoints import make_preset
from trainers import pretrained, settings
from trainers.adaptation import LoRA
from trainers.data import tokenizers
from trainers.errors import UserError
from trainers.hub import presets
from trainers.hugging_face.load import load_model, reordered
from zoo import PretrainedLM

SIZE = {
    "vocab_size": 97,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "eos_token_id": 5,
    "max_position_embeddings": 128,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
GEMMA = {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 7}
CONFIGS = {  # of Transformers
    "gemma2": GEMMA,
    "gemma3_text": {**GEMMA, "num_hidden_layers": 6},
    "mixtral": {
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "sliding_window": 5,
        "rms_norm_eps": 1e-3,
    },
    "qwen2_moe": {**EXPERTS, "shared_expert_intermediate_size": 40, "norm_topk_prob": True},
    "qwen3_moe": {**EXPERTS, "head_dim": 16, "tie_word_embeddings": True},
    "smollm3": {"no_rope_layers": [1, 0], "rope_theta": 5e4, "rms_norm_eps": 1e-3},
}
# Runs of white space KerasHub cuts otherwise than GPT-2's pattern.
TEXTS = [
    "hello there, how are you",
    " abc defg HIJ don't WE'LL it's (12345)",
    "Привет мир, Γειά 漢字かなカナ한국어 ，。「」",
    "def f(x):\n\treturn [x + 1, not_x] # 😀 ½²",
]
TOKENS = np.random.default_rng(0).integers(1, 97, (2, 20)).astype("int32")


def write_config(folder, kind, **more):
    config = {"model_type": kind, **SIZE, **CONFIGS[kind], **more}
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("kind", CONFIGS)
def test_logits_are_those_of_transformers(tmp_path, kind, torch, transformers):
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(kind, pad_token_id=None, **{**SIZE, **CONFIGS[kind]})
    theirs = transformers.AutoModelForCausalLM.from_config(config).float().eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        theirs.save_pretrained(str(tmp_path))
        ids = np.where(TOKENS == 5, 0, TOKENS)  # the end is 0 here, and 0 is 5
        expected = theirs(torch.tensor(ids, dtype=torch.long)).logits.numpy()
    model = load_model(str(tmp_path))
    assert isinstance(model, PretrainedLM)
    found = np.asarray(model({"inputs": np.where(ids == 0, 5, ids)}))
    np.testing.assert_allclose(reordered(found.T, 5).T, expected, atol=1e-4)
    adapted = PretrainedLM(**presets.settings_of(str(tmp_path)))
    LoRA(layers=["query|q_proj"]).apply(adapted)
    presets.read_weights(adapted, str(tmp_path))
    again = adapted({"inputs": np.where(ids == 0, 5, ids)})
    np.testing.assert_allclose(np.asarray(again), found, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "said", "message"),
    [
        ("gemma2", {"query_pre_attn_scalar": 8}, "query_pre_attn_scalar of config.json is 8"),
        ("gemma2", {"rope_theta": 5e4}, "rope_theta of config.json is not 10000"),
        ("gemma3_text", {"rope_theta": 5e4}, "has not the rotary positions"),
        ("mixtral", {"rope_scaling": {"rope_type": "yarn"}}, "has not the rotary positions 'yarn'"),
        ("qwen2_moe", {"decoder_sparse_step": 2}, "decoder_sparse_step of config.json is 2"),
        ("qwen3_moe", {"rms_norm_eps": 1e-5}, "KerasHub's Qwen3Moe has only 1e-06"),
        ("smollm3", {"attention_bias": True}, "attention_bias of config.json is True"),
        ("qwen2_moe", {}, "config.json says no 'rms_norm_eps'"),
    ],
)
def test_what_layers_of_kerashub_would_pass_over_is_refused(tmp_path, kind, said, message):
    whole = {"final_logit_softcapping": None, "attn_logit_softcapping": None}
    write_config(tmp_path, kind, **{"norm_topk_prob": True, **whole, **said})
    with pytest.raises(UserError, match=message):
        presets.settings_of(str(tmp_path))


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    """(a preset of OPT, its CausalLM)."""
    folder = str(tmp_path_factory.mktemp("preset"))
    return folder, make_preset(folder)


def test_a_preset_gives_kerashubs_logits_and_ids(preset):
    folder, theirs = preset
    model, tokenizer = load_model(folder), tokenizers.train_tokenizer(folder, iter(()))
    expected = theirs.preprocessor.tokenizer.tokenize(TEXTS)
    for text, ids in zip(TEXTS, expected, strict=True):
        assert tokenizer.encode(text).tolist() == list(tokenizer.swapped(ids)), text
    ids = np.array([[600, *expected[-1]]])
    found = np.asarray(model({"inputs": tokenizer.swapped(ids)}))
    expected = theirs({"token_ids": ids, "padding_mask": np.ones_like(ids)})
    np.testing.assert_allclose(reordered(found[0].T, 600).T, expected[0], atol=1e-5)
    adapted = PretrainedLM(**presets.settings_of(folder))
    LoRA(layers=["query"]).apply(adapted)
    presets.read_weights(adapted, folder)
    again = np.asarray(adapted({"inputs": tokenizer.swapped(ids)}))
    np.testing.assert_allclose(again, found, atol=1e-5)
    # A that is 0, as B is at first, would learn nothing.
    assert all(np.any(w) for w in adapted.weights if "lora_kernel_a" in w.path)


def test_new_tokens_begin_as_the_mean_of_the_others(preset):
    folder, _ = preset
    model, described = load_model(folder), presets.settings_of(folder)
    more = {**described, "vocabulary_size": described["vocabulary_size"] + 3}
    larger = PretrainedLM(**more)
    LoRA(layers=["query"]).apply(larger)
    with pytest.raises(UserError, match="its vocabulary_size is 608"):
        presets.read_weights(larger, folder, new_tokens=2)
    presets.read_weights(larger, folder, new_tokens=3)
    found, expected = (np.asarray(each({"inputs": TOKENS})) for each in (larger, model))
    np.testing.assert_allclose(found[..., :608], expected, atol=1e-5)
    table = np.asarray(larger.backbone.token_embedding.embeddings)
    np.testing.assert_allclose(table[608:], np.tile(table[:608].mean(axis=0), (3, 1)), atol=1e-7)


def begun_from(path):
    config = settings.Settings()
    settings.read_text(config, f'INIT = "{path}"\nDecoderLM.width = 8\nPretrainedLM.dropout = 0.1')
    pretrained.add(config)
    return config.flat()


def test_init_takes_model_and_tokenizer_of_a_preset(preset):
    folder, _ = preset
    found = begun_from(folder)
    assert found["Experiment.model"] == settings.Reference("PretrainedLM")
    assert found["Experiment.tokenizer"] == folder
    assert found["PretrainedLM.backbone"] == "OPT"
    assert found["PretrainedLM.settings"]["max_sequence_length"] == 64
    assert found["PretrainedLM.dropout"] == 0.1
    assert found["PretrainedLM.begin_token"] == 0


def spoilt(preset, folder, name, **more):
    """A copy of a preset with one file changed, or gone."""
    shutil.copytree(preset, folder, dirs_exist_ok=True)
    file = os.path.join(folder, name)
    if not more:
        os.remove(file)
        return folder
    with open(file) as text:
        described = json.load(text)
    with open(file, "w") as text:
        json.dump({**described, **more}, text)
    return folder


def cut_off(preset, folder, name):
    """A copy of a preset with half of one file."""
    shutil.copytree(preset, folder)
    file = os.path.join(folder, name)
    os.truncate(file, os.path.getsize(file) // 2)
    return folder


@pytest.mark.parametrize("name", ["tokenizer.json", "assets/tokenizer/vocabulary.json"])
def test_a_file_of_a_preset_that_is_cut_off_is_named(preset, tmp_path, name):
    folder = cut_off(preset[0], str(tmp_path / "preset"), name)
    with pytest.raises(UserError, match=rf"{name}: is not JSON \("):
        begun_from(folder)


@pytest.mark.parametrize(("name", "lost"), [("config", "config"), ("tokenizer", "class_name")])
def test_what_a_file_of_a_preset_lacks_is_named(preset, tmp_path, name, lost):
    folder = spoilt(preset[0], str(tmp_path / "preset"), f"{name}.json", **{lost: None})
    file = tmp_path / "preset" / f"{name}.json"
    file.write_text(file.read_text().replace(f'"{lost}": null', '"other": null'))
    with pytest.raises(UserError, match=f"{name}.json says no '{lost}'"):
        begun_from(folder)


def test_a_setting_that_a_preset_lacks_is_named(preset, tmp_path):
    folder = str(tmp_path / "preset")
    with open(os.path.join(preset[0], "config.json")) as file:
        config = json.load(file)["config"]
    del config["num_layers"]
    spoilt(preset[0], folder, "config.json", config=config)
    with pytest.raises(UserError, match="of its config.json, settings: .*'num_layers'"):
        load_model(folder)


def test_what_is_wrong_with_a_preset_is_one_clear_line(preset, tmp_path):
    folder, _ = preset

    def copy(*name, **more):
        return spoilt(folder, str(tmp_path / str(len(os.listdir(tmp_path)))), *name, **more)

    model = load_model(folder)
    with pytest.raises(UserError, match=r"has no model.weights.h5; the preset is not complete"):
        presets.read_weights(model, copy("model.weights.h5"))
    with pytest.raises(UserError, match="is a BertTokenizer; of presets of KerasHub are read GPT2"):
        begun_from(copy("tokenizer.json", class_name="BertTokenizer"))
    with pytest.raises(UserError, match=r"has no tokenizer.json; save it with its tokenizer"):
        begun_from(copy("tokenizer.json"))
    with pytest.raises(UserError, match=r"the tokenizer is not complete .*merges.txt"):
        begun_from(copy("assets/tokenizer/merges.txt"))
    with pytest.raises(UserError, match="a Bert is more than a decoder of text"):
        config = {"vocabulary_size": 608, "vision_encoder": {"class_name": "ViT"}}
        begun_from(copy("config.json", registered_name="keras_hub>BertBackbone", config=config))
    other = PretrainedLM(608, "OPT", {**model.get_config()["settings"], "num_layers": 1})
    with pytest.raises(UserError, match="is another model than this PretrainedLM: its settings is"):
        presets.read_weights(other, folder)


def test_names_of_presets_are_looked_up_and_what_cannot_be_had_is_one_clear_line(monkeypatch):
    import huggingface_hub
    import kagglehub

    asked = []

    def fetch(handle, **options):
        asked.append(handle)
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(kagglehub, "model_download", fetch)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    for name in ("gemma2_2b_en", "hf://org/name", "kaggle://a/b/keras/c"):
        with pytest.raises(UserError, match="cannot be downloaded from .*: no route to host; down"):
            begun_from(name)
    assert asked[0].startswith("keras/gemma2/")
    assert asked[1:] == ["org/name", "a/b/keras/c"]
    with pytest.raises(UserError, match="presets of Bloom, .*did you mean gemma2_2b_en"):
        begun_from("gemma2_2b_eng")
