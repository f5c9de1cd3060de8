import numpy as np
import pytest

from tests.zoo.models import logits_of, make, some_tokens
from zoo import DecoderLM


def test_weights_of_gpt2_by_hand():
    model = DecoderLM(
        10,
        num_layers=2,
        width=8,
        num_heads=2,
        positions="learned",
        context_length=6,
        norm="layer",
        activation="gelu",
        use_bias=True,
        tie_embeddings=True,
    )
    attention = (8 * 24 + 24) + (8 * 8 + 8)
    feed_forward = (8 * 32 + 32) + (32 * 8 + 8)
    norm = 2 * 8
    block = attention + feed_forward + 2 * norm
    assert model.count_params() == 10 * 8 + 6 * 8 + 2 * block + norm
    # Multiply-adds a token: the matrices of two blocks and the softmax, scores and mixing of 6.
    products = 2 * (8 * 24 + 8 * 8 + 8 * 32 + 32 * 8) + 8 * 10 + 2 * (8 * 6 + 8 * 6)
    assert model.matmul_flops_per_token(6) == 2 * products
    assert model.context_length == 6


def test_weights_of_llama_by_hand():
    model = DecoderLM(
        10, num_layers=1, width=8, num_heads=4, num_kv_heads=2, hidden_width=12, activation="swiglu"
    )
    matrices = 8 * (8 + 4 + 4) + 8 * 8 + 3 * 8 * 12
    assert model.count_params() == 2 * 10 * 8 + matrices + 3 * 8
    assert model.matmul_flops_per_token(5) == 2 * (matrices + 10 * 8 + 2 * 8 * 5)
    assert model.context_length is None


def test_a_window_bounds_the_products_of_attention():
    model = DecoderLM(10, num_layers=1, width=8, num_heads=2, window=4)
    whole = DecoderLM(10, num_layers=1, width=8, num_heads=2)
    assert model.matmul_flops_per_token(100) == whole.matmul_flops_per_token(4)
    assert model.matmul_flops_per_token(3) == whole.matmul_flops_per_token(3)


def test_frozen_weights_multiply_all_the_same():
    model = DecoderLM(10, num_layers=1, width=8, num_heads=2)
    products = model.matmul_flops_per_token(4)
    model.trainable = False
    assert model.matmul_flops_per_token(4) == products


def test_a_layer_with_a_window_sees_so_many_tokens_back():
    model = DecoderLM(23, num_layers=1, width=16, window=3)
    tokens = some_tokens(1, 8)
    other = tokens.copy()
    other[0, 2] = other[0, 2] % 22 + 1
    changed = np.abs(logits_of(model, {"inputs": tokens}) - logits_of(model, {"inputs": other}))
    np.testing.assert_array_equal(changed[0].max(-1) > 1e-6, [0, 0, 1, 1, 1, 0, 0, 0])


def test_a_short_convolution_adds_a_weight_for_each_channel_of_each_token_before():
    settings = {"num_layers": 1, "width": 8, "num_heads": 2}
    model, plain = DecoderLM(10, short_convolution=4, **settings), DecoderLM(10, **settings)
    assert model.count_params() == plain.count_params() + 3 * 8
    assert model.matmul_flops_per_token(6) == plain.matmul_flops_per_token(6)


def test_a_soft_cap_squashes_the_logits():
    model = make("modern")
    features = {"inputs": some_tokens(4, 8)}
    capped = logits_of(model, features)
    model.logit_soft_cap = None
    plain = logits_of(model, features)
    assert np.abs(plain).max() > 2
    model.logit_soft_cap = 1.0
    np.testing.assert_allclose(logits_of(model, features), np.tanh(plain), atol=1e-5)
    np.testing.assert_allclose(capped, 15 * np.tanh(plain / 15), atol=1e-5)


def test_an_output_scale_of_zero_starts_with_equal_logits():
    model = DecoderLM(23, num_layers=1, width=16, output_scale=0.0)
    assert not np.any(model({"inputs": some_tokens(1, 4)}))


def test_without_positions_earlier_tokens_are_a_bag():
    bag, ordered = make("no_positions"), make("llama")
    tokens = np.array([[3, 4, 5, 6]], "int32")
    for model, same in ((bag, True), (ordered, False)):
        last = [
            logits_of(model, {"inputs": row})[0, -1] for row in (tokens, tokens[:, [1, 0, 2, 3]])
        ]
        assert np.allclose(*last, atol=1e-4) is same


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"width": 130}, "width 130 is not divisible by 4 heads"),
        ({"num_kv_heads": 3}, "num_heads 4 is not divisible by 3 kv heads"),
        ({"width": 12}, "rotary positions need an even head width, not 3"),
        ({"positions": "rotery"}, "positions 'rotery' is none of 'learned', "),
        ({"positions": "relative"}, "DecoderLM has no relative positions"),
        ({"positions": "learned"}, "learned positions need a context_length"),
        (
            {"positions": "sinusoidal", "width": 5, "num_heads": 1},
            "sinusoidal positions need an even width, not 5",
        ),
        ({"norm": "batch"}, "norm 'batch' is none of 'layer', "),
        ({"activation": "tanh"}, "activation 'tanh' is none of 'relu', "),
        ({"dropout": 1.0}, r"dropout 1.0 is not in \[0, 1\)"),
        ({"dropout": -0.1}, r"dropout -0.1 is not in \[0, 1\)"),
        ({"short_convolution": 1}, "short_convolution 1 sees no token before"),
        ({"logit_soft_cap": 0.0}, "logit_soft_cap 0.0 is not positive"),
        *(
            ({size: 0}, f"{size} 0 is not positive")
            for size in (
                "vocabulary_size",
                "num_layers",
                "width",
                "num_heads",
                "num_kv_heads",
                "hidden_width",
                "context_length",
                "window",
            )
        ),
    ],
)
def test_settings_that_make_no_model_are_refused_in_a_sentence(settings, message):
    with pytest.raises(ValueError, match=message):
        DecoderLM(**{"vocabulary_size": 23, "width": 16, **settings})


def to_numpy(tensor):
    return tensor.detach().numpy()


def test_gpt2_has_the_logits_of_transformers(torch, transformers):
    config = transformers.GPT2Config(vocab_size=23, n_positions=16, n_embd=16, n_layer=2, n_head=4)
    theirs = transformers.GPT2LMHeadModel(config).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    ours = make("gpt2")
    body = theirs.transformer
    pairs = [
        (ours.embedding.table, body.wte.weight),
        (ours.position_embedding.table, body.wpe.weight),
    ]
    norms = [(ours.final_norm, body.ln_f)]
    for block, h in zip(ours.blocks, body.h, strict=True):
        for dense, linear in (
            (block.attention.qkv, h.attn.c_attn),
            (block.attention.output_projection, h.attn.c_proj),
            (block.feed_forward.up, h.mlp.c_fc),
            (block.feed_forward.down, h.mlp.c_proj),
        ):
            pairs += [(dense.kernel, linear.weight), (dense.bias, linear.bias)]
        norms += [(block.attention_norm, h.ln_1), (block.feed_forward_norm, h.ln_2)]
    for norm, layer_norm in norms:
        pairs += [(norm.gamma, layer_norm.weight), (norm.beta, layer_norm.bias)]
    assert len(pairs) == len(ours.weights)
    for variable, parameter in pairs:
        variable.assign(to_numpy(parameter))
    tokens = some_tokens(2, 12)
    expected = to_numpy(theirs(torch.tensor(tokens).long()).logits)
    np.testing.assert_allclose(logits_of(ours, {"inputs": tokens}), expected, atol=1e-4)


def test_llama_has_the_logits_of_transformers(torch, transformers):
    config = transformers.LlamaConfig(
        vocab_size=23,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        rms_norm_eps=1e-5,
    )
    theirs = transformers.LlamaForCausalLM(config).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    ours = make("llama")
    pairs = [
        (ours.embedding.table, [theirs.model.embed_tokens.weight.T]),
        (ours.embedding.head, [theirs.lm_head.weight.T]),
        (ours.final_norm.scale, [theirs.model.norm.weight]),
    ]
    for block, layer in zip(ours.blocks, theirs.model.layers, strict=True):
        attention, network = layer.self_attn, layer.mlp
        projections = (attention.q_proj, attention.k_proj, attention.v_proj)
        pairs += [
            (block.attention.qkv.kernel, [part.weight for part in projections]),
            (block.attention.output_projection.kernel, [attention.o_proj.weight]),
            (block.feed_forward.up.kernel, [network.gate_proj.weight, network.up_proj.weight]),
            (block.feed_forward.down.kernel, [network.down_proj.weight]),
            (block.attention_norm.scale, [layer.input_layernorm.weight]),
            (block.feed_forward_norm.scale, [layer.post_attention_layernorm.weight]),
        ]
    assert len(pairs) == len(ours.weights)
    for variable, parameters in pairs:
        variable.assign(np.concatenate([to_numpy(part) for part in parameters]).T)
    tokens = some_tokens(2, 12)
    expected = to_numpy(theirs(torch.tensor(tokens).long()).logits)
    np.testing.assert_allclose(logits_of(ours, {"inputs": tokens}), expected, atol=1e-4)
