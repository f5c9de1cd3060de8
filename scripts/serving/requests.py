"""Bodies of requests, checked field by field: what OpenAI's interface takes, and a few more."""

import dataclasses
import difflib
import random

from serving.errors import invalid

MAX_STOPS = 16  # OpenAI takes 4
MAX_MESSAGES = 1000  # a conversation is rendered up to each answer: the work grows as their square
MAX_ALTERNATIVES = {"completions": 5, "chat": 20}
IGNORED = {  # what changes no answer
    "user",
    "metadata",
    "store",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
}
REFUSED = {  # {field: values that ask for nothing}; a request that needs more is told so
    "completions": {"suffix": [""], "logit_bias": [{}]},
    "chat": {
        "logit_bias": [{}],
        "response_format": [{"type": "text"}],
        "modalities": [["text"]],
        "audio": [],
        "tools": [[]],
        "tool_choice": ["none", "auto"],
        "parallel_tool_calls": [True, False],
        "functions": [[]],
        "function_call": ["none", "auto"],
    },
}
ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


@dataclasses.dataclass
class Request:
    """What is asked for.

    Args:
      kind: "completions" or "chat".
      prompts: texts or lists of tokens; of a chat None, which has `messages`.
      settings: of the export's `start`, but for max_new_tokens.
      max_tokens: None for as many as there is room for.
      alternatives: see `jobs.Job`.
      truncate: see `Model.prepare`.
    """

    kind: str
    prompts: list | None
    messages: list | None
    settings: dict
    max_tokens: int | None
    n: int
    stop: tuple
    alternatives: int | None
    echo: bool
    truncate: int | str | None
    stream: bool
    include_usage: bool


def read(kind, body, max_batch_size, max_queue):
    """A `Request` from the JSON of a body.

    Raises:
      ApiError: a field that is wrong, missing or unknown.
    """
    fields = Fields(body)
    fields.get("model")  # which the router has looked at
    chat = kind == "chat"
    for name, nothing in REFUSED[kind].items():
        if fields.get(name) not in [None, *nothing]:
            raise invalid(f"{name} is not supported by this server", name)
    n = fields.integer("n", 1, 1, 10_000)
    if n > max_batch_size:
        raise invalid(f"n is {n}; this server draws at most {max_batch_size} at once", "n")
    if not chat and fields.integer("best_of", n, 1, 10_000) != n:
        raise invalid("best_of is not supported unless it equals n", "best_of")
    stream = fields.boolean("stream")
    alternatives = read_alternatives(fields, chat)
    echo = False if chat else fields.boolean("echo")
    if echo and alternatives is not None:
        raise invalid("echo with logprobs is not supported: leave one of them out", "echo")
    request = Request(
        kind=kind,
        prompts=None if chat else read_prompts(fields.get("prompt"), max_queue),
        messages=read_messages(fields.get("messages")) if chat else None,
        settings=read_settings(fields),
        max_tokens=read_max_tokens(fields, chat),
        n=n,
        stop=read_stop(fields.get("stop")),
        alternatives=alternatives,
        echo=echo,
        truncate=read_truncation(fields),
        stream=stream,
        include_usage=read_stream_options(fields.get("stream_options"), stream),
    )
    fields.refuse_the_rest()
    return request


def read_settings(fields):
    seed = fields.integer("seed", None, -(2**63), 2**63 - 1)
    settings = {
        "temperature": fields.number("temperature", 1.0, 0, 2),
        "top_k": max(0, fields.integer("top_k", 0, -1, 2**31 - 1)),
        "top_p": fields.number("top_p", 1.0, 0, 1),
        "min_p": fields.number("min_p", 0.0, 0, 1),
        "repetition_penalty": fields.number("repetition_penalty", 1.0, 0.01, 100),
        "presence_penalty": fields.number("presence_penalty", 0.0, -2, 2),
        "frequency_penalty": fields.number("frequency_penalty", 0.0, -2, 2),
        "seed": random.SystemRandom().randrange(2**31) if seed is None else seed % 2**31,
    }
    if settings["top_p"] == 0:  # no token is likely enough but the likeliest
        settings.update(temperature=0.0, top_p=1.0)
    return settings


def read_max_tokens(fields, chat):
    least = 1 if chat else 0
    default = None if chat else 16
    older = fields.integer("max_tokens", default, least, 2**31 - 1)
    return fields.integer("max_completion_tokens", older, least, 2**31 - 1)


def read_alternatives(fields, chat):
    most = MAX_ALTERNATIVES["chat" if chat else "completions"]
    if not chat:
        return fields.integer("logprobs", None, 0, most)
    wanted = fields.boolean("logprobs")
    alternatives = fields.integer("top_logprobs", None, 0, most)
    if alternatives and not wanted:
        raise invalid("top_logprobs needs logprobs to be true", "top_logprobs")
    return (alternatives or 0) if wanted else None


def read_truncation(fields):
    side = fields.get("truncation")
    if side not in (None, "left", "auto", "disabled"):
        raise invalid('truncation must be "left" or "disabled"', "truncation")
    tokens = fields.integer("truncate_prompt_tokens", None, 1, 2**31 - 1)
    return "left" if tokens is None and side in ("left", "auto") else tokens


def read_stop(stop):
    stops = [stop] if isinstance(stop, str) else [] if stop is None else stop
    if not isinstance(stops, list) or not all(isinstance(each, str) and each for each in stops):
        raise invalid("stop must be a string or a list of strings, none of them empty", "stop")
    if len(stops) > MAX_STOPS:
        raise invalid(f"stop has {len(stops)} strings; at most {MAX_STOPS} are taken", "stop")
    return tuple(stops)


def read_stream_options(options, stream):
    if options is None:
        return False
    if not stream:
        raise invalid("stream_options needs stream to be true", "stream_options")
    if not isinstance(options, dict):
        raise invalid("stream_options must be an object", "stream_options")
    fields = Fields(options, "stream_options.")
    include_usage = fields.boolean("include_usage")
    fields.get("include_obfuscation")  # asks for padding, which changes no answer
    fields.refuse_the_rest()
    return include_usage


def read_prompts(prompt, max_queue):
    def is_tokens(value):
        return isinstance(value, list) and all(type(token) is int for token in value)

    prompts = prompt if isinstance(prompt, list) else [prompt]
    if prompts and is_tokens(prompts):
        prompts = [prompts]
    texts = all(isinstance(each, str) for each in prompts)
    if not prompts or not (texts or all(is_tokens(each) for each in prompts)):
        raise invalid(
            "prompt must be a string, a list of strings, a list of tokens or a list of such lists",
            "prompt",
        )
    if not texts and not all(0 < token < 2**31 for tokens in prompts for token in tokens):
        raise invalid("prompt: tokens are numbers from 1 on; 0 is <eos>, its end", "prompt")
    if len(prompts) > max_queue:
        raise invalid(f"{len(prompts)} prompts; at most {max_queue} can wait at once", "prompt")
    return prompts


def read_messages(messages):
    if not isinstance(messages, list) or not messages:
        raise invalid("messages must be a list of at least one message", "messages")
    if len(messages) > MAX_MESSAGES:
        raise invalid(
            f"{len(messages)} messages; at most {MAX_MESSAGES} are taken, leave out the oldest",
            "messages",
        )
    return [read_message(message, f"messages[{i}]") for i, message in enumerate(messages)]


def read_message(message, place):
    if not isinstance(message, dict):
        raise invalid(f"{place} must be an object with role and content", place)
    role = message.get("role")
    if not isinstance(role, str) or role not in ROLES:
        raise invalid(f"{place}.role must be one of {', '.join(ROLES)}", f"{place}.role")
    content = message.get("content")
    if isinstance(content, list) and all(is_text_part(part) for part in content):
        content = "".join(part["text"] for part in content)
    if not isinstance(content, str):
        raise invalid(
            f"{place}.content must be a string, or a list of parts of type text",
            f"{place}.content",
        )
    return {"role": ROLES[role], "content": content}


def is_text_part(part):
    return isinstance(part, dict) and part.get("type") == "text" and type(part.get("text")) is str


class Fields:
    """An object's fields, each read once; null is the same as absent."""

    def __init__(self, body, place=""):
        self.body = body
        self.place = place
        self.read = set()

    def get(self, name, default=None):
        self.read.add(name)
        value = self.body.get(name)
        return default if value is None else value

    def boolean(self, name, default=False):
        value = self.get(name, default)
        if not isinstance(value, bool):
            raise invalid(f"{self.place}{name} must be true or false", self.place + name)
        return value

    def integer(self, name, default, low, high):
        value = self.get(name, default)
        if value is not default and (type(value) is not int or not low <= value <= high):
            raise invalid(f"{name} must be an integer from {low} to {high}", name)
        return value

    def number(self, name, default, low, high):
        value = self.get(name, default)
        if type(value) not in (int, float) or not low <= value <= high:
            raise invalid(f"{name} must be a number from {low} to {high}", name)
        return float(value)

    def refuse_the_rest(self):
        for name in self.body.keys() - self.read - IGNORED:
            near = difflib.get_close_matches(name[:64], self.read, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            name = self.place + name[:64]
            raise invalid(f"there is no field {name!r}{hint}", name)
