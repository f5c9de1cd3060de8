"""Tokenizers of byte-pair encoding as pretrained models have them, and texts of many kinds."""

import json
import random

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
GPT2 = {**BYTES, "use_regex": True}


def by(*steps):
    return {"type": "Sequence", "pretokenizers": list(steps)}


def splits(pattern):
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


KINDS = {  # pre_tokenizer, normalizer, ignore_merges, as the models' files have them
    "gpt2": (GPT2, None, False),
    "llama3": (by(splits(LLAMA3), BYTES), None, True),
    "qwen2": (by(splits(QWEN2), BYTES), {"type": "NFC"}, False),
    "smollm": (by({"type": "Digits", "individual_digits": True}, GPT2), None, False),
}
POOLS = [
    "abc defg HIJ don't WE'LL it's i'M x'y",
    "éàüß ñ Å e\u0301 ﬁ ſ İ",
    "0123456789 ٣ ² ½ 12345",
    "def f(x):\n    return x + 1\n\n\tif a_b != c[0]: pass  # !\r\n",
    "漢字かなカナ한국어 ，。「」",
    "😀👩‍👩‍👧‍👦🇩🇪 ❤️ 🏳️‍🌈",
    " \u00a0\u3000\u2003\t\n\r\x0b\x0c  \u2028\u200b\u0085",
    "Привет мир Γειά שלום سلام हिन्दी ไทย",
    "!?.,;:-—…\"'()[]{}<>/\\|@#$%^&*~`",
    "<|endoftext|><|im_start|>user",
]


def varied(count, seed=0):
    """Texts of pieces of all pools, spaces of every kind between them."""
    draw = random.Random(seed)
    texts = ["", " ", "\n", "  \n\n  x", "a  b", "!\n\nfoo", "a\u00a0 b", *POOLS]
    while len(texts) < count:
        parts = []
        for _ in range(draw.randint(1, 8)):
            pool = draw.choice(POOLS)
            start = draw.randrange(len(pool))
            parts.append(pool[start : start + draw.randint(1, 9)])
        texts.append(draw.choice(["", " ", "  ", "\n"]).join(parts))
    return texts


def make(kind, vocabulary_size=600):
    """A tokenizer.json of a kind, learned from the pools, with <|endoftext|> as its last id but one."""
    from tokenizers import Tokenizer, decoders, models, trainers
    from tokenizers.pre_tokenizers import ByteLevel

    pre_tokenizer, normalizer, ignore_merges = KINDS[kind]
    description = json.loads(Tokenizer(models.BPE()).to_str())
    description |= {"pre_tokenizer": pre_tokenizer, "normalizer": normalizer}
    backend = Tokenizer.from_str(json.dumps(description))
    backend.decoder = decoders.ByteLevel()
    alphabet = ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(POOLS * 3 + varied(200, seed=9), trainer)
    backend.add_special_tokens(["<|endoftext|>", "<|im_start|>"])
    description = json.loads(backend.to_str())
    description["model"]["ignore_merges"] = ignore_merges
    return description
