"""What the engine is given, and what it gives back."""

import dataclasses
import time
from collections.abc import Callable


@dataclasses.dataclass(eq=False)
class Job:
    """A prompt to continue.

    Args:
      prompt: text.
      settings: of the export's `start`, but for its prompts and num_return_sequences.
      n: texts to draw; each is a row of the batch.
      stop: strings before which a text ends.
      alternatives: how many likeliest tokens to tell beside each drawn one; None for no
        log-probabilities at all.
      deliver: called from the engine's thread with each `Piece`, or with an ApiError, the last.
      first_index: the first text's number among all that the request asks for.
    """

    prompt: str
    settings: dict
    n: int = 1
    stop: tuple = ()
    alternatives: int | None = None
    deliver: Callable = lambda event: None
    first_index: int = 0
    arrived: float = dataclasses.field(default_factory=time.monotonic)
    cancelled: bool = False


@dataclasses.dataclass
class Token:
    text: str
    log_probability: float
    alternatives: list  # of (text, log-probability), the likeliest first
    offset: int  # in the text: where it begins


@dataclasses.dataclass
class Piece:
    """More of a text. The last one has a finish_reason: "stop" or "length"."""

    index: int
    text: str
    tokens: list
    finish_reason: str | None
    num_tokens: int  # drawn for this text so far
