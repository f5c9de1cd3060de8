"""The peer of a train step: the same model in plain eager PyTorch, as fast as it goes here.

python scripts/benchmarks/train_step_torch.py NAME: see `turns.serve`.
"""

import sys

import torch
import torch.nn.functional as F
import turns
from shapes import named
from torch import nn


class Block(nn.Module):
    def __init__(self, width, num_heads, bias):
        super().__init__()
        self.num_heads = num_heads
        self.attention_norm = nn.LayerNorm(width, bias=bias)
        self.qkv = nn.Linear(width, 3 * width, bias)
        self.projection = nn.Linear(width, width, bias)
        self.feed_forward_norm = nn.LayerNorm(width, bias=bias)
        self.up = nn.Linear(width, 4 * width, bias)
        self.down = nn.Linear(4 * width, width, bias)

    def forward(self, x):
        B, T, D = x.shape
        q, k, v = (
            part.view(B, T, self.num_heads, -1).transpose(1, 2)
            for part in self.qkv(self.attention_norm(x)).split(D, dim=2)
        )  # [B, H, T, D / H]
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.projection(mixed.transpose(1, 2).reshape(B, T, D))
        hidden = F.gelu(self.up(self.feed_forward_norm(x)), approximate="tanh")
        return x + self.down(hidden)


class GPT2(nn.Module):
    """GPT-2 (Radford et al. 2019) with tied embeddings."""

    def __init__(self, work, vocabulary_size, bias=True):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary_size, work.width)
        self.positions = nn.Embedding(work.length, work.width)
        self.blocks = nn.ModuleList(
            Block(work.width, work.num_heads, bias) for _ in range(work.num_layers)
        )
        self.final_norm = nn.LayerNorm(work.width, bias=bias)
        for table in (self.tokens, self.positions):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, inputs, state):
        x = self.tokens(inputs) + self.positions(torch.arange(inputs.shape[1]))
        for block in self.blocks:
            x = block(x)
        return F.linear(self.final_norm(x), self.tokens.weight), state


class LSTM(nn.Module):
    """Zaremba et al. 2014; the state goes on from batch to batch."""

    def __init__(self, work, vocabulary_size):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary_size, work.width)
        self.lstm = nn.LSTM(work.width, work.width, work.num_layers)
        self.head = nn.Linear(work.width, vocabulary_size)

    def forward(self, inputs, state):
        x, state = self.lstm(self.tokens(inputs.t()), state)
        return self.head(x), tuple(part.detach() for part in state)


FAMILIES = {"gpt2": GPT2, "lstm": LSTM}


class Stepper:
    """Steps of one work.

    Args:
      way: "float32", or how bfloat16 is had: "autocast" or "whole" (weights too).
    """

    def __init__(self, work, way):
        torch.manual_seed(0)
        self.work, self.way = work, way
        self.model = FAMILIES[work.family](work, work.vocabulary_size)
        if way == "whole":
            self.model.bfloat16()
        parameters = list(self.model.parameters())
        if work.family == "gpt2":
            self.optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=True)
        else:
            self.optimizer = torch.optim.SGD(parameters, lr=1e-3, fused=True)
        shape = (work.batch_size, work.length)
        self.inputs = torch.randint(work.vocabulary_size, shape)
        self.targets = torch.randint(work.vocabulary_size, shape)
        self.state = None

    def __call__(self):
        autocast = self.way == "autocast"
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            logits, self.state = self.model(self.inputs, self.state)
        targets = self.targets if self.work.family == "gpt2" else self.targets.t()
        logits = logits.reshape(-1, self.work.vocabulary_size)
        loss = F.cross_entropy(logits.float(), targets.reshape(-1))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return loss.item()


def main():
    work = named(sys.argv[1])
    torch.set_num_threads(turns.THREADS)
    ways = ["float32"] if work.precision == "float32" else ["autocast", "whole"]
    steppers = [Stepper(work, way) for way in ways]
    best = min(steppers, key=turns.seconds_of_a_step)
    turns.serve(best, work.tokens)


if __name__ == "__main__":
    main()
