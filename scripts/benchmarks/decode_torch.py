"""The peer of decoding: Hugging Face Transformers' GPT-2 and its `generate`.

python scripts/benchmarks/decode_torch.py WORK: see `decode.py`.
"""

import sys

import torch
import turns
from decode import LONG_PROMPT, NEW_TOKENS, PROMPT, VOCABULARY_SIZE, WORKS
from transformers import GPT2Config, GPT2LMHeadModel


def main():
    work = WORKS[sys.argv[1]]
    torch.set_num_threads(turns.THREADS)
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config()).eval().to(getattr(torch, work.peer_weights))
    rows, length = (work.rows, PROMPT) if work.rows else (1, LONG_PROMPT)
    tokens = torch.randint(1, VOCABULARY_SIZE, (rows, length))

    @torch.inference_mode()
    def step():
        if not work.rows:
            model(tokens, use_cache=True, logits_to_keep=1)
            return
        model.generate(
            tokens,
            attention_mask=torch.ones_like(tokens),
            max_new_tokens=NEW_TOKENS,
            min_new_tokens=NEW_TOKENS,
            do_sample=False,
            pad_token_id=0,
        )

    turns.serve(step, work.rows * NEW_TOKENS or LONG_PROMPT)


if __name__ == "__main__":
    main()
