"""What is said of a model, and what it costs: the arithmetic of memory and speed."""

import dataclasses

NATIVE, HUB, NO, OURS = "natively", "PretrainedLM", "no", "recipe"
# Of a parameter, in an export; in four bits 32 share a scale.
BYTES = {"float32": 4, "bfloat16": 2, "int8": 1, "int4": 0.5 + 4 / 32}
# AdamW in float32: the weight, its gradient and two moments.
TRAINED = 16
# Low-rank updates by default, rank 8 of `qkv`, have under a hundredth of the parameters of any
# model here; the other weights stay in float32, without gradients.
LORA_SHARE = 0.01


@dataclasses.dataclass(frozen=True)
class Model:
    """A model to begin from, or a recipe that trains one. None is for what is not known.

    Attributes:
      parameters: in all; `active`: those that a token passes through, where they are fewer.
      context: the most tokens that it reads.
      languages: ISO 639-1 codes, and families.MORE where there are others.
      loads: how this project trains and serves it.
      reads_source: whether it is an encoder-decoder.
      chats, codes, summarises, translates: whether it was trained for that; `chats`: to follow
        instructions.
      by_preset: whether it begins from KerasHub's name for it rather than from a folder.
      special: whether it is of one field alone, such as code or mathematics.
      tasks: of a recipe, the tasks that it trains for.
    """

    name: str
    about: str
    parameters: int | None
    context: int | None
    licence: str | None
    languages: tuple[str, ...] | None
    loads: str
    reads_source: bool
    active: float | None = None
    chats: bool = False
    codes: bool = False
    summarises: bool = False
    translates: bool = False
    by_preset: bool = False
    special: bool = False
    tasks: tuple[str, ...] = ()

    def run_bytes(self, weights):
        """Memory of the weights alone: a text's keys and values come on top.

        Args:
          weights: one of `BYTES`.
        """
        return BYTES[weights] * self.parameters

    def train_bytes(self):
        """Memory to train all weights by AdamW, without activations."""
        return TRAINED * self.parameters

    def lora_bytes(self):
        """Memory to train low-rank updates, without activations."""
        return (BYTES["float32"] + LORA_SHARE * TRAINED) * self.parameters

    def memory(self, purpose, weights):
        """Bytes for "run", "lora" or "train"."""
        if purpose == "run":
            return self.run_bytes(weights)
        return self.lora_bytes() if purpose == "lora" else self.train_bytes()

    def tokens_per_second(self, weights, bandwidth):
        """The most tokens of one text that memory lets through: each reads all (active) weights.

        Args:
          bandwidth: bytes a second.
        """
        return bandwidth / (BYTES[weights] * (self.active or self.parameters))
