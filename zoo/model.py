"""LanguageModel: the contract between the zoo and everything that trains, decodes or exports."""

import inspect

import keras
from keras import ops

from zoo.layers.compact import KINDS


class LanguageModel(keras.Model):
    """Features in, logits out, the same for every family.

    `features` is a dict of int32 arrays: `inputs` [B, T] always; `segments`
    and `positions` [B, T] when rows hold several examples or go on from batch
    to batch; `source`, `source_segments`, `source_positions` [B, S] for a
    model that reads a source. Models create all their weights when constructed.
    Saved with Keras they are made again from their constructor's arguments, in the
    precision that is Keras' policy then.

    A family provides `hidden`, `logits` or `logit_parts`, `start`, `read` and
    `matmul_flops_per_token`; a recurrent one also `initial_state`.
    """

    reads_source = False
    reads_packed_rows = True  # whether a row may hold several examples, told apart by `segments`
    weight_kinds: tuple[str, ...] = tuple(KINDS)  # that `compact` makes
    context_length: int | None = None  # the longest row that has positions; None for any

    def __new__(cls, *args, **kwargs):
        # Keras keeps the arguments of a layer for `get_config`, but not those of a model.
        model = super().__new__(cls, *args, **kwargs)
        vars(model)["_arguments"] = args, kwargs
        return model

    def __init__(self, name=None):
        # No autocast: a carried state is float32 in part whatever the compute dtype.
        # Layers inside cast their inputs and weights all the same.
        super().__init__(name=name, autocast=False)

    def get_config(self):
        args, kwargs = self._arguments
        bound = inspect.signature(type(self).__init__).bind(self, *args, **kwargs)
        bound.apply_defaults()
        _, *settings = bound.arguments.items()
        return {**dict(settings), "name": self.name}

    @property
    def vocabulary_size(self):
        """V, the constructor's argument of this name."""
        return self.get_config()["vocabulary_size"]

    def call(self, features, state=None, training=False):
        """Teacher-forced logits.

        Args:
          features: see the class.
          state: what `initial_state` or the call before returned, to carry on from it.

        Returns:
          float32 logits [B, T, V]; with `state`, (logits, the state after the last token).
        """
        hidden, new_state = self.hidden(features, state=state, training=training)
        logits = self.logits(hidden)
        return logits if state is None else (logits, new_state)

    def hidden(self, features, state=None, training=False):
        """All but the softmax weights: ([B, T, width], new state).

        Kept apart from `logits` so that a loss can take the logits of a large
        vocabulary a piece at a time.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no `hidden`")

    def logits(self, hidden):
        """[..., width] -> float32 [..., V]."""
        return finished(*self.logit_parts(hidden))

    def logit_parts(self, hidden):
        """What `finished` makes the logits of, where a family does not define these itself.

        Kept apart from `logits` so that a loss can finish them as it reads them: in a narrow
        compute dtype they are then never there in float32.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no `logits`")

    def initial_state(self, batch_size):
        """What a recurrent model carries from batch to batch: a nest of [B, ...]; () for others."""
        return ()

    def start(self, batch_size, max_length, features=None):
        """The decoding state before the first token.

        Args:
          batch_size: B.
          max_length: the most tokens, prompt included, that will be read; or 0
            for a state that reads its first tokens, all at once, and then gets `with_room`.
          features: optional dict. `padding` int32 [B]: how many places at the left of
            each row hold no token, for prompts of unequal length; the source features
            of a model that reads one.

        Returns:
          a dict of nests of [B, ...] tensors to hand to `extend`, each row apart from the others: rows
          may be picked, repeated, or put together from several states. Keys and values of
          attention, and all else that is kept of every token, are its `caches`, [B, K, S, D], of
          which the first `index` [B] slots are read; what comes of a source begins with `source`.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no `start`")

    def with_room(self, state, max_length):
        """A decoding state with slots for `max_length` tokens, at least those it has."""
        if "caches" not in state:
            return state

        def padded(cache):
            more = ops.maximum(max_length - ops.shape(cache)[2], 0)
            return ops.pad(cache, [[0, 0], [0, 0], [0, more], [0, 0]])

        return {**state, "caches": keras.tree.map_structure(padded, state["caches"])}

    def reorder(self, state, rows):
        """A decoding state whose rows are those given of another, each of the same source.

        Args:
          rows: int32 [B].
        """
        return {
            name: part
            if name.startswith("source")
            else keras.tree.map_structure(lambda leaf: ops.take(leaf, rows, axis=0), part)
            for name, part in state.items()
        }

    def passing(self, state):
        """What of a decoding state is gone when more tokens have been read: `index`, recurrent parts.

        Put back into a later state, it makes of that the state as it was: what the caches have
        beyond `index` is not read before it is written anew.
        """
        return {
            name: part
            for name, part in state.items()
            if name != "caches" and not name.startswith("source")
        }

    def extend(self, tokens, state):
        """Reads t more tokens: a whole prompt or the one just drawn.

        Args:
          tokens: int32 [B, t], t >= 1.
          state: from `start` or the `extend` before.

        Returns:
          (float32 logits [B, t, V], new state).
        """
        hidden, state = self.read(tokens, state)
        return self.logits(hidden), state

    def read(self, tokens, state):
        """`extend` but for the softmax weights: ([B, t, width], new state).

        Behind a whole prompt only the last place's logits are wanted.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no `read`")

    def compact(self, kind, calibration=()):
        """Lays all matrices out for decoding, as `Compact` of this kind, for good.

        Args:
          kind: one of `weight_kinds`.
          calibration: batches of features, read eagerly, for weights of "int4": these are rounded so
            that dense layers do on them what they did (GPTQ, see layers/rounding.py).

        Returns:
          the model.
        """
        layers = [x for x in self._flatten_layers(include_self=False) if hasattr(x, "compact")]
        if calibration:
            for layer in layers:
                if hasattr(layer, "moments"):
                    layer.moments = 0.0
            for features in calibration:
                self(features)
        for layer in layers:
            layer.compact(kind)
        return self

    def matmul_flops_per_token(self, sequence_length, source_length=0, predicted=1.0):
        """Multiply-adds times two of one token's forward pass, matrix products only.

        Args:
          predicted: share of the tokens whose logits are made.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no `matmul_flops_per_token`")

    def train_flops_per_token(self, sequence_length, source_length=0, predicted=1.0):
        """Forward and backward: three times the forward pass (Chowdhery et al. 2022, appendix B)."""
        return 3 * self.matmul_flops_per_token(sequence_length, source_length, predicted)


def finished(products, bias=None, soft_cap=None):
    """Logits, float32 [..., V].

    Args:
      products: [..., V], of hidden vectors and softmax weights.
      bias: [V], or None.
      soft_cap: logits become soft_cap * tanh(logits / soft_cap) (Gemma Team 2024); None for none.
    """
    logits = ops.cast(products, "float32")
    if bias is not None:
        logits += ops.cast(bias, "float32")
    return logits if soft_cap is None else soft_cap * ops.tanh(logits / soft_cap)


def unfinished(model, hidden):
    """What `finished` makes a model's logits of."""
    if type(model).logits is LanguageModel.logits:
        return model.logit_parts(hidden)
    return model.logits(hidden), None, None


def positions_of(features):
    """`positions` of the features, or 0, 1, 2 ... in every row. int32 [B, T]."""
    if features.get("positions") is not None:
        return features["positions"]
    batch, length = ops.shape(features["inputs"])
    return ops.broadcast_to(ops.arange(length, dtype="int32")[None], (batch, length))


def extended_positions(index, length, padding):
    """Positions of `length` tokens from slot `index` [B] on, 0 also for padding. int32 [B, t]."""
    slots = index[:, None] + ops.arange(length, dtype="int32")[None]
    return ops.maximum(slots - padding[:, None], 0)


def dense_flops(layer):
    """Twice the entries of the matrices below a layer, tables that are only looked up left out."""
    return sum(
        2 * int(weight.shape[0]) * int(weight.shape[1])
        for weight in layer.weights
        if len(weight.shape) == 2 and "embedding" not in weight.path
    )


def check_positive(**sizes):
    """Raises ValueError for a size below 1; None, for a size left open, passes."""
    for name, size in sizes.items():
        if size is not None and size < 1:
            raise ValueError(f"{name} {size} is not positive")


def check_divides(width, parts, what):
    if width % parts:
        raise ValueError(f"width {width} is not divisible by {parts} {what}")
