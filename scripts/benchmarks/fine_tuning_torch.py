"""The peer of fine_tuning.py: Transformers on PyTorch, eager or compiled, whichever is faster.

python scripts/benchmarks/fine_tuning_torch.py FOLDER: see `turns.serve`; before it is ready it prints
which way it chose.
"""

import sys

import torch
import turns
from fine_tuning import LEARNING_RATE, LENGTH, ROWS, batch
from transformers import AutoModelForCausalLM


class Stepper:
    def __init__(self, folder, compiled):
        self.model = AutoModelForCausalLM.from_pretrained(folder).train()
        self.parameters = list(self.model.parameters())
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=LEARNING_RATE, weight_decay=0.01, fused=True
        )
        ids = torch.from_numpy(batch()).long()
        self.inputs, self.targets = ids[:, :-1].contiguous(), ids[:, 1:].reshape(-1)
        self.loss = torch.compile(self.loss_of) if compiled else self.loss_of

    def loss_of(self, inputs, targets):
        logits = self.model(input_ids=inputs, use_cache=False).logits
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets)

    def __call__(self):
        loss = self.loss(self.inputs, self.targets)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        return loss.item()


def main():
    (folder,) = sys.argv[1:]
    torch.set_num_threads(turns.THREADS)
    best = None
    for way in ("eager", "compiled"):
        try:
            stepper = Stepper(folder, way == "compiled")
            seconds = turns.seconds_of_a_step(stepper)
        except Exception as error:  # where it needs a compiler that is not here
            if way == "eager":
                raise
            print(f"compiled: {error}"[:200], file=sys.stderr)
            continue
        if best is None or seconds < best[0]:
            best = seconds, way, stepper
    _, way, stepper = best
    print(way, flush=True)
    turns.serve(stepper, ROWS * LENGTH)


if __name__ == "__main__":
    main()
