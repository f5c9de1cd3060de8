"""How texts are generated: the options of `pipeline`, named and preset as Hugging Face's are, and
checked before anything heavy is loaded."""

import dataclasses
import difflib
import numbers
import random
from collections.abc import Iterable, Sequence

INFINITE = float("inf")
# What the seed is raised by from one row of a call to the next: odd, so that no two are one.
ROW_SEED = 0x61C88647
INTEGERS = {  # name -> least value
    "max_new_tokens": 0,
    "min_new_tokens": 0,
    "top_k": 0,
    "num_return_sequences": 1,
    "num_beams": 1,
    "batch_size": 1,
}
NUMBERS = {  # name -> (least, most)
    "temperature": (0, INFINITE),
    "top_p": (0, 1),
    "min_p": (0, 1),
    "repetition_penalty": (1e-6, INFINITE),
    "presence_penalty": (-INFINITE, INFINITE),
    "frequency_penalty": (-INFINITE, INFINITE),
    "length_penalty": (-INFINITE, INFINITE),
}
CHOICES = {  # name -> values
    "do_sample": (True, False, None),
    "truncation": (True, False),
    "early_stopping": (True, False, "never"),
}
SAMPLING = ("temperature", "top_k", "top_p", "min_p")
PENALTIES = ("repetition_penalty", "presence_penalty", "frequency_penalty")


@dataclasses.dataclass(frozen=True)
class GenerationOptions:
    """How texts are generated; made by `read`, which puts a value for each None.

    Attributes:
      max_new_tokens: the most tokens to generate.
      min_new_tokens: tokens before which a text does not end.
      do_sample: draw at random rather than take the likeliest token. None: yes for text
        generation, and wherever an option of sampling is set; never with beams.
      temperature: the logits are divided by it; 0 is the likeliest token. None: 0.7 for
        text generation as in Hugging Face's pipeline, else 1.
      top_k: draw among so many tokens; 0 for all. None: 50, as there.
      top_p: draw among the fewest tokens of this probability together; None for all.
      min_p: draw among tokens of at least this part of the likeliest one's probability.
      repetition_penalty, presence_penalty, frequency_penalty: see zoo/decoding/samplers.py.
      num_beams: above 1 for the likeliest texts that beam search finds.
      length_penalty: of beams; they are ranked by log-probability / length ** length_penalty.
      early_stopping: of beams; True ends with the first `num_beams` whole texts, "never" when no
        other can come to be better, False when none is likely to.
      num_return_sequences: texts for each prompt; of beams at most `num_beams`.
      stop: a string or several, or None; a text ends before the first of them. Beams are cut
        there when they have been found.
      answer_prefix: what the texts begin with; one string for all prompts, or one for each.
      truncation: a prompt that is too long keeps its last tokens; False for an error.
      seed: int; the same seed and prompts give the same texts. None for other ones each time.
      batch_size: prompts that run at once; those of like length together.
    """

    max_new_tokens: int = 256
    min_new_tokens: int = 0
    do_sample: bool | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    num_beams: int = 1
    length_penalty: float = 1.0
    early_stopping: bool | str = False
    num_return_sequences: int = 1
    stop: str | Sequence[str] | None = ()
    answer_prefix: str | Sequence[str] = ""
    truncation: bool = True
    seed: int | None = None
    batch_size: int = 8


NAMES = tuple(field.name for field in dataclasses.fields(GenerationOptions))


def read(given, sampled):
    """The options given by name, checked, and those that are None as they are to be.

    Args:
      given: {name: value}.
      sampled: whether the task draws at random unless told otherwise.

    Raises:
      ValueError: an option that there is not, that cannot be, or that does not fit another.
    """
    check_names(given, NAMES)
    options = GenerationOptions(**given)
    check_values(options)
    stop = [text for text in strings("stop", options.stop or ()) if text]
    if options.num_beams > 1:
        check_beams(options)
        return dataclasses.replace(options, do_sample=False, stop=stop)
    do_sample = options.do_sample
    if do_sample is None:
        asked = any(getattr(options, name) is not None for name in SAMPLING)
        do_sample = sampled or options.num_return_sequences > 1 or asked
    temperature = options.temperature
    if temperature is None:
        temperature = 0.7 if sampled else 1.0
    if not do_sample:
        temperature = 0.0
    if temperature == 0 and options.num_return_sequences > 1:
        raise ValueError(
            "without sampling all sequences are the same: set do_sample=True and a "
            "temperature, num_beams, or num_return_sequences=1"
        )
    return dataclasses.replace(
        options,
        do_sample=do_sample,
        temperature=temperature,
        top_k=50 if options.top_k is None else options.top_k,
        top_p=1.0 if options.top_p is None else options.top_p,
        min_p=0.0 if options.min_p is None else options.min_p,
        seed=random.SystemRandom().randrange(2**31) if options.seed is None else options.seed,
        stop=stop,
    )


def check_beams(options):
    """Raises ValueError for options of drawing: beam search has no penalties but of length."""
    fields = {field.name: field.default for field in dataclasses.fields(options)}
    drawing = (*SAMPLING, *PENALTIES, "min_new_tokens")
    unfit = [name for name in drawing if getattr(options, name) != fields[name]]
    if options.do_sample or unfit:
        raise ValueError(
            f"beam search takes no {unfit[0] if unfit else 'do_sample'}; leave it out, or num_beams"
        )
    if options.max_new_tokens == 0:
        raise ValueError("beam search needs max_new_tokens of at least 1")
    if options.num_return_sequences > options.num_beams:
        raise ValueError(
            f"num_return_sequences is {options.num_return_sequences}, and {options.num_beams} "
            "beams find no more texts than that; raise num_beams"
        )


def check_names(given, known):
    """Raises ValueError for an option that is none of the known ones."""
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise ValueError(f"there is no option {name!r}{hint}")


def check_values(options):
    unset = [name for name in SAMPLING if getattr(options, name) is None]
    given = {name: value for name, value in vars(options).items() if name not in unset}
    for name, least in INTEGERS.items():
        check_integer(name, given.get(name, least), least)
    for name, (least, most) in NUMBERS.items():
        value = given.get(name, most)
        if not (isinstance(value, numbers.Real) and least <= value <= most):  # NaN is neither
            bounds = f"between {least:g} and {most:g}"
            raise ValueError(f"{name} is {value!r}, and must be a number {bounds}")
    if options.seed is not None and not isinstance(options.seed, numbers.Integral):
        raise ValueError(f"seed is {options.seed!r}, and must be an integer or None")
    for name, choices in CHOICES.items():
        value = getattr(options, name)
        value = value.item() if hasattr(value, "item") else value  # numpy's
        # By type as well, for 1 equals True and is not it.
        if not any(type(value) is type(each) and value == each for each in choices):
            *others, last = map(repr, choices)
            raise ValueError(f"{name} is {value!r}, and must be {', '.join(others)} or {last}")
    strings("answer_prefix", options.answer_prefix)


def check_integer(name, value, least):
    if not (isinstance(value, numbers.Integral) and least <= value < 2**31):
        raise ValueError(f"{name} is {value!r}, and must be an integer of at least {least}")


def strings(name, given):
    """The list of a string or of several.

    Raises:
      ValueError: something else is given.
    """
    if isinstance(given, str):
        return [given]
    texts = list(given) if isinstance(given, Iterable) else [given]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{name} is {given!r}, and must be a string or a list of strings")
    return texts
