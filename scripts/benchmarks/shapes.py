"""The train-step works, by name: shapes that ours and the peer both build. Imports nothing heavy."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Work:
    """One model at one batch shape.

    Args:
      family: "gpt2" or "lstm".
      num_layers, width, num_heads, vocabulary_size: of the model.
      batch_size, length: B and T.
      precision: "float32" or "bfloat16".
      to_reach: ours over peer's tokens a second.
    """

    family: str
    num_layers: int
    width: int
    batch_size: int
    length: int
    vocabulary_size: int
    precision: str
    to_reach: float
    num_heads: int = 0

    @property
    def name(self):
        return (
            f"{self.family} {self.num_layers}x{self.width} B{self.batch_size} T{self.length} "
            f"V{self.vocabulary_size} {self.precision}"
        )

    @property
    def tokens(self):
        """Tokens of a step."""
        return self.batch_size * self.length


def train_step_works():
    works = []
    for precision, lstm_ratio in (("float32", 1.2), ("bfloat16", 1.5)):
        works += [
            Work("gpt2", 4, 128, 12, 64, 65, precision, 1.3, num_heads=4),
            Work("gpt2", 6, 384, 8, 256, 65, precision, 1.3, num_heads=6),
            Work("gpt2", 12, 768, 4, 256, 50257, precision, 1.3, num_heads=12),
            Work("lstm", 2, 200, 20, 20, 10000, precision, lstm_ratio),
            Work("lstm", 2, 650, 20, 35, 10000, precision, lstm_ratio),
        ]
    return works


def named(name):
    return next(work for work in train_step_works() if work.name == name)
