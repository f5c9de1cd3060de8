"""LSTM language model with a state carried from batch to batch (Zaremba et al. 2014)."""

import keras
from keras import ops

from zoo.layers.dropout import Dropout
from zoo.layers.embedding import TokenEmbedding
from zoo.layers.lstm import LSTM
from zoo.model import LanguageModel, check_positive, extended_positions


@keras.saving.register_keras_serializable("menagerie")
class LSTMLM(LanguageModel):
    """A stack of LSTM layers over the token vectors.

    The state is set to zero wherever `positions` is 0: packed examples do not
    see each other, and rows whose positions count on continue where they stopped.
    Without `positions` nothing is forgotten.

    Args:
      vocabulary_size: V.
      num_layers, width: the model's size.
      input_dropout, layer_dropout, output_dropout: rates on the token vectors,
        between layers and before the softmax (Zaremba et al. 2014, section 3.1).
      token_dropout: rate at which whole token vectors are left out (Iyyer et al. 2015, 3.1).
      tie_embeddings: logits use the token table (Press and Wolf 2017).
      initial_scale: weights start uniform in +- this; None for width ** -0.5.
    """

    def __init__(
        self,
        vocabulary_size: int,
        num_layers: int = 2,
        width: int = 200,
        input_dropout: float = 0.0,
        layer_dropout: float = 0.0,
        output_dropout: float = 0.0,
        token_dropout: float = 0.0,
        tie_embeddings: bool = False,
        initial_scale: float | None = None,
        name: str | None = None,
    ):
        super().__init__(name=name)
        check_positive(vocabulary_size=vocabulary_size, num_layers=num_layers, width=width)
        scale = width**-0.5 if initial_scale is None else initial_scale
        uniform = keras.initializers.RandomUniform(-scale, scale)
        self.width = width
        self.embedding = TokenEmbedding(
            vocabulary_size,
            width,
            uniform,
            None if tie_embeddings else uniform,
            head_bias=True,
            name="embedding",
        )
        rates = [input_dropout] + [layer_dropout] * (num_layers - 1) + [output_dropout]
        self.dropouts = [Dropout(rate, place=i) for i, rate in enumerate(rates)]
        self.token_dropout = Dropout(token_dropout, place=len(rates), whole_vectors=True)
        self.cells = [
            LSTM(width, width, initial_scale=scale, name=f"lstm_{i}") for i in range(num_layers)
        ]
        self.built = True

    def initial_state(self, batch_size):
        return [cell.initial_state(batch_size) for cell in self.cells]

    def hidden(self, features, state=None, training=False):
        if state is None:
            state = self.initial_state(ops.shape(features["inputs"])[0])
        return self.unroll(features["inputs"], features.get("positions"), state, training)

    def unroll(self, tokens, positions, state, training=False):
        positions = ops.ones_like(tokens) if positions is None else positions
        # Time comes first inside: the recurrence then reads whole rows.
        keep = ops.cast(ops.transpose(positions) > 0, self.compute_dtype)[..., None]  # [T, B, 1]
        x = self.embedding(ops.transpose(tokens))  # [T, B, D]
        x = self.token_dropout(x, training=training)
        new_state = []
        for dropout, cell, cell_state in zip(self.dropouts, self.cells, state, strict=False):
            x = dropout(x, training=training)
            x, cell_state = cell(x, keep, cell_state, training=training)
            new_state.append(cell_state)
        x = self.dropouts[-1](x, training=training)
        return ops.transpose(x, (1, 0, 2)), new_state

    def logit_parts(self, hidden):
        return self.embedding(hidden, to_logits=True), self.embedding.bias, None

    def start(self, batch_size, max_length, features=None):
        padding = (features or {}).get("padding")
        return {
            "index": ops.zeros((batch_size,), "int32"),
            "padding": ops.zeros((batch_size,), "int32") if padding is None else padding,
            "cells": self.initial_state(batch_size),
        }

    def read(self, tokens, state):
        index, padding = state["index"], state["padding"]
        length = ops.shape(tokens)[1]
        positions = extended_positions(index, length, padding)
        hidden, cells = self.unroll(tokens, positions, state["cells"])
        return hidden, {"index": index + length, "padding": padding, "cells": cells}

    def matmul_flops_per_token(self, sequence_length, source_length=0, predicted=1.0):
        cells = sum(2 * 8 * self.width**2 for _ in self.cells)
        return cells + predicted * 2 * self.width * self.embedding.vocabulary_size
