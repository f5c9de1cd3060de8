"""The programs of decoding that the exported functions of a TextModel have within them."""

import functools

import tensorflow as tf

from trainers.generation_options import ROW_SEED
from trainers.prompts import rounded
from trainers.signatures import START, checked, graph
from zoo.decoding import beam_search, loop, samplers, speculative


class Programs:
    """Reading prompts, drawing tokens, searching: see loop.py and beam_search.py of the zoo.

    No tf.Module: of each tf.function that is an attribute of one, TensorFlow traces and saves one
    more graph than those that other functions have within them.

    Args:
      model, xla, draft, proposals: see `TextModel`.
      prompts: of prompts.py.
    """

    def __init__(self, model, prompts, xla, draft, proposals):
        self.prompts = prompts
        read, advance = (functools.partial(each, model) for each in (loop.begin, loop.advance))
        if draft is not None:
            read, advance = (
                functools.partial(each, model, draft, proposals=proposals)
                for each in (speculative.begin, speculative.advance)
            )
        # Numbers alone, so that XLA can compile them; strings are made of them outside.
        compiled = functools.partial(tf.function, autograph=False, jit_compile=xla)
        self.read_prompts, self.advance = compiled(read), compiled(advance)
        self.search = compiled(functools.partial(beam_search.search, model))
        self.begin = graph(self.begin, START)

    def begin(self, prompts, **options):
        """{"context" and "forced": see `Prompts.begin`, "carry": see `loop.first`}."""
        begun = self.prompts.begin(
            prompts, options["forced"], options["max_new_tokens"], options["truncate"]
        )
        times, rows = options["num_return_sequences"], tf.shape(prompts)[0]
        settings = samplers.settings(rows, **checked(options))
        settings["num_top"] = tf.broadcast_to(options["top_logprobs"], [rows])
        read = self.read_prompts(
            begun["tokens"],
            begun["limits"],
            buffer(begun["limits"]),
            settings,
            begun["features"],
        )
        carry, logits = loop.repeat(read, times)
        # So that no two texts of a seed are drawn by the same noise.
        number = tf.range(rows * times)
        number = tf.where(tf.rank(options["seed"]) == 0, number, number % times)
        carry["settings"]["seed"] += ROW_SEED * number
        return {
            "context": tf.repeat(begun["context"], times, axis=0),
            "forced": tf.repeat(begun["forced"], times, axis=0),
            # Not compiled: of any number of rows, it takes a moment.
            "carry": loop.first(carry, logits),
        }


def buffer(limits):
    """Places for as many tokens as any row may draw. int32 [N] -> int32 [N, C] of 0."""
    return tf.zeros([tf.size(limits), rounded(greatest(limits))], tf.int32)


def greatest(counts):
    """The greatest of int32 [...], 0 of none."""
    return tf.maximum(tf.reduce_max(counts), 0)
