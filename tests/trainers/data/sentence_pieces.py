"""SentencePiece models learned on the spot, and the tokenizer.json that checkpoints have of them."""

import base64
import functools
import io

from tests.trainers.data.byte_pairs import POOLS, varied

LETTERS = [
    *POOLS,
    "<s> </s> <pad> <0x41> \u2581 \u2581\u2581a",
    "a b  c   d    e\n\n\nf    g\t\th",
]
REPLACED = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
PREPENDED = {
    "type": "Sequence",
    "normalizers": [{"type": "Prepend", "prepend": "▁"}, REPLACED],
}
SPLIT = {
    "type": "Split",
    "pattern": {"String": " "},
    "behavior": "MergedWithPrevious",
    "invert": False,
}


def metaspace(scheme, split):
    return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split}


T5 = {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace("always", True)]}
KINDS = {  # how learned, normalizer, pre_tokenizer, as the models' files have them
    "llama": ("llama", PREPENDED, None),
    "mistral": ("llama", None, metaspace("first", False)),
    "gemma": ("gemma", REPLACED, SPLIT),
    "t5": ("t5", None, T5),
}


@functools.cache
def model_of(kind):
    """The serialized model: "llama", "gemma", or "t5" of unigrams with its normal forms."""
    import sentencepiece

    llama = {"model_type": "bpe", "byte_fallback": True, "normalization_rule_name": "identity"}
    llama |= {"vocab_size": 600, "remove_extra_whitespaces": False, "split_digits": True}
    llama |= {"allow_whitespace_only_pieces": True, "control_symbols": ["[INST]", "[/INST]"]}
    gemma = {"pad_id": 0, "eos_id": 1, "bos_id": 2, "unk_id": 3, "add_dummy_prefix": False}
    gemma |= {"user_defined_symbols": ["\n\n", "\n\n\n", "<b>", "▁▁", "▁▁▁", "▁▁▁▁"]}
    t5 = {"model_type": "unigram", "vocab_size": 420, "normalization_rule_name": "nmt_nfkc"}
    t5 |= {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
    settings = {"llama": llama, "gemma": {**llama, **gemma}, "t5": t5}[kind]
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LETTERS * 3 + varied(200, seed=9)),
        model_writer=written,
        character_coverage=0.999,
        minloglevel=2,
        **settings,
    )
    return written.getvalue()


def description_of(kind):
    """A new tokenizer.json of a kind, a dict."""
    from sentencepiece import sentencepiece_model_pb2

    source, normalizer, pre_tokenizer = KINDS[kind]
    proto = sentencepiece_model_pb2.ModelProto.FromString(model_of(source))
    pieces, types = list(proto.pieces), proto.SentencePiece
    unknown = next(i for i, piece in enumerate(pieces) if piece.type == types.UNKNOWN)
    vocabulary = [[piece.piece, piece.score] for piece in pieces]
    added = [
        {"id": i, "content": piece.piece, "special": piece.type != types.USER_DEFINED}
        for i, piece in enumerate(pieces)
        if piece.type in (types.CONTROL, types.UNKNOWN, types.USER_DEFINED)
    ]
    if kind == "t5":
        for i in reversed(range(10)):
            added.append({"id": len(vocabulary), "content": f"<extra_id_{i}>", "special": True})
            vocabulary.append([f"<extra_id_{i}>", 0.0])
        charsmap = base64.b64encode(proto.normalizer_spec.precompiled_charsmap).decode()
        normalizer = {"type": "Precompiled", "precompiled_charsmap": charsmap}
        model = {"type": "Unigram", "unk_id": unknown, "vocab": vocabulary, "byte_fallback": False}
        decoder = metaspace("always", True)
    else:
        model = {"type": "BPE", "dropout": None, "unk_token": "<unk>", "fuse_unk": True}
        model |= {"byte_fallback": True, "ignore_merges": False}
        model["vocab"] = {text: i for i, (text, _) in enumerate(vocabulary)}
        model["merges"] = merges_of(dict(vocabulary))
        decoders = [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}]
        decoders += [{"type": "ByteFallback"}, {"type": "Fuse"}]
        if kind != "gemma":
            decoders.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
        decoder = {"type": "Sequence", "decoders": decoders}
    plain = dict.fromkeys(["single_word", "lstrip", "rstrip", "normalized"], False)
    return {
        "version": "1.0",
        "added_tokens": [{**plain, **token} for token in added],
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": template(added, kind != "t5"),
        "decoder": decoder,
        "model": model,
    }


def template(added, begins):
    """What puts <s> before texts, or </s> behind them."""
    text = {"Sequence": {"id": "A", "type_id": 0}}
    name = "<s>" if begins else "</s>"
    token = {"SpecialToken": {"id": name, "type_id": 0}}
    ids = [each["id"] for each in added if each["content"] == name]
    return {
        "type": "TemplateProcessing",
        "single": [token, text] if begins else [text, token],
        "pair": [text, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {name: {"id": name, "ids": ids, "tokens": [name]}},
    }


def merges_of(scores):
    """All two pieces that make a third, by its score, the longest first."""
    found = []
    for whole, score in scores.items():
        parts = [(whole[:i], whole[i:]) for i in range(1, len(whole))]
        found += [(score, len(a), len(b), a, b) for a, b in parts if a in scores and b in scores]
    found.sort(key=lambda each: each[:3], reverse=True)
    return [[a, b] for *_, a, b in found]
