"""What the model writes while it learns, in the terminal and in TensorBoard."""

from collections.abc import Sequence

import gin
import keras
import tensorflow as tf


@gin.configurable
class Samples(keras.callbacks.Callback):
    """Continues, or answers, prompts at each evaluation.

    Args:
      prompts: texts.
      max_new_tokens, temperature, top_k, top_p: see text_model.TextModel.generate.
      seed: of the draw; the same at each evaluation, so that what changes is the model.
    """

    def __init__(
        self,
        prompts: Sequence[str] = ("",),
        max_new_tokens: int = 60,
        temperature: float = 0.7,
        top_k: int = 50,
        top_p: float = 1.0,
        seed: int = 0,
    ):
        super().__init__()
        self.prompts = list(prompts)
        self.options = {
            "max_new_tokens": max_new_tokens,
            "temperature": float(temperature),
            "top_k": top_k,
            "top_p": float(top_p),
            "seed": seed,
        }
        self.text_model = None

    def on_epoch_end(self, epoch, logs=None):
        if self.text_model is None:
            self.text_model = self.params["make_text_model"]()
        texts = self.text_model.generate(tf.constant(self.prompts), **self.options)["text"]
        between = "" if self.text_model.layout == "language_modelling" else " -> "
        samples = {
            f"sample/{prompt!r}": prompt + between + text.decode(errors="replace")
            for prompt, text in zip(self.prompts, texts[:, 0].numpy(), strict=True)
        }
        for text in samples.values():
            print("\n".join(f"  | {line}" for line in text.splitlines()))
        self.params["tensorboard"].write_samples(samples)
