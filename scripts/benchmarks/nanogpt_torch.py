"""The peer of our Shakespeare recipe: nanoGPT's published CPU settings in plain PyTorch.

python scripts/benchmarks/nanogpt_torch.py INPUT.TXT prints the loss over the whole last tenth.
Settings: https://github.com/karpathy/nanoGPT, README, "I only have a macbook".
"""

import math
import sys

import numpy as np
import torch
import torch.nn.functional as F
import turns
from shapes import Work
from torch import nn
from train_step_torch import GPT2

WORK = Work("gpt2", 4, 128, 12, 64, 0, "float32", 0.0, num_heads=4)
STEPS, WARMUP = 2000, 100
PEAK, FINAL = 1e-3, 1e-4


def rate(step):
    if step < WARMUP:
        return PEAK * (step + 1) / WARMUP
    done = (step - WARMUP) / (STEPS - WARMUP)
    return FINAL + (PEAK - FINAL) * 0.5 * (1 + math.cos(math.pi * done))


def make_model(vocabulary_size):
    """Without biases, started as GPT-2 is."""
    model = GPT2(WORK, vocabulary_size, bias=False)
    for name, weight in model.named_parameters():
        if weight.dim() == 2:
            residual = name.endswith(("projection.weight", "down.weight"))
            nn.init.normal_(weight, std=0.02 / math.sqrt(2 * WORK.num_layers if residual else 1))
    return model


def make_optimizer(model):
    groups = [
        {"params": [p for p in model.parameters() if p.dim() == 2], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=PEAK, betas=(0.9, 0.99), fused=True)


def loss_of(model, inputs, targets):
    logits, _ = model(inputs, None)
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


@torch.no_grad()
def evaluate(model, tokens):
    """Mean nats of a token over all of `tokens`, in rows that follow each other."""
    length, rows = WORK.length, 64
    count = (len(tokens) - 1) // length
    inputs = tokens[: count * length].view(count, length)
    targets = tokens[1 : count * length + 1].view(count, length)
    total = 0.0
    for begin in range(0, count, rows):
        part = slice(begin, begin + rows)
        total += loss_of(model, inputs[part], targets[part]).item() * inputs[part].numel()
    return total / (count * length)


def main():
    torch.set_num_threads(turns.THREADS)
    torch.manual_seed(1337)
    with open(sys.argv[1], encoding="utf-8") as file:
        text = file.read()
    alphabet = {character: i for i, character in enumerate(sorted(set(text)))}
    tokens = torch.from_numpy(np.array([alphabet[c] for c in text]))
    training, validation = tokens[: int(0.9 * len(text))], tokens[int(0.9 * len(text)) :]
    model = make_model(len(alphabet))
    optimizer = make_optimizer(model)
    places = torch.arange(WORK.length)
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        start = torch.randint(len(training) - WORK.length, (WORK.batch_size, 1))
        loss = loss_of(model, training[start + places], training[start + places + 1])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    print(evaluate(model, validation))


if __name__ == "__main__":
    main()
