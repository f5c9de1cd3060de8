"""From a conversation to text, by a Jinja template as Hugging Face's chat models have.

A template comes with a model: it runs in a sandbox and sees nothing but the conversation."""

import datetime
import functools
import json
import re

from jinja2 import TemplateError, Undefined, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

DEFAULT = """\
{% for message in messages if message.role == "system" %}
{{ message.content }}
{% endfor %}
{% for message in messages if message.role != "system" %}
{{ message.role | capitalize }}: {{ message.content }}
{% endfor %}
{% if add_generation_prompt %}
Assistant:
{%- endif %}
"""
CHATML = """\
{% for message in messages %}
{{ "<|im_start|>" + message.role + "\\n" + message.content + "<|im_end|>\\n" }}
{%- endfor %}
{% if add_generation_prompt %}
{{ "<|im_start|>assistant\\n" }}
{%- endif %}
"""
TEMPLATES = {"plain": DEFAULT, "chatml": CHATML}

# What the tag {% generation %} leaves around the assistant's words; Unicode has them for internal
# use, and no text contains them.
BEGIN, END = "\ufdd1", "\ufdd2"


def render(messages, template="", add_generation_prompt=True, eos_token="", now=None):
    """The prompt of a conversation.

    Args:
      messages: dicts {"role": "system", "user" or "assistant", "content": str}.
      template: Jinja; "" for `DEFAULT`. It sees `messages`, `add_generation_prompt`,
        `eos_token`, and `bos_token`, which is empty: an export puts its own <eos>.
      add_generation_prompt: whether the assistant's turn begins at the end.
      eos_token: empty but for models whose tokenizer has a name for <eos>.
      now: the datetime that a template's `strftime_now` writes; None for the clock's.

    Raises:
      ValueError: the template is not right, or refuses these messages.
    """
    return render_spans(messages, template, add_generation_prompt, eos_token, now)[0]


def render_spans(messages, template="", add_generation_prompt=True, eos_token="", now=None):
    """(text, spans): see `render`; spans [(first, last)] of it stand in {% generation %} tags."""
    try:
        text = compiled(template or DEFAULT).render(
            messages=[unmarked(message) for message in messages],
            add_generation_prompt=add_generation_prompt,
            bos_token="",
            eos_token=eos_token,
            tools=None,
            documents=None,
            strftime_now=lambda form: (now or datetime.datetime.now()).strftime(form),
        )
    except (TemplateError, TypeError, ArithmeticError, LookupError) as error:
        raise ValueError(f"the chat template cannot render these messages: {error}") from error
    plain, spans = "", []
    for piece in re.split(f"({BEGIN}[^{BEGIN}{END}]*{END})", text):
        if piece.startswith(BEGIN):
            spans.append((len(plain), len(plain) + len(piece) - 2))
        plain += piece.strip(BEGIN + END)
    return plain, spans


def has_generation_tag(template):
    return re.search(r"{%[-+]?\s*generation\s*[-+]?%}", template) is not None


@functools.lru_cache
def compiled(template):
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[loopcontrols, Generation],
        undefined=Missing,
    )
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = refuse
    return environment.from_string(template)


class Missing(Undefined):
    """What is not there may be asked for, but not written."""

    def __str__(self):
        return self._fail_with_undefined_error()


class Generation(Extension):
    """The tag {% generation %}...{% endgeneration %} around what the assistant says."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("marked"), [], [], body).set_lineno(line)

    def marked(self, caller):
        return BEGIN + caller() + END


def unmarked(message):
    """A message without the characters that stand for the tag."""
    return {
        key: value.replace(BEGIN, "").replace(END, "") if isinstance(value, str) else value
        for key, value in message.items()
    }


def to_json(value, **options):
    return json.dumps(value, ensure_ascii=False, **options)  # Jinja's own escapes HTML as well


def refuse(message):
    raise TemplateError(message)
